"""The authoritative judgement: the operation is read and judged again, and the stricter verdict wins (invariant 7).

Taken from the edge: the operation, its context, the session's counters and the time. Taken from our registry instead: the agent's
groups and owners, the resource's protocol and labels. Facts are never taken from the other side.
"""

import logging

import azure.durable_functions as df
import msgspec

from function_app.activities import Answer, Job, step
from function_app.composition import Services
from function_app.logs import event, logger
from gateway_kernel.commands import POLICY_CHANGED, VERDICT_MISMATCH
from gateway_kernel.contract import Submission, decode, without_facts
from gateway_kernel.grant import digest
from gateway_kernel.judge import UNREADABLE, Judgement, judge
from gateway_kernel.model import Agent, Effect, Instant, Operation, Resource, Session
from gateway_kernel.policy import Policy
from gateway_kernel.verdict import ReviewTerms

_log = logger("evaluate")
blueprint = df.Blueprint()


class UnjudgedError(Exception):
    """The kernel failed on this operation: a fault of ours, which must end the review and not hold the agent for ever."""


class Found(msgspec.Struct, frozen=True):
    """What re-evaluation found. `terms` is None if it denies; `alert` is a sentence where edge and control plane disagree."""

    reason: str
    terms: ReviewTerms | None = None
    eligible: tuple[str, ...] = ()
    escalated: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    policy: str = ""
    verb: str = ""
    effects: tuple[Effect, ...] = ()
    alert: str = ""


@blueprint.activity_trigger(input_name="job")
async def evaluate(job: Job) -> Answer:
    """`{"review": id}` -> `{"action": "denied"}`, or `{"action": "ask", "found": …}`."""
    return await step("evaluate", lambda app: _evaluate(app, job["review"]))


async def _evaluate(app: Services, review: str) -> Answer:
    submission = decode(await app.store.reviews.payload(review), Submission)
    try:
        found = await re_evaluate(app, submission)
    except UnjudgedError as error:
        event(_log, "judging_failed", level=logging.ERROR, review=review, reason=repr(error.__cause__))
        found = Found(f"{UNREADABLE}: {error}", alert=str(error))
    if found.alert:
        app.metrics.alerts.labels(VERDICT_MISMATCH).inc()
        event(_log, "alert", level=logging.WARNING, review=review, detail=found.alert)
    if found.terms is None:
        await app.store.reviews.settle_denied(review, found.reason, found.alert, app.now())
        app.metrics.reviews.labels("denied_by_policy").inc()
        app.feeds.ring()
        return {"action": "denied"}
    return {"action": "ask", "found": msgspec.to_builtins(found)}


async def re_evaluate(app: Services, submission: Submission) -> Found:
    """Judge the submission under the active policy, in the session as our registry knows it."""
    session = await _session(app, submission)
    if session is None:
        return Found("unassigned: The edge, the agent or the resource is not registered for this any more.")
    _, policy = await app.policies.active()
    judgement = _judged(without_facts(submission.original or submission.operation), session, policy, submission.now)
    verdict = judgement.verdict
    same_policy = policy.digest == submission.policy
    if verdict.denies:
        alert = (
            f"The edge asked for a review, the control plane denies by {', '.join(verdict.rules)}."
            if same_policy
            else ""
        )
        return Found(f"{', '.join(verdict.rules)}: {verdict.reason}".rstrip(": "), alert=alert)
    if digest(judgement.operation, session.resource.name) != submission.digest:
        if not same_policy:
            return Found(
                f"{POLICY_CHANGED}: The policy changed and now rewrites the operation otherwise; send it again."
            )
        return Found(
            f"{VERDICT_MISMATCH}: The control plane derives another final form of this operation.",
            alert="Edge and control plane rewrite the same operation differently under the same policy.",
        )
    if verdict.needs_review and verdict.review is not None:
        return _ask(judgement, policy, verdict.review, session)
    return await _kept(app, submission, session, judgement, policy)


async def _kept(app: Services, submission: Submission, session: Session, judgement: Judgement, policy: Policy) -> Found:
    """The active policy allows without asking: the review stays, on the terms of the policy that the edge judged by."""
    before = await app.policies.by_digest(submission.policy)
    if before is not None and before.digest != policy.digest:
        asked = _judged(without_facts(submission.original or submission.operation), session, before, submission.now)
        if asked.verdict.needs_review and asked.verdict.review is not None:
            return _ask(asked, before, asked.verdict.review, session)
    return Found(
        f"{VERDICT_MISMATCH}: The edge asked for a review on terms that no known policy gives.",
        alert=f"The edge asked for a review by {', '.join(submission.rules)}; the control plane finds no such rule.",
    )


def _judged(operation: Operation, session: Session, policy: Policy, now: Instant) -> Judgement:
    try:
        return judge(operation, session, policy, now)
    except Exception as error:
        raise UnjudgedError("The control plane could not judge this operation; its log says why.") from error


def _ask(judgement: Judgement, policy: Policy, terms: ReviewTerms, session: Session) -> Found:
    eligible = policy.people(terms, escalated=False)
    escalated = policy.people(terms, escalated=True) - eligible
    if not eligible and not escalated:
        return Found(
            f"no-approvers: The groups {', '.join(terms.approvers)} of the policy hold nobody who could approve."
        )
    facts = judgement.operation.facts
    return Found(
        judgement.verdict.reason,
        terms,
        tuple(sorted(eligible)),
        tuple(sorted(escalated)),
        tuple(owner.lower() for owner in session.agent.owners),
        judgement.verdict.rules,
        judgement.verdict.policy or policy.digest,
        facts.verb,
        facts.effects,
    )


async def _session(app: Services, submission: Submission) -> Session | None:
    """The session as submitted, with agent and resource as our registry has them; None if they are not assigned to the edge."""
    edge = await app.store.registry.edge(submission.edge)
    resource = None if edge is None else edge.resource(submission.session.resource.name)
    given = submission.session.agent
    row = await app.store.registry.agent(given.name)
    if edge is None or resource is None or row is None or row.revoked or not edge.serves(row.name):
        return None
    agent = Agent(row.name, row.groups, given.claims, given.issuer, row.owners)
    return msgspec.structs.replace(
        submission.session,
        agent=agent,
        resource=Resource(resource.name, resource.protocol, resource.labels),
        mode="enforce",
    )
