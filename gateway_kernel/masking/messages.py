"""Masking of text that says nothing of its kind: whole messages (one event, one WebSocket message), and running text.

A message that is JSON is masked as JSON, members included. In any other text members cannot be told from values. Where column masks hold,
text that speaks of a hidden member by name is therefore refused, whole: CSV with its header, XML, a dump in words. What a column mask hides is
then not in what passes, unless under no name at all.
"""

from collections import Counter

from gateway_kernel.errors import UnmaskableError

from .escapes import unescaped
from .json_stream import JsonMasker
from .masker import Detection, Masker, Segment
from .members import Members

NOTHING_SOUGHT = Detection({})


class TextMasker(Masker):
    """A `Masker` that reads the text without its escapes, too, and refuses it where a hidden member is named."""

    __slots__ = ("_members",)

    def __init__(self, detection: Detection | None, members: Members | None = None) -> None:
        super().__init__(detection or NOTHING_SOUGHT, escapes=True)
        self._members = members or None

    def _write(self, segment: Segment, out: list[bytes]) -> None:
        window, start, stop, hits = segment
        named = -1 if self._members is None else _named(self._members, window)
        if not 0 <= named < stop:
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


def _named(members: Members, text: bytes) -> int:
    """Where the text, as it stands or without its escapes, first names a hidden member; -1 if nowhere."""
    places = [members.named(text)]
    plain = unescaped(text)
    if plain is not None and (at := members.named(plain.text)) >= 0:
        places += (start for start, _ in plain.original(((at, at + 1),)))
    return min((place for place in places if place >= 0), default=-1)


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
