"""The gate, as conversations: what must happen before what, whatever the world answers."""

from collections.abc import Callable

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway_kernel.audit import Decided, Finished, Outcome, Pending, Sending
from gateway_kernel.commands import (
    GRANT_MISMATCH,
    GRANT_USED,
    POLICY_CHANGED,
    REVIEW_DENIED,
    REVIEW_PENDING,
    AwaitGrant,
    Consume,
    Consumed,
    Forward,
    Granted,
    NotGranted,
    Refuse,
    Result,
)
from gateway_kernel.gate import Admission, admit
from gateway_kernel.grant import Grant, digest, sign
from gateway_kernel.judge import UNREADABLE
from gateway_kernel.model import (
    SECOND,
    Agent,
    Effect,
    EffectKind,
    Facts,
    Mode,
    Operation,
    Parameter,
    Resource,
    Session,
    SqlFacts,
)
from gateway_kernel.policy import Policy, load
from tests.support.playbook import playbook, recorded

NOON = 1_800_000_000_000_000
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)

REVIEWING = load("""
version: 1
default: deny
groups: {dba: [ann@example.com]}
rules:
- id: reads
  when: operation.effects.all(e, e.kind == "read")
  then: allow
- id: deletes-need-a-person
  when: operation.effects.exists(e, e.kind == "delete")
  then: review
  review: {approvers: [dba], expires: 2h}
- id: no-schema
  when: operation.effects.exists(e, e.kind == "schema")
  then: deny
  reason: Schema changes go through the migration pipeline.
- id: writes
  when: operation.effects.exists(e, e.kind == "write")
  then: allow
""")


def session(mode: Mode = "enforce") -> Session:
    return Session("s-1", Agent("ci-bot"), Resource("orders-db", "postgres", {"env": "prod"}), NOON, mode)


def operation(kind: EffectKind, text: str = "…", *parameters: Parameter) -> Operation:
    facts = Facts(str(kind).upper(), (Effect(kind, "public.orders"),), SqlFacts())
    return Operation("op-1", "postgres", text, parameters, {"role": "app"}, facts=facts)


def delete_order(number: int) -> Operation:
    return operation(EffectKind.DELETE, "DELETE FROM orders WHERE id = $1", Parameter("23", b"%d" % number))


def admitted(what: Operation, mode: Mode = "enforce", policy: Policy = REVIEWING) -> Admission:
    return admit(what, session(mode), policy, NOON)


def granted(what: Operation, policy: Policy = REVIEWING) -> Granted:
    """People approved exactly `what`."""
    grant = Grant(
        "g-1",
        "r-1",
        digest(what, "orders-db"),
        "ci-bot",
        "orders-db",
        NOON,
        NOON + 60 * SECOND,
        ("ann@example.com",),
        "",
    )
    return Granted(sign(grant, KEY, "k1"), grant, policy, NOON + SECOND)


def done(outcome: Outcome = Outcome.COMPLETED) -> Result:
    return Result(Finished("op-1", outcome, "DELETE 1"), outcome)


def refused(rule: str) -> Callable[[object], bool]:
    """Accepts a refusal made by this rule."""
    return lambda command: isinstance(command, Refuse) and command.verdict.rules == (rule,)


def test_a_read_is_recorded_and_then_forwarded() -> None:
    """Decision and sending are one event where nobody was asked; reads do not wait for the disk."""
    (
        playbook(admitted(operation(EffectKind.READ)))
        << recorded(Sending, seal=False)
        << Forward
        >> done()
        << recorded(Finished)
    ).over()


def test_a_change_is_sealed_before_it_is_forwarded() -> None:
    """What changes something must survive the machine before it is sent (invariant 1)."""
    (
        playbook(admitted(operation(EffectKind.WRITE)))
        << recorded(Sending, seal=True)
        << Forward
        >> done(Outcome.UNKNOWN)
        << recorded(Finished)
    ).over()


def test_a_denial_is_recorded_before_the_agent_hears_it() -> None:
    """Nothing is forwarded, and the rule is named."""
    (playbook(admitted(operation(EffectKind.SCHEMA))) << recorded(Decided) << refused("no-schema")).over()


def test_an_approved_operation_runs_once_everything_is_on_disk() -> None:
    """Pending, decision and sending are sealed; the grant is used up in between."""
    seven = delete_order(7)
    (
        playbook(admitted(seven))
        << recorded(Pending, seal=True)
        << AwaitGrant
        >> granted(seven)
        << recorded(Decided, seal=True)
        << Consume
        >> Consumed()
        << recorded(Sending, seal=True)
        << Forward
        >> done()
        << recorded(Finished)
    ).over()


def test_an_approval_for_other_parameters_is_refused() -> None:
    """The person saw id 7; a Bind with id 8 is another operation (invariant 2)."""
    (
        playbook(admitted(delete_order(8)))
        << recorded(Pending)
        << AwaitGrant
        >> granted(delete_order(7))
        << recorded(Decided)
        << refused(GRANT_MISMATCH)
    ).over()


