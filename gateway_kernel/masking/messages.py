"""Masking of text that says nothing of its kind: whole messages (one event, one WebSocket message), and running text.

A message that is JSON is masked as JSON, members included. In any other text members cannot be told from values. Where column masks hold,
text that speaks of a hidden member by name is therefore refused, whole: CSV with its header, XML, a dump in words. What a column mask hides is
then not in what passes, unless under no name at all.
"""

from collections import Counter

from gateway_kernel.errors import UnmaskableError

from .json_stream import JsonMasker
from .masker import Detection, Masker, Segment
from .members import Members

NOTHING_SOUGHT = Detection({})


class TextMasker(Masker):
    """A `Masker` that refuses text in which a hidden member is named."""

    __slots__ = ("_members",)

    def __init__(self, detection: Detection | None, members: Members | None = None) -> None:
        super().__init__(detection or NOTHING_SOUGHT)
        self._members = members or None

    def _write(self, segment: Segment, out: list[bytes]) -> None:
        window, start, stop, hits = segment
        named = -1 if self._members is None else self._members.named(window)
        if named < 0 or named >= stop:
            super()._write(segment, out)
            return
        # How many lines make a segment depends on the chunks, so the lines before the name go out.
        line = window.rfind(b"\n", 0, named) + 1
        whole = [hit for hit in hits if hit.end <= line]
        if start < line and all(hit.start >= line for hit in hits[len(whole) :]):
            super()._write(Segment(window, start, line, whole), out)
        raise UnmaskableError(
            "the content is no JSON and names a member that is hidden: its values cannot be told from the rest"
        )


class MessageMasker:
    """Masks whole messages, one after the other."""

    __slots__ = ("_detection", "_members", "counts", "nulled")

    def __init__(self, detection: Detection | None, members: Members | None = None) -> None:
        self._detection = detection or None
        self._members = members or None
        self.counts: Counter[str] = Counter()
        self.nulled = False

    def masked(self, message: bytes) -> bytes:
        """The message as it may pass; the same object if nothing is hidden in it. UnmaskableError if it cannot be masked."""
        masker: Masker | JsonMasker = JsonMasker(self._detection, self._members)
        try:
            out = masker.feed(message) + masker.finish()
        except UnmaskableError:
            masker = TextMasker(self._detection, self._members)
            out = masker.feed(message) + masker.finish()
        self.counts.update(masker.counts)
        self.nulled |= masker.nulled
        return out if masker.counts else message
