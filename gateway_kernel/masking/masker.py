"""Hiding what detectors find: in whole values, and in streams that arrive in chunks of any size.

`Detection` is the compiled plan (which detectors, which strategy for each) and is shared; `Masker` is one stream's state. The
output of a stream is a function of its content alone: never of how it was chunked (invariant 9). It is reached by cutting
the stream into segments at places that the content determines, and scanning each segment once:

- after a newline, since no detector looks past one;
- except inside a PEM private key, which is one segment whatever its lines;
- in a line longer than `SEGMENT`, every `SEGMENT` bytes, scanned with `MAX_MATCH` bytes of look-ahead so that nothing at
  the seam is missed. A span longer than `MAX_MATCH` in such a line may be hidden in its beginning only.

So at most `SEGMENT + MAX_MATCH` bytes are held back, and normally less than a line. This module knows no format: JSON is in
`json_text`, rows of a database in their protocol's room.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from gateway_kernel.verdict import Strategy

from .detectors import MAX_MATCH, Detector, Screen, Span, resolve
from .detectors.private_key import DETECTOR as PRIVATE_KEY
from .detectors.private_key import block_end
from .escapes import unescaped
from .lenient import LenientView, is_clean
from .strategies import MaskingKeys, apply, require_keys, stricter
from .stream import Stream

SEGMENT = 64 * 1024  # bytes; above it a line is scanned in pieces
CONTEXT = 64  # bytes before a seam that are scanned again, so that a boundary there is seen


class Hit(NamedTuple):
    """One stretch of bytes to hide: overlapping spans are joined, the strictest of their strategies holds."""

    start: int
    end: int
    strategy: Strategy
    detectors: tuple[str, ...]


def combine(masks: Iterable[tuple[Sequence[str], Strategy]]) -> dict[str, Strategy]:
    """Detector name -> strategy, from `(detect, strategy)` pairs; families expanded, the stricter strategy kept."""
    plan: dict[str, Strategy] = {}
    for names, strategy in masks:
        for detector in resolve(names):
            held = plan.get(detector.name)
            plan[detector.name] = strategy if held is None else stricter(held, strategy)
    return plan


class Detection:
    """What to look for and how to hide it. Immutable; made once for a policy and shared by sessions.

    `strategies` maps detector names (or the family `secret`) to strategies. ValueError for an unknown name or missing keys.
    """

    __slots__ = ("_detectors", "_keys", "blocks", "screen", "strategies")

    def __init__(self, strategies: Mapping[str, Strategy], keys: MaskingKeys | None = None) -> None:
        self.strategies = combine(((name,), strategy) for name, strategy in strategies.items())
        for strategy in self.strategies.values():
            require_keys(strategy, keys)
        self._detectors: tuple[Detector, ...] = resolve(self.strategies)
        self._keys = keys
        self.screen = Screen(self._detectors)
        self.blocks = PRIVATE_KEY in self._detectors

    def __bool__(self) -> bool:
        return bool(self._detectors)

    def hits(self, data: bytes, *, escapes: bool = False) -> list[Hit]:
        """What is to be hidden in one segment: sorted, disjoint. Invalid UTF-8 is also read as a careless reader would.

        With `escapes` the text is read without its escapes, too.
        """
        found = self._find(data)
        if escapes and (plain := unescaped(data)) is not None:
            for span, name in self._find(plain.text):
                if name != PRIVATE_KEY.name:
                    found.extend((original, name) for original in plain.original((span,)))
        if not is_clean(data):
            view = LenientView(data)
            for span, name in self._find(view.text):
                if name != PRIVATE_KEY.name:  # the only one of many lines; it has read the raw bytes as leniently
                    found.extend((original, name) for original in view.original((span,)))
        if not found:
            return []
        found.sort()
        merged: list[Hit] = []
        for (start, end), name in found:
            strategy = self.strategies[name]
            last = merged[-1] if merged else None
            if last is not None and start < last.end:
                names = last.detectors if name in last.detectors else (*last.detectors, name)
                merged[-1] = Hit(last.start, max(last.end, end), stricter(last.strategy, strategy), names)
            else:
                merged.append(Hit(start, end, strategy, (name,)))
        return merged

    def replacement(self, hit: Hit, data: bytes) -> bytes | None:
        """What stands for the bytes of `hit` in `data`; None is NULL."""
        return apply(hit.strategy, data[hit.start : hit.end], self._keys)

    def replace(self, strategy: Strategy, value: bytes) -> bytes | None:
        """What stands for a whole value under `strategy`; None is NULL."""
        return apply(strategy, value, self._keys)

    def mask_value(self, value: bytes, counts: Counter[str] | None = None) -> bytes | None:
        """The value with its hits hidden; None (NULL) if one of them asks for it; the same object if there is no hit."""
        if len(value) <= SEGMENT:
            hits = self.hits(value)
            if not hits:
                return value
            # A PEM block is a segment of its own in a stream, so it is one here too.
            if not (self.blocks and any(PRIVATE_KEY.name in hit.detectors for hit in hits)):
                return None if (pieces := self.pieces(value, hits, 0, counts)) is None else b"".join(pieces)
        masker = Masker(self)
        masked = masker.feed(value) + masker.finish()
        if counts is not None:
            counts.update(masker.counts)
        if masker.nulled:
            return None
        return masked if masker.counts else value

    def pieces(self, data: bytes, hits: Iterable[Hit], start: int, counts: Counter[str] | None) -> list[bytes] | None:
        """`data` from `start` on, hits replaced, as a list to join. None if a hit's strategy is `null`."""
        pieces: list[bytes] = []
        nulled = False
        for hit in hits:
            replaced = self.replacement(hit, data)
            if counts is not None:
                for name in hit.detectors:
                    counts[name] += 1
            if replaced is None:
                nulled = True
                continue
            pieces += (data[start : hit.start], replaced)
            start = hit.end
        if nulled:
            return None
        pieces.append(data[start:])
        return pieces

    def _find(self, data: bytes) -> list[tuple[Span, str]]:
        return [(span, detector.name) for detector in self.screen.which(data) for span in detector.find(data)]


