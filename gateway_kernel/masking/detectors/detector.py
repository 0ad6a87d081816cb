"""What a detector is: a loose pattern that finds candidates fast, and a confirmation that decides.

The pattern runs on google-re2 (linear time, no look-around) and says nothing about what stands beside a candidate, so that
the same pattern can be run over raw protocol frames, where lengths and tags stand beside values, without missing one. The
confirmation is plain Python (check digits, boundaries, context) and yields the spans that are really hidden.

A detector never looks past a newline; only a private key, which is a block of lines, does, and the streaming masker keeps
such a block together. What is found is best effort: a reversed, encrypted or split value is not found.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import re2

type Span = tuple[int, int]
type Confirm = Callable[[bytes, int, int], Iterable[Span]]

KIB = 1024
MAX_MATCH = 16 * KIB  # the longest span that streaming is able to see whole; a PEM key of RSA 16384 is 12.7 KiB

ALNUM = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
DIGITS = frozenset(b"0123456789")
WORD = ALNUM | frozenset(b"_")


_MEMORY = 64 * KIB * KIB  # bytes of automaton; a set that ran out of them would report no match


def _options() -> Any:  # google-re2 carries no types
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.never_capture = True  # several times faster than with captures
    options.log_errors = False
    options.max_mem = _MEMORY
    return options


def compile_pattern(pattern: bytes) -> Any:
    """RE2 over bytes, without captures."""
    return re2.compile(pattern, options=_options())


def compile_set(patterns: Iterable[bytes]) -> Any:
    """RE2's set over bytes: `Match(data)` gives the indexes of the patterns that occur, in one pass."""
    found = re2.Set.SearchSet(_options())
    for pattern in patterns:
        found.Add(pattern)
    found.Compile()
    return found


def whole(_data: bytes, start: int, end: int) -> Iterable[Span]:
    """The confirmation of a detector whose pattern already says all."""
    return ((start, end),)


def stands_alone(data: bytes, start: int, end: int, neighbours: frozenset[int]) -> bool:
    """True if neither the byte before `start` nor the one at `end` is among `neighbours`."""
    return not (start > 0 and data[start - 1] in neighbours) and not (end < len(data) and data[end] in neighbours)


@dataclass(frozen=True, slots=True)
class Detector:
    """One kind of sensitive content.

    `anchors`: unless empty, no match is possible in data that holds none of these literals (give one or two, rare in ordinary
    data: each costs a memory search; without them the detector joins the one pass over all). `secret`: belongs to the family
    that a policy names `secret`.
    """

    name: str
    pattern: bytes
    confirm: Confirm = whole
    anchors: tuple[bytes, ...] = ()
    secret: bool = False
    compiled: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compiled", compile_pattern(self.pattern))

    def anchored_in(self, data: bytes) -> bool:
        """False if the literals already exclude a match: a memory search, far cheaper than any pattern."""
        return not self.anchors or any(anchor in data for anchor in self.anchors)

    def candidates(self, data: bytes) -> Iterator[Span]:
        """Every span of the loose pattern. Each confirmed span overlaps one of these."""
        if self.anchored_in(data):
            for match in self.compiled.finditer(data):
                yield match.span()

    def find(self, data: bytes) -> Iterable[Span]:
        """Every confirmed span, in order of its candidate; spans may overlap."""
        spans = [match.span() for match in self.compiled.finditer(data)]
        if self.confirm is whole:
            return spans
        return [span for start, end in spans for span in self.confirm(data, start, end)]
