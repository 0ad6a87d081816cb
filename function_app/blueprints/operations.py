"""Edges submit operations that need people, hear of decisions, and use, give back or withdraw what they got."""

import time

import azure.durable_functions as df
import azure.functions as func
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from function_app import adjudication
from function_app.access import Call, endpoint, reply
from function_app.logs import event, logger
from function_app.redaction import redact
from function_app.stores.base import NewReview, Review, StoreError
from gateway_kernel.contract import (
    LARGEST_SUBMISSION,
    LONGEST_POLL,
    VERSION,
    Claim,
    Feed,
    SignedSubmission,
    Submission,
    Submitted,
    decode,
    submission_bytes,
)
from gateway_kernel.grant import digest
from gateway_kernel.model import SECOND
from gateway_kernel.verdict import Decision

FEED_PAGE = 200
"""Settled reviews in one answer of the feed."""
LONGEST_PREVIEW = 500
"""Characters of a command that lists of reviews show."""
STARTING = 2 * SECOND
"""A review that joins itself unjudged after so long may have lost its start."""

_log = logger("operations")
blueprint = df.Blueprint()


@endpoint(blueprint, "submit_operation")
async def submit_operation(call: Call) -> func.HttpResponse:
    """Open or join the review of one operation."""
    submission, payload = await _verified(call)
    now = call.services.now()
    new = NewReview(
        submission.edge,
        submission.session.agent.name,
        submission.session.resource.name,
        submission.operation.protocol,
        submission.digest,
        submission.session.id,
        submission.operation.id,
        now,
        redact(submission.operation.text)[:LONGEST_PREVIEW],
    )
    opened = await call.services.store.reviews.submit(new, payload, call.services.settings.open_reviews_per_agent)
    review = opened.review
    if not opened.joined:
        await adjudication.start(call.client, review.id)
        event(_log, "review_submitted", review=review.id, edge=new.edge, agent=new.agent, resource=new.resource)
    elif review.asked is None and review.state == "open" and now - review.opened > STARTING:
        await adjudication.ensure(call.client, review.id)
    call.services.feeds.ring()
    return reply(_submitted(call, review, joined=opened.joined), 202)


@endpoint(blueprint, "edge_decisions")
async def edge_decisions(call: Call) -> func.HttpResponse:
    """The feed: at once if there is something after the cursor, else when there is, else empty after `wait` seconds."""
    edge = call.principal.name
    after = call.number("after", 0, most=2**62)
    until = time.monotonic() + call.number("wait", LONGEST_POLL, most=LONGEST_POLL)
    with call.services.feeds.bell() as bell:
        while True:
            bell.clear()
            cursor, settled = await call.services.store.reviews.feed(edge, after, FEED_PAGE)
            left = until - time.monotonic()
            if settled or left <= 0:
                return reply(Feed(cursor, settled))
            await bell.wait(left)


@endpoint(blueprint, "consume_grant")
async def consume_grant(call: Call) -> func.HttpResponse:
    """Use a grant for one operation, exactly once."""
    claim = call.json(Claim)
    claimed = await call.services.store.reviews.consume(
        call.principal.name, call.path("grant"), claim, call.services.now()
    )
    event(_log, "grant_claimed", grant=call.path("grant"), operation=claim.operation, ours=claimed.ours)
    return reply(claimed)


@endpoint(blueprint, "release_grant")
async def release_grant(call: Call) -> func.HttpResponse:
    """Give a grant back that was consumed but not used: nothing was sent."""
    claim = call.json(Claim)
    released = await call.services.store.reviews.release(call.principal.name, call.path("grant"), claim)
    event(_log, "grant_released", grant=call.path("grant"), operation=claim.operation, ours=released.ours)
    return reply(released)


@endpoint(blueprint, "withdraw_review")
async def withdraw_review(call: Call) -> func.HttpResponse:
    """The agent took its request back; the review ends once no edge waits for it any more."""
    claim = call.json(Claim)
    review = await call.services.store.reviews.withdraw(
        call.principal.name, call.path("review"), claim, call.services.now()
    )
    if review.state == "withdrawn":
        await adjudication.hint(call.client, review.id)
        call.services.feeds.ring()
        event(_log, "review_withdrawn", review=review.id, operation=claim.operation)
    return reply(_submitted(call, review, joined=True))


async def _verified(call: Call) -> tuple[Submission, bytes]:
    """The submission, once everything that this edge may not say of others has been ruled out."""
    envelope = call.json(SignedSubmission, largest=LARGEST_SUBMISSION * 3 // 2)
    payload = envelope.payload
    if len(payload) > LARGEST_SUBMISSION:
        raise StoreError(
            "too-large", 413, f"The submission has {len(payload)} bytes; the most is {LARGEST_SUBMISSION}."
        )
    await _require_signature(call, envelope)
    try:
        submission = decode(payload, Submission)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise StoreError("bad-request", 422, f"The submission does not read: {error}") from error
    if submission.v != VERSION:
        raise StoreError(
            "bad-version",
            422,
            f"Submission version {submission.v} is not {VERSION}; bring edge and control plane to one release.",
        )
    if submission.edge != call.principal.name:
        raise StoreError("foreign-edge", 403, f"The submission speaks for edge {submission.edge!r}.")
    if submission.decision is not Decision.REVIEW:
        raise StoreError(
            "not-a-review", 422, f"Only operations that need a review are submitted, not {submission.decision}."
        )
    await _require_assigned(call, submission)
    try:
        recomputed = digest(submission.operation, submission.session.resource.name)
    except ValueError as error:
        raise StoreError("digest-mismatch", 422, f"The operation has no exact form: {error}") from error
    if recomputed != submission.digest:
        raise StoreError("digest-mismatch", 422, f"The operation's digest is {recomputed}, not {submission.digest}.")
    return submission, payload


async def _require_signature(call: Call, envelope: SignedSubmission) -> None:
    edge = call.principal
    key = next((key for key in await call.services.store.registry.keys("edge", edge.name) if key.id == edge.key), None)
    assert key is not None, "the caller was just authenticated by this key"
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(envelope.signature, submission_bytes(envelope.payload))
    except InvalidSignature as error:
        raise StoreError(
            "bad-signature", 422, f"The submission is not signed by the key of edge {edge.name!r} that sent it."
        ) from error


async def _require_assigned(call: Call, submission: Submission) -> None:
    registry = call.services.store.registry
    edge = await registry.edge(submission.edge)
    name, agent = submission.session.resource.name, submission.session.agent.name
    resource = None if edge is None else edge.resource(name)
    if edge is None or resource is None:
        raise StoreError("foreign-resource", 403, f"Resource {name!r} is not registered at edge {submission.edge!r}.")
    if resource.protocol != submission.operation.protocol:
        raise StoreError(
            "foreign-resource",
            403,
            f"Resource {name!r} speaks {resource.protocol}, the operation {submission.operation.protocol}.",
        )
    row = await registry.agent(agent)
    if row is None or row.revoked or not edge.serves(agent):
        raise StoreError("foreign-agent", 403, f"Agent {agent!r} is not assigned to edge {submission.edge!r}.")


def _submitted(call: Call, review: Review, *, joined: bool) -> Submitted:
    expires = 0 if review.asked is None else review.asked.due.expire
    return Submitted(review.id, review.state, call.services.review_url(review.id), joined, expires)
