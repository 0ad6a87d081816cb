"""The chain of a recording: any change is found, and the first broken link is named."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_kernel.audit import (
    Body,
    Finished,
    Noted,
    OperationRecord,
    Outcome,
    Repeated,
    Sending,
    VerdictRecord,
    expanded,
    read,
    verify,
)
from gateway_kernel.chain import GENESIS, Chain
from gateway_kernel.errors import TamperedError
from gateway_kernel.model import Parameter
from gateway_kernel.verdict import Decision

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


ALLOW = VerdictRecord(Decision.ALLOW, ("reads",), ("reads",), "p")
FIRST = OperationRecord("a", "postgres", "SELECT", "SELECT $1", (), (Parameter("23", b"1"),), {"role": "r"}, size=40)


def whole(*bodies: Body) -> list[Body]:
    """These events, expanded."""
    chain = Chain("s")
    return [event.body for event in expanded([read(chain.link(body, NOON)) for body in bodies])]


def test_a_repetition_stands_for_the_whole_sending() -> None:
    """What it does not say is as in the event that it names; text, parameters and size are its own."""
    sending, finished = Sending("a", FIRST, ALLOW), Finished("b", Outcome.COMPLETED)
    again = Repeated("b", 1, parameters=(Parameter("23", b"2"),), size=41)
    other = Repeated("c", 1, text="SELECT 2", size=9)
    assert whole(Noted("x"), sending, again, finished, other) == [
        Noted("x"),
        sending,
        Sending("b", msgspec.structs.replace(FIRST, id="b", parameters=again.parameters, size=41), ALLOW),
        finished,
        Sending("c", msgspec.structs.replace(FIRST, id="c", text="SELECT 2", parameters=(), size=9), ALLOW),
    ]


@pytest.mark.parametrize("like", [0, 2, 3, 77])
def test_a_repetition_of_nothing_is_found(like: int) -> None:
    """It may name only a `Sending` before it that is whole."""
    with pytest.raises(TamperedError, match=f"repeats event {like}"):
        whole(Noted("x"), Sending("a", FIRST, ALLOW), Sending("b"), Repeated("c", like))
