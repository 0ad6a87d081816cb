"""Server-sent events: masked one at a time, whatever the chunks and whatever the line ends."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_kernel.masking import event_stream
from gateway_kernel.masking.event_stream import EventStreamMasker
from gateway_kernel.masking.masker import Detection
from gateway_kernel.masking.members import Members
from gateway_kernel.verdict import ColumnMask

from .chunks import CUTS, same_for_every_split, stream

PLAN = Detection({"email": "redact", "credit_card": "redact", "secret": "redact"})
MEMBERS = Members((ColumnMask(("*.ssn",), "redact"),))
CARD = "4111111111111111"


def masked(text: str, detection: Detection | None = PLAN, members: Members | None = MEMBERS) -> str:
    """All of the stream masked, the same for whole and for single bytes."""
    out, whole = same_for_every_split(lambda: EventStreamMasker(detection, members), text.encode(), (7, 19))
    assert whole
    return out.decode()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('data: {"ssn": "1"}\n\n', 'data: {"ssn": "***"}\n\n'),
        ('data:{"ok": 1}\n\n', 'data:{"ok": 1}\n\n'),
        ('data: {\ndata: "ssn":\ndata:  5\ndata: }\n\n', 'data: {\ndata: "ssn":\ndata:  null\ndata: }\n\n'),
        (r'data: {"to": "a\u0040b.example"}' + "\n\n", 'data: {"to": "***"}\n\n'),
        ("data: a@b.example\n\n", "data: ***\n\n"),
        ("data: one\ndata: a@b.example\n\n", "data: one\ndata: ***\n\n"),
        ("event: x\ndata: [DONE]\nid: 7\n\n", "event: x\ndata: [DONE]\nid: 7\n\n"),
        (f": note {CARD}\nid: a@b.example\nevent: {CARD}\n\n", ": note ***\nid: ***\nevent: ***\n\n"),
        ("data\n\n\n\ndata: x\n\n", "data\n\n\n\ndata: x\n\n"),
        (f"data: {CARD}", "data: null"),
        ('\ufeffdata: {"ssn": 1}\n\n', '\ufeffdata: {"ssn": null}\n\n'),
        ('id: 1\ndata: {"a": 1,\nid: 2\ndata: "ssn": 2}\n\n', 'id: 1\ndata: {"a": 1,\ndata: "ssn": null}\nid: 2\n\n'),
    ],
)
def test_events_are_masked(text: str, expected: str, end: str) -> None:
    """Data as one message, JSON or not; every other line by itself; what holds nothing passes as it came."""
    assert masked(text.replace("\n", end)) == expected.replace("\n", end)


def test_an_event_goes_out_with_its_blank_line() -> None:
    """An agent that listens must not wait for the next event."""
    subject = EventStreamMasker(PLAN)
    assert subject.feed(b"data: one\n") == b""
    assert subject.feed(b"\n") == b"data: one\n\n"
    assert subject.feed(b"data: two\r\n\r") == b"data: two\r\n\r"
    assert subject.feed(b"\ndata: 3\r\r") == b"\ndata: 3\r\r"
    assert subject.held == 0


def test_text_that_names_a_hidden_member_ends_the_stream() -> None:
    """Its values cannot be told from the rest. The events before it have gone."""
    text = b'data: {"ssn": "1"}\n\ndata: ssn is 078-05-1120\n\ndata: next\n\n'
    out = same_for_every_split(lambda: EventStreamMasker(None, MEMBERS), text, (4, 30))
    assert out == (b'data: {"ssn": "***"}\n\n', False)


def test_null_in_an_event_that_is_no_json_is_cut_out() -> None:
    """A line that would be null is an empty comment: it must not end the event."""
    subject = EventStreamMasker(Detection({"email": "null"}))
    text = b"id: a@b.example\ndata: to a@b.example now\n\n"
    assert subject.feed(text) == b":\ndata: to  now\n\n"
    assert subject.nulled
    assert subject.counts == {"email": 2}


def test_an_event_without_end_is_not_held_for_ever() -> None:
    """One event is at most a MiB."""
    assert not stream(EventStreamMasker(PLAN), [b"data: " + b"x" * 1000 + b"\n"] * 1100)[1]


lines = st.lists(
    st.sampled_from(
        ['data: {"ssn": 1}', 'data: {"a":', 'data: "a@b.example"}', "data: a@b.example", f"id: {CARD}", ": c", "data", "x", "\ufeff", ""]
    ),
    max_size=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(lines, st.lists(st.sampled_from(["\n", "\r", "\r\n"]), min_size=13, max_size=13), CUTS, st.booleans())
def test_no_split_changes_the_output(parts: list[str], ends: list[str], cuts: list[int], closed: bool) -> None:
    """Invariant 9, with line ends of all kinds in one stream; and no canary passes."""
    text = "".join(line + end for line, end in zip(parts, ends, strict=False)) + ("\n\n" if closed else "")
    out, whole = same_for_every_split(lambda: EventStreamMasker(PLAN, MEMBERS), text.encode(), cuts)
    assert b"a@b.example" not in out
    assert CARD.encode() not in out
    if whole:
        assert out.count(b"\n\n") == text.count("\n\n") or "\r" in text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_stream, "LONGEST", 30)
        same_for_every_split(lambda: EventStreamMasker(PLAN, MEMBERS), text.encode(), cuts)


def test_masked_json_is_json_still() -> None:
    """Each event reads as before."""
    out = masked('data: {"ssn": {"a": [1]}, "to": "x\\n a@b.example"}\n\n')
    assert json.loads(out.removeprefix("data: ")) == {"ssn": None, "to": "x\n ***"}
