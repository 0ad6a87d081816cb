"""The life of one operation, as a conversation between the rules and whoever does the IO.

`admit` yields what must happen next; the driver does it and sends the answer back. No socket, clock or file is touched
here, so each ordering promise of the product can be read in this function and tested without any.
"""

from collections.abc import Generator

from gateway_kernel.audit import Decided, Pending, Sending, operation_record, verdict_record
from gateway_kernel.commands import (
    GRANT_MISMATCH,
    POLICY_CHANGED,
    REVIEW_PENDING,
    Answer,
    AwaitGrant,
    Command,
    Consume,
    Forward,
    Granted,
    NotGranted,
    Record,
    Refuse,
    Result,
)
from gateway_kernel.grant import Grant, digest
from gateway_kernel.judge import UNREADABLE, Judgement, judge
from gateway_kernel.model import EffectKind, Instant, Operation, Session
from gateway_kernel.parse import NO_MASK
from gateway_kernel.policy import Policy
from gateway_kernel.verdict import Decision, Verdict, denial

type Admission = Generator[Command, Answer]


def admit(operation: Operation, session: Session, policy: Policy, now: Instant) -> Admission:
    """Lead one operation from judgement to outcome. Nothing is forwarded that was not recorded first."""
    judgement = judge(operation, session, policy, now)
    if session.mode == "observe" and judgement.verdict.rules != (UNREADABLE,):
        yield from _observed(judgement)
    elif judgement.verdict.denies:
        yield from _refused(judgement, judgement.verdict)
    elif judgement.verdict.needs_review:
        yield from _reviewed(operation, judgement, session)
    else:
        yield from _forwarded(judgement)


def _forwarded(judgement: Judgement) -> Admission:
    """Allowed without asking: the decision and the sending are one event."""
    final = judgement.operation
    sending = Sending(final.id, operation_record(final), verdict_record(judgement.verdict), judgement.rewritten_from)
    yield Record((sending,), seal=not final.facts.changes_nothing)
    yield from _closed((yield Forward(judgement)))


def repeats(judgement: Judgement, session: Session) -> bool:
    """True if an operation that was judged so went the way of `_forwarded` without a seal, and nothing in it or its response is changed.

    Then another operation of the same facts and context, under the same verdict, goes the same way: one `Sending` is recorded, it is sent as
    it came, its `Finished` is recorded.
    """
    verdict, facts = judgement.verdict, judgement.operation.facts
    if session.mode != "enforce" or verdict.decision is not Decision.ALLOW or verdict.obligations.rewrite is not None:
        return False
    untouched = judgement.original is None and judgement.mask is NO_MASK and not verdict.obligations.detect
    return untouched and facts.complete and bool(facts.effects) and facts.only(EffectKind.READ)


def _observed(judgement: Judgement) -> Admission:
    """Observe mode: forward what parses, and record what would have been denied or asked."""
    final = judgement.operation
    sending = Sending(final.id, operation_record(final), verdict_record(judgement.verdict), observed=True)
    yield Record((sending,), seal=not final.facts.changes_nothing)
    yield from _closed((yield Forward(judgement)))


def _refused(judgement: Judgement, verdict: Verdict, answer: NotGranted | None = None) -> Admission:
    review, url, held = (
        ("", "", False) if answer is None else (answer.review, answer.url, answer.rule == REVIEW_PENDING)
    )
    decided = Decided(
        operation_record(judgement.operation), verdict_record(verdict), judgement.rewritten_from, review=review
    )
    yield Record((decided,))
    yield Refuse(judgement.operation, verdict, review, url, held)


def _reviewed(operation: Operation, judgement: Judgement, session: Session) -> Admission:
    """Ask people, then hold what they approved against what would run now, use the grant up, and only then send."""
    final, resource = judgement.operation, session.resource.name
    asked = digest(final, resource)
    record = operation_record(final, asked)
    yield Record((Pending(record, verdict_record(judgement.verdict), judgement.rewritten_from),), seal=True)

    answer = yield AwaitGrant(judgement, asked)
    if not isinstance(answer, Granted):
        assert isinstance(answer, NotGranted), f"AwaitGrant was answered with {answer!r}"
        yield from _refused(judgement, denial(answer.rule, answer.reason, judgement.verdict), answer)
        return

    current = judge(operation, session, answer.policy, answer.now)
    objection = _objection(judgement, current, answer.grant, asked, resource)
    if objection is not None:
        yield from _refused(judgement, objection)
        return

    grant = answer.grant
    decided = Decided(
        record,
        verdict_record(current.verdict),
        judgement.rewritten_from,
        review=grant.review,
        grant=grant.id,
        approvers=grant.approvers,
    )
    yield Record((decided,), seal=True)
    consumed = yield Consume(grant, final)
    if isinstance(consumed, NotGranted):
        yield from _refused(judgement, denial(consumed.rule, consumed.reason, current.verdict), consumed)
        return
    yield Record((Sending(final.id),), seal=True)
    yield from _closed((yield Forward(current, grant.max_rows)))


def _objection(then: Judgement, current: Judgement, grant: Grant, asked: str, resource: str) -> Verdict | None:
    """Why an approved operation may not run after all: other bytes, or a policy that now denies or asks other people."""
    if grant.digest != asked or digest(current.operation, resource) != asked:
        return denial(GRANT_MISMATCH, "What would run is not what was approved.", current.verdict)
    if current.verdict.denies:
        return current.verdict
    terms, now = then.verdict.review, current.verdict.review
    if current.verdict.needs_review and (
        now is None or terms is None or (now.approvers, now.quorum) != (terms.approvers, terms.quorum)
    ):
        return denial(POLICY_CHANGED, "The policy changed after the approval and now asks for others.", current.verdict)
    return None


def _closed(answer: Answer) -> Admission:
    assert isinstance(answer, Result), f"Forward was answered with {answer!r}"
    yield Record((answer.finished,))
