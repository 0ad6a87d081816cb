"""Masking of JSON texts that stand one behind the other: NDJSON, JSON Lines, JSON text sequences (RFC 7464), and services that send many
texts as one `application/json`. Each text is a document of its own to column masks.
"""

from .json_stream import JsonMasker
from .masker import Detection
from .members import Members


class JsonLinesMasker(JsonMasker):
    """A `JsonMasker` for any number of texts, also of none. A line is given out as soon as it is whole."""

    __slots__ = ()

    def __init__(self, detection: Detection | None, members: Members | None = None) -> None:
        super().__init__(detection, members, many=True)
