"""A recording told as a timeline: events of one operation become one step."""

from typing import Any

from gateway_kernel.audit import (
    AuditEvent,
    Body,
    Decided,
    Finished,
    Noted,
    OperationRecord,
    Outcome,
    Pending,
    Prepared,
    Repeated,
    ResponseRecord,
    Sending,
    SessionClosed,
    VerdictRecord,
    read,
)
from gateway_kernel.chain import Chain
from gateway_kernel.model import Parameter
from gateway_kernel.verdict import Decision
from sallyport.timeline import LONGEST_TEXT, ROWS_SHOWN, Step, timeline

NOON = 1_800_000_000_000_000
REVIEW = VerdictRecord(Decision.REVIEW, ("asks",), ("asks",), "p")
ALLOW = VerdictRecord(Decision.ALLOW, ("reads",), ("reads",), "p")
DENY = VerdictRecord(Decision.DENY, ("default",), (), "p", reason="Not here.")


def operation(name: str, text: str = "SELECT 1", *parameters: Parameter) -> OperationRecord:
    return OperationRecord(name, "postgres", text.split()[0], text, (), parameters)


def told(*bodies: Body) -> list[Step]:
    chain = Chain("s")
    events: list[AuditEvent] = [read(chain.link(body, NOON + at)) for at, body in enumerate(bodies)]
    return timeline(events)


def words(step: Step) -> str:
    return "\n".join(str(part) for part in step.rendered())


def test_an_approved_operation_is_one_step():
    """Pending, decided, sending and finished belong together: who approved, and the outcome."""
    asked = operation("o", "DELETE FROM t")
    (step,) = told(
        Pending(asked, REVIEW),
        Decided(asked, REVIEW, review="r1", grant="g1", approvers=("ann@example.com",)),
        Sending("o"),
        Finished("o", Outcome.COMPLETED, "DELETE 1"),
    )
    assert "REVIEWED by asks" in words(step)
    assert "review r1: approved by ann@example.com, grant g1" in words(step)
    assert "completed (DELETE 1)" in words(step)


def test_a_denial_was_not_sent():
    """Rule, reason, and the truth that nothing was sent."""
    (step,) = told(Decided(operation("o"), DENY))
    assert (step.outcome, "DENIED by default" in words(step), "Not here." in words(step)) == ("not_sent", True, True)


def test_sending_without_an_outcome_is_unknown():
    """After a crash the timeline does not guess."""
    (step,) = told(Sending("o", operation("o"), ALLOW))
    assert step.outcome == "unknown"


def test_a_rewritten_operation_shows_both_texts():
    """What the agent sent and what it became."""
    (step,) = told(Sending("o", operation("o", "SELECT 1 LIMIT 5"), ALLOW, rewritten_from="SELECT 1"))
    text = words(step)
    assert text.index("SELECT 1\n") < text.index("SELECT 1 LIMIT 5")


def test_a_repeated_operation_is_shown_whole():
    """What it has in common with the one before is filled in."""
    first, second = told(
        Sending("a", operation("a", "SELECT $1", Parameter("23", b"7")), ALLOW),
        Finished("a", Outcome.COMPLETED),
        Repeated("b", 0, parameters=(Parameter("23", b"8"),)),
        Finished("b", Outcome.COMPLETED, "SELECT 1"),
    )
    assert "SELECT $1" in words(second)
    assert "$1 = '8'" in words(second)
    assert ("ALLOWED by reads" in words(second), second.outcome) == (True, first.outcome)


def test_parallel_operations_stay_apart():
    """Steps stand in the order in which operations began."""
    steps = told(
        Pending(operation("a", "DELETE FROM t"), REVIEW),
        Sending("b", operation("b"), ALLOW),
        Finished("b", Outcome.COMPLETED),
        Decided(operation("a", "DELETE FROM t"), DENY),
    )
    assert [(step.operation.id if step.operation else "", step.outcome) for step in steps] == [
        ("a", "not_sent"),
        ("b", "completed"),
    ]


