"""Feeding a masker in any way, for the tests of what must not depend on it (invariant 9)."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

from hypothesis import strategies as st

from gateway_kernel.errors import UnmaskableError

CUTS = st.lists(st.integers(0, 2000), max_size=8)


class Masks(Protocol):
    """A masker of one stream."""

    def feed(self, chunk: bytes, /) -> bytes: ...

    def finish(self) -> bytes: ...


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """The data in chunks that end at these places."""
    places = sorted({min(place, len(data)) for place in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


def stream(masker: Masks, chunks: Sequence[bytes]) -> tuple[bytes, bool]:
    """All that a masker gives out for these chunks, and whether it ended well."""
    out: list[bytes] = []
    try:
        out += map(masker.feed, chunks)
        out.append(masker.finish())
    except UnmaskableError:
        return b"".join(out), False
    return b"".join(out), True


def same_for_every_split(make: Callable[[], Masks], data: bytes, cuts: Sequence[int]) -> tuple[bytes, bool]:
    """What a new masker gives for the whole; asserts that it gives that for chunks and for single bytes, too."""
    whole = stream(make(), [data])
    assert stream(make(), cut(data, cuts)) == whole
    assert stream(make(), [data[at : at + 1] for at in range(len(data))]) == whole
    return whole
