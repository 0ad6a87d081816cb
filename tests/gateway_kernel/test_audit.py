"""The chain of a recording: any change is found, and the first broken link is named."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_kernel.audit import GENESIS, Chain, Noted, read, verify
from gateway_kernel.errors import TamperedError

NOON = 1_800_000_000_000_000


def recording(length: int = 6) -> list[bytes]:
    chain = Chain("s-1")
    return [chain.link(Noted(f"event {n}"), NOON + n) for n in range(length)]


def test_a_recording_verifies_and_tells_where_it_stands() -> None:
    """The walk ends with the chain that would write the next event."""
    lines = recording()
    chain = verify("s-1", lines)
    assert chain.sequence == 6
    assert read(chain.link(Noted("next"), NOON)).sequence == 6
    assert read(lines[0]).previous == GENESIS


def test_a_walk_may_start_in_the_middle() -> None:
    """With the head and sequence of a checkpoint the rest is verified alone."""
    lines = recording()
    half = verify("s-1", lines[:3])
    assert verify("s-1", lines[3:], sequence=half.sequence, head=half.head).sequence == 6


@given(at=st.integers(0, 5), data=st.data())
def test_a_changed_byte_is_found(at: int, data: st.DataObject) -> None:
    """Wherever one byte changes, the walk stops at that event or the one after it."""
    lines = recording()
    position = data.draw(st.integers(0, len(lines[at]) - 1))
    flip = data.draw(st.integers(1, 255))
    changed = bytearray(lines[at])
    changed[position] ^= flip
    lines[at] = bytes(changed)
    lines.append(_next_line(recording()))
    with pytest.raises(TamperedError) as found:
        verify("s-1", lines)
    assert found.value.sequence in {at, at + 1}


def _next_line(lines: list[bytes]) -> bytes:
    return verify("s-1", lines).link(Noted("last"), NOON)


@pytest.mark.parametrize(
    ("tamper", "sequence"),
    [
        (lambda lines: lines[:2] + lines[3:], 2),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], 1),
        (lambda lines: lines[1:], 0),
        (lambda lines: [lines[0], lines[0], *lines[1:]], 1),
        (lambda lines: [b"{}", *lines[1:]], 0),
    ],
    ids=["removed", "swapped", "beginning cut", "repeated", "replaced"],
)
def test_the_first_broken_link_is_named(tamper: Callable[[list[bytes]], list[bytes]], sequence: int) -> None:
    """Removal, exchange and repetition are found at the first event that does not follow."""
    with pytest.raises(TamperedError) as found:
        verify("s-1", tamper(recording()))
    assert found.value.sequence == sequence


def test_events_of_another_session_do_not_fit() -> None:
    """A line cannot be moved between recordings."""
    with pytest.raises(TamperedError, match="belongs to session s-1"):
        verify("s-2", recording())