def test_a_denied_review_is_refused_with_its_reason() -> None:
    """What people said reaches the agent."""
    conversation = (
        playbook(admitted(delete_order(7)))
        << recorded(Pending)
        << AwaitGrant
        >> NotGranted(REVIEW_DENIED, "Denied by ann@example.com: not today", "r-1")
        << recorded(Decided)
    )
    refusal = conversation.current
    assert isinstance(refusal, Refuse)
    assert (refusal.verdict.rules, refusal.review) == ((REVIEW_DENIED,), "r-1")
    assert "not today" in refusal.verdict.reason


def test_a_hold_that_runs_out_leaves_the_review_open() -> None:
    """The agent is told to come back; nothing was sent."""
    conversation = (
        playbook(admitted(delete_order(7)))
        << recorded(Pending)
        << AwaitGrant
        >> NotGranted(REVIEW_PENDING, "Waiting for people.", "r-1", "http://cp/reviews/r-1")
        << recorded(Decided)
    )
    assert isinstance(conversation.current, Refuse)
    assert conversation.current.held


def test_a_grant_that_another_waiter_used_is_not_used_again() -> None:
    """Between the decision and the sending stands the consumption, at most once (invariant 3)."""
    seven = delete_order(7)
    (
        playbook(admitted(seven))
        << recorded(Pending)
        << AwaitGrant
        >> granted(seven)
        << recorded(Decided)
        << Consume
        >> NotGranted(GRANT_USED, "It ran as operation op-0: completed.", "r-1")
        << recorded(Decided)
        << refused(GRANT_USED)
    ).over()


def changed(old: str, new: str) -> Policy:
    text = REVIEWING.text.replace(old, new)
    assert text != REVIEWING.text
    return load(text)


@pytest.mark.parametrize(
    ("policy", "rule"),
    [
        (changed('e.kind == "schema")', 'e.kind in ["schema", "delete"])'), "no-schema"),
        (changed("approvers: [dba]", "approvers: [dba], quorum: 2"), POLICY_CHANGED),
    ],
    ids=["now denies", "now asks more people"],
)
def test_a_policy_that_changed_meanwhile_is_heeded(policy: Policy, rule: str) -> None:
    """The approval was given under another policy; the active one decides."""
    seven = delete_order(7)
    (
        playbook(admitted(seven))
        << recorded(Pending)
        << AwaitGrant
        >> granted(seven, policy)
        << recorded(Decided)
        << refused(rule)
    ).over()


def test_a_policy_that_changed_elsewhere_does_not_void_a_grant() -> None:
    """Only a denial or other approvers do."""
    seven = delete_order(7)
    policy = changed("Schema changes go through", "Schema changes must go through")
    conversation = playbook(admitted(seven)) << recorded(Pending) << AwaitGrant >> granted(seven, policy)
    conversation = conversation << recorded(Decided, seal=True)
    assert isinstance(conversation.current, Consume)


@pytest.mark.parametrize(
    "facts",
    [
        Facts("X", (Effect(EffectKind.READ), Effect(EffectKind.UNKNOWN)), SqlFacts()),
        Facts("X", (Effect(EffectKind.READ),), SqlFacts(), complete=False),
        Facts("X", (), SqlFacts()),
    ],
    ids=["unknown effect", "incomplete", "no effect"],
)
@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_what_cannot_be_read_is_refused(facts: Facts, mode: Mode) -> None:
    """In every mode, and before any rule is asked (invariant 4)."""
    unread = msgspec.structs.replace(operation(EffectKind.READ), facts=facts)
    (playbook(admitted(unread, mode)) << recorded(Decided) << refused(UNREADABLE)).over()


@pytest.mark.parametrize("kind", [EffectKind.SCHEMA, EffectKind.DELETE])
def test_observe_mode_forwards_and_says_what_would_have_been(kind: EffectKind) -> None:
    """Neither denied nor held, but recorded as such."""
    conversation = playbook(admitted(operation(kind), "observe")) << (
        lambda command: command.events[0].observed and command.events[0].verdict.decision != "allow"
    )
    (conversation << Forward >> done() << recorded(Finished)).over()


def test_an_approved_write_carries_its_bound() -> None:
    """`max_rows` of the grant reaches the engine."""
    seven = delete_order(7)
    answer = granted(seven)
    answer = msgspec.structs.replace(answer, grant=msgspec.structs.replace(answer.grant, max_rows=1))
    conversation = (
        playbook(admitted(seven)) << recorded(Pending) << AwaitGrant >> answer << recorded(Decided) << Consume
    )
    conversation = conversation >> Consumed() << recorded(Sending)
    assert isinstance(conversation.current, Forward)
    assert conversation.current.max_rows == 1
