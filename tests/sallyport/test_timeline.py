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
    Sending,
    SessionClosed,
    VerdictRecord,
    read,
)
from gateway_kernel.chain import Chain
from gateway_kernel.model import Parameter
from gateway_kernel.verdict import Decision
from sallyport.timeline import Step, timeline

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