class Segment(NamedTuple):
    """A stretch of a stream, `window[start:stop]`, and all that is to be hidden in it; `start` is never inside a hit."""

    window: bytes
    start: int
    stop: int
    hits: list[Hit]


class Segments:
    """Cuts one stream into segments as said above, and finds the hits of each; what becomes of them is its caller's part."""

    __slots__ = ("_context", "_detection", "_escapes", "_held", "_searched")

    def __init__(self, detection: Detection, *, escapes: bool = False) -> None:
        self._detection = detection
        self._escapes = escapes
        self._held = bytearray()
        self._context = b""  # what stood before `_held` on the same line, at most CONTEXT bytes
        self._searched = 0  # bytes of `_held` known to hold no newline

    @property
    def held(self) -> int:
        """Bytes taken in and not yet given out."""
        return len(self._held)

    def feed(self, chunk: bytes, *, final: bool = False) -> list[Segment]:
        """Take in the next bytes and give the segments that can no longer change; all of them if these are the last."""
        self._held += chunk
        if not final and len(self._held) < SEGMENT + MAX_MATCH and self._held.find(b"\n", self._searched) < 0:
            self._searched = len(self._held)
            return []
        data = bytes(self._held)
        out: list[Segment] = []
        at = 0
        while at < len(data) and (segment := self._segment(data, at, final=final)) is not None:
            at = self._examine(data, at, *segment, out)
        del self._held[:at]
        self._searched = 0
        return out

    def _segment(self, data: bytes, at: int, *, final: bool) -> tuple[int, int] | None:
        """The next segment from `at`: where its own spans must begin before, and how far it is scanned. None: wait."""
        limit = len(data)
        begin = self._block_start(data, at)
        if begin is not None:
            line = data.rfind(b"\n", at, begin) + 1
            if line > at:
                limit = line  # the lines before the block come first
            elif begin < at + SEGMENT:
                end = block_end(data, begin)
                if end is None and not final and len(data) < begin + MAX_MATCH:
                    return None
                end = end or min(len(data), begin + MAX_MATCH)
                return end, end
        newline = data.rfind(b"\n", at, min(limit, at + SEGMENT)) + 1
        if newline > at:
            return newline, newline
        if len(data) >= at + SEGMENT + MAX_MATCH or (final and len(data) > at + SEGMENT):
            return at + SEGMENT, min(len(data), at + SEGMENT + MAX_MATCH)
        return (len(data), len(data)) if final else None

    def _block_start(self, data: bytes, at: int) -> int | None:
        if not self._detection.blocks:
            return None
        match = PRIVATE_KEY.compiled.search(data, at, min(len(data), at + SEGMENT + MAX_MATCH))
        return None if match is None else match.start()

    def _examine(self, data: bytes, at: int, end: int, seen: int, out: list[Segment]) -> int:
        """Find what is in the segment `data[at:end]`, scanned up to `seen`; returns where the next one begins."""
        lead = len(self._context)
        window = self._context + data[at:seen]
        own = lead + end - at
        hits = [
            Hit(max(hit.start, lead), hit.end, hit.strategy, hit.detectors)
            for hit in self._detection.hits(window, escapes=self._escapes)
            if hit.end > lead and hit.start < own
        ]
        stop = max(own, hits[-1].end if hits else 0)
        out.append(Segment(window, lead, stop, hits))
        # What follows a PEM block is scanned by itself: with the block in its context it would find the block again.
        tail = (
            b"" if PRIVATE_KEY.name in (hits[-1].detectors if hits else ()) else window[max(0, stop - CONTEXT) : stop]
        )
        self._context = tail[tail.rfind(b"\n") + 1 :]
        return at + stop - lead


class Masker(Stream):
    """Masks one stream of text. Under `null` a hit is cut out of it. With `escapes` it is read without its escapes, too."""

    __slots__ = ("_detection", "_segments")

    def __init__(self, detection: Detection, *, escapes: bool = False) -> None:
        super().__init__()
        self._detection = detection
        self._segments = Segments(detection, escapes=escapes)

    @property
    def held(self) -> int:
        """Bytes taken in and not yet given out."""
        return self._segments.held

    def _read(self, chunk: bytes, out: list[bytes], final: bool) -> None:
        for segment in self._segments.feed(chunk, final=final):
            self._write(segment, out)

    def _write(self, segment: Segment, out: list[bytes]) -> None:
        """Append the segment as it goes out."""
        window, start, stop, hits = segment
        for hit in hits:
            replaced = self._detection.replacement(hit, window)
            self.counts.update(hit.detectors)
            self.nulled |= replaced is None
            out += (window[start : hit.start], replaced or b"")
            start = hit.end
        out.append(window[start:stop])
