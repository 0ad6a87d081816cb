"""What a careless reader would make of bytes that are not clean UTF-8.

A reader that skips invalid bytes, drops NULs (UTF-16 read as bytes) or accepts overlong forms (forbidden by RFC 3629 section 3)
sees text that a strict scan of the raw bytes misses: `4111<FF>1111...`. This module gives that text, with the way back to the
original positions, so that detectors can look at both.
"""

import re
from collections.abc import Iterable

from .detectors import Span

_PIECE = re.compile(
    rb"[\x01-\x7f]+"
    rb"|[\xc2-\xdf][\x80-\xbf]"
    rb"|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
_OVERLONG = re.compile(rb"[\xc0\xc1][\x80-\xbf]|\xe0[\x80\x81][\x80-\xbf]|\xf0\x80[\x80\x81][\x80-\xbf]")


class View:
    """Another reading of the same bytes. `text` is scanned; `original` turns its spans into spans of the bytes given."""

    __slots__ = ("_ends", "_starts", "text")

    def __init__(self, text: bytes, starts: list[int], ends: list[int]) -> None:
        self.text = text
        self._starts = starts
        self._ends = ends

    def original(self, spans: Iterable[Span]) -> Iterable[Span]:
        """The same spans, in positions of the original bytes."""
        for start, end in spans:
            yield self._starts[start], self._ends[end - 1]


class LenientView(View):
    """The text a careless reader sees."""

    __slots__ = ()

    def __init__(self, data: bytes) -> None:
        text = bytearray()
        starts: list[int] = []
        ends: list[int] = []
        at = 0
        while at < len(data):
            if (piece := _PIECE.match(data, at)) is not None:
                text += piece[0]
                starts.extend(range(at, piece.end()))
                ends.extend(range(at + 1, piece.end() + 1))
                at = piece.end()
            elif (overlong := _OVERLONG.match(data, at)) is not None:
                text.append((overlong[0][-2] & 0x01) << 6 | overlong[0][-1] & 0x3F)
                starts.append(at)
                ends.append(overlong.end())
                at = overlong.end()
            else:
                at += 1
        super().__init__(bytes(text), starts, ends)


def is_clean(data: bytes) -> bool:
    """True for valid UTF-8 without NUL: then the raw bytes are all that anybody can read."""
    if b"\0" in data:
        return False
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