def test_notes_prepared_and_observed():
    """What happened beside operations has a line of its own; observe mode says `would be`."""
    steps = told(
        Noted("drain", "the edge stops"),
        Prepared(operation("p"), ALLOW),
        Decided(operation("o"), DENY, observed=True),
        SessionClosed("the client left", 1),
    )
    assert "drain: the edge stops" in words(steps[0])
    assert "prepared, not run" in words(steps[1])
    assert "WOULD BE DENIED" in words(steps[2])
    assert "session closed: the client left" in words(steps[3])


def test_parameters_are_readable():
    """NULL, text as a literal, binary as the server would print it."""
    values = (Parameter("", None), Parameter("", b"O'Neil"), Parameter("23", b"\0\0\0\7", "binary"))
    (step,) = told(Sending("o", operation("o", "SELECT $1", *values), ALLOW))
    shown: Any = step.document()["operation"]["parameters"]
    assert shown[0] == "NULL"
    assert "O'Neil" in shown[1]
    assert "7" in shown[2]


ORDER = "POST /orders?notify=no\nHost: api.example\nContent-Type: application/json\n"
CREATED = b'HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"id": 7\r\n1\r\n}\r\n0\r\n\r\n'


def posted(body: bytes, response: ResponseRecord) -> Step:
    asked = OperationRecord("o", "http", "POST", ORDER, (), (Parameter("application/json", body),))
    (step,) = told(Sending("o", asked, ALLOW), Finished("o", Outcome.COMPLETED, "201", response))
    return step


def test_a_request_is_told_with_its_body_and_the_response_without_its_chunks():
    """Both as text, and what was masked."""
    step = posted(b'{"item": "book"}', ResponseRecord("http", CREATED, masked={"email": 2}))
    text = words(step)
    for part in (
        "        POST /orders?notify=no\n        Host: api.example",
        '        {"item": "book"}',
        "    201 Created\n",
    ):
        assert part in text, part
    assert '    {"id": 7}' in text
    assert "completed (201), masked: email 2" in text
    assert "$1" not in text
    document = step.document()
    assert document["operation"]["parameters"] == ['{"item": "book"}']
    (result,) = document["results"]
    assert (result["head"].splitlines()[0], result["body"]) == ("201 Created", '{"id": 7}')
    assert "body" not in document["response"]


def test_long_and_binary_bodies_are_told_by_their_beginning_or_size():
    """A replay is read on a terminal."""
    lines = "\n".join(f"line {number}" for number in range(ROWS_SHOWN + 5)).encode()
    plain = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
    text = words(posted(b"\xff\xfe", ResponseRecord("http", plain % len(lines) + lines)))
    assert f"line {ROWS_SHOWN - 1}\n    … 5 more lines" in text
    assert "(2 bytes of application/json)" in text
    text = words(posted(b"x" * (LONGEST_TEXT + 9), ResponseRecord("http", plain % 4 + b"\0\1\2\3")))
    assert "… 9 more characters" in text
    assert "(4 bytes of text/plain)" in text


def test_a_body_that_was_not_kept_is_told_by_its_digest():
    """As it stood in the review."""
    asked = OperationRecord("o", "http", "POST", ORDER, (), body_digest="ab" * 32)
    (step,) = told(Decided(asked, DENY))
    assert f"body with SHA-256 {'ab' * 32}" in words(step)


def test_what_a_server_says_cannot_begin_a_line_of_ours():
    """Head and body are indented, control characters shown."""
    response = b"HTTP/1.1 200 OK\r\nX-Note: a\x1b[2Jb\r\nContent-Length: 14\r\n\r\nok\r\ncompleted \r"
    text = words(posted(b"", ResponseRecord("http", response)))
    assert "\x1b" not in text
    assert "\ncompleted " not in text
