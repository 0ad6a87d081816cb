"""The judgement of one operation: rewrites first, then the verdict over the final form, then what its masks mean.

Edge and control plane both call `judge` with the same operation, session, policy and time, and so reach the same verdict
(invariant 7). It asks nobody and forwards nothing: that is the gate's part.
"""

import msgspec

from gateway_kernel.errors import UnrewritableError
from gateway_kernel.model import UNREAD, EffectKind, Instant, Operation, Session
from gateway_kernel.parse import NO_MASK, MaskPlan
from gateway_kernel.parse.readers import reader_for
from gateway_kernel.policy import Policy
from gateway_kernel.verdict import Verdict, denial

UNREADABLE = "unreadable"
UNREWRITABLE = "unrewritable"
MASKED_COLUMN = "masked-column"


class Judgement(msgspec.Struct, frozen=True):
    """`operation` is the final form, `verdict` what the policy says of it, `original` what the agent sent if that differs."""

    operation: Operation
    verdict: Verdict
    mask: MaskPlan = NO_MASK
    original: Operation | None = None

    @property
    def rewritten_from(self) -> str:
        """The text that the agent sent, if another text will run; "" otherwise."""
        return "" if self.original is None or self.original.text == self.operation.text else self.original.text


def judge(operation: Operation, session: Session, policy: Policy, now: Instant) -> Judgement:
    """Judge `operation` as it would finally execute. Reads its facts if nobody has yet."""
    reader = reader_for(operation.protocol)
    if operation.facts is UNREAD:
        operation = reader.read(operation)
    if not _readable(operation):
        return Judgement(operation, _unreadable(operation, policy))

    first = policy.evaluate(operation, session, now)
    if first.denies or session.mode == "observe":
        return Judgement(operation, first)

    original, verdict = None, first
    rewrite = first.obligations.rewrite
    if rewrite is not None:
        try:
            final = reader.rewrite(operation, rewrite)
        except UnrewritableError as error:
            return Judgement(operation, denial(rewrite.rule or UNREWRITABLE, str(error), first))
        if final is not operation:
            original, operation = operation, final
            if not _readable(operation):
                return Judgement(operation, _unreadable(operation, policy), original=original)
            verdict = policy.evaluate(operation, session, now)
            if verdict.denies:
                return Judgement(operation, verdict, original=original)

    masks = verdict.obligations.columns
    plan = reader.mask(operation, masks) if masks else NO_MASK
    if plan.refusal:
        verdict = denial(plan.rule or MASKED_COLUMN, plan.refusal, verdict)
    return Judgement(operation, verdict, plan, original)


def _readable(operation: Operation) -> bool:
    facts = operation.facts
    return facts.complete and bool(facts.effects) and not facts.has(EffectKind.UNKNOWN)


def _unreadable(operation: Operation, policy: Policy) -> Verdict:
    reason = operation.facts.problem or "It could not be read whole, and what nobody can judge is not forwarded."
    return msgspec.structs.replace(denial(UNREADABLE, reason), policy=policy.digest)
