"""A review from submission to outcome, on the real control plane over HTTP."""

import asyncio

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway_kernel import grant as grants
from gateway_kernel.audit import (
    Decided,
    Finished,
    Outcome,
    ResponseRecord,
    Sending,
    SessionClosed,
    operation_record,
    verdict_record,
)
from gateway_kernel.contract import Claim, Submitted, decode, encode
from gateway_kernel.model import Operation, Parameter
from gateway_kernel.review import State
from gateway_kernel.verdict import Decision, Verdict
from tests.support.control_plane_process import APPROVERS, OWNER, ControlPlaneProcess, Edge, linked, now

ANN, BOB, CAROL = APPROVERS
DELETE = "DELETE FROM orders WHERE id = 7"
UPDATE = "UPDATE orders SET note = 'x' WHERE id = 7"


async def approved(plane: ControlPlaneProcess, edge: Edge, text: str = DELETE) -> tuple[Operation, str, grants.Grant]:
    """An operation, its review approved by Ann, and the grant from the feed."""
    operation, submitted = await edge.submit(text)
    await plane.until_judged(submitted.review)
    assert (await plane.decide(submitted.review, ANN)).status == 200
    feed = await edge.feed()
    (settled,) = feed.settled
    assert settled.state is State.APPROVED
    assert settled.grant is not None
    return operation, submitted.review, msgspec.json.decode(settled.grant.payload, type=grants.Grant)


async def test_an_approval_arrives_at_the_edge_as_a_grant_for_exactly_that_operation(
    control_plane: ControlPlaneProcess,
):
    """The grant verifies with the bundle's key for the digest submitted, and names who approved."""
    edge = await control_plane.new_edge()
    operation, submitted = await edge.submit("DELETE FROM orders WHERE id = $1", Parameter("int4", b"7"))
    assert (submitted.state, submitted.joined) == (State.OPEN, False)
    waiting = asyncio.create_task(edge.feed())
    await control_plane.until_judged(submitted.review)
    await control_plane.decide(submitted.review, ANN)
    (settled,) = (await waiting).settled
    assert settled.grant is not None
    bundle = await edge.bundle()
    keys = {name: Ed25519PublicKey.from_public_bytes(raw) for name, raw in bundle.grant_keys.items()}
    grant = grants.verify(
        settled.grant,
        keys,
        operation_digest=grants.digest(operation, edge.session.resource.name),
        agent=edge.session.agent.name,
        resource=edge.session.resource.name,
        now=now(),
    )
    assert (grant.approvers, grant.review) == ((ANN,), submitted.review)


async def test_a_quorum_counts_distinct_people_and_never_the_owner(control_plane: ControlPlaneProcess):
    """Ann twice is Ann once, the owner may not, a stranger may not; Bob makes two."""
    edge = await control_plane.new_edge()
    _, submitted = await edge.submit(UPDATE)
    review = submitted.review
    await control_plane.until_judged(review)
    assert (await control_plane.decide(review, ANN, identifier="one")).json["missing"] == 1
    assert (await control_plane.decide(review, ANN, identifier="one")).status == 200
    assert (await control_plane.decide(review, ANN, identifier="two")).json["type"] == "decided-already"
    assert (await control_plane.decide(review, OWNER)).json["type"] == "owner"
    assert (await control_plane.decide(review, CAROL)).json["type"] == "not-eligible"
    assert (await control_plane.review(review))["state"] == "open"
    assert (await control_plane.decide(review, BOB)).json["state"] == "approved"
    (settled,) = (await edge.feed()).settled
    assert settled.grant is not None
    assert msgspec.json.decode(settled.grant.payload, type=grants.Grant).approvers == (ANN, BOB)


async def test_one_denial_ends_the_review_and_its_reason_reaches_the_edge(control_plane: ControlPlaneProcess):
    """Also from somebody who had approved before."""
    edge = await control_plane.new_edge()
    _, submitted = await edge.submit(UPDATE)
    await control_plane.until_judged(submitted.review)
    await control_plane.decide(submitted.review, ANN)
    assert (await control_plane.decide(submitted.review, ANN, "deny")).json["state"] == "denied"
    (settled,) = (await edge.feed()).settled
    assert (settled.state, settled.grant) == (State.DENIED, None)
    assert settled.reason == f"Denied by {ANN}: looked at it"
    late = await control_plane.decide(submitted.review, BOB)
    assert (late.status, late.json["type"]) == (409, "settled")


async def test_the_same_operation_joins_and_after_the_outcome_opens_a_new_review(control_plane: ControlPlaneProcess):
    """The key is agent, resource and digest; the new review is headed by the old one's outcome."""
    edge = await control_plane.new_edge()
    _, first = await edge.submit(DELETE)
    _, second = await edge.submit(DELETE)
    assert (second.review, second.joined) == (first.review, True)
    await control_plane.until_judged(first.review)
    await control_plane.decide(first.review, ANN, "deny")
    _, third = await edge.submit(DELETE)
    assert third.review != first.review
    shown = await control_plane.review(third.review)
    assert (shown["identical_to"], shown["identical_outcome"]) == (first.review, "denied")


async def test_a_retry_of_the_same_submission_is_answered_with_its_own_review(control_plane: ControlPlaneProcess):
    """An edge that lost the answer asks again; even a settled review is the answer then."""
    edge = await control_plane.new_edge()
    submission = edge.submission(edge.operation(DELETE))
    first = decode((await edge.post(submission)).body, Submitted)
    await control_plane.until_judged(first.review)
    await control_plane.decide(first.review, ANN, "deny")
    again = decode((await edge.post(submission)).body, Submitted)
    assert (again.review, again.state) == (first.review, State.DENIED)


async def test_a_grant_is_used_once_however_many_ask(control_plane: ControlPlaneProcess):
    """Twenty operations race; one gets it, and repeating that claim gives the same answer."""
    edge = await control_plane.new_edge()
    operation, _, grant = await approved(control_plane, edge)
    claims = [operation.id] + [f"other-{number}" for number in range(19)]
    answers = await asyncio.gather(*(edge.claim("consume", grant.id, claim) for claim in claims))
    winners = [claim for claim, answer in zip(claims, answers, strict=True) if answer.ours]
    assert len(winners) == 1
    assert {answer.by for answer in answers} == set(winners)
    assert (await edge.claim("consume", grant.id, winners[0])).ours


async def test_a_grant_given_back_serves_another_operation_but_never_the_same(control_plane: ControlPlaneProcess):
    """A late repetition of the first claim must not take the grant again."""
    edge = await control_plane.new_edge()
    operation, review, grant = await approved(control_plane, edge)
    assert (await edge.claim("consume", grant.id, operation.id)).ours
    assert not (await edge.claim("release", grant.id, "somebody-else")).ours
    assert (await edge.claim("release", grant.id, operation.id)).ours
    assert (await edge.claim("release", grant.id, operation.id)).ours
    assert not (await edge.claim("consume", grant.id, operation.id)).ours
    assert (await control_plane.review(review))["state"] == "approved"
    assert (await edge.claim("consume", grant.id, "a-retry")).ours


async def test_another_edge_can_neither_use_nor_withdraw(control_plane: ControlPlaneProcess):
    """It is told nothing more than that there is no such thing."""
    edge, other = await control_plane.new_edge(), await control_plane.new_edge()
    operation, review, grant = await approved(control_plane, edge)
    assert "no grant" in (await other.claim("consume", grant.id, operation.id)).reason
    claim = encode(Claim(operation.id, "s"))
    assert (await other.call("POST", f"/reviews/{review}/withdraw", claim)).status == 404
    assert (await other.call("GET", "/decisions?wait=0", key=edge.key)).status == 403


async def test_the_recording_brings_the_outcome_to_the_review(control_plane: ControlPlaneProcess):
    """Finished of the operation that used the grant closes the review, with the outcome."""
    edge = await control_plane.new_edge()
    operation, review, grant = await approved(control_plane, edge)
    await edge.claim("consume", grant.id, operation.id)
    chain, lines = edge.recording()
    record = operation_record(operation, grant.digest)
    verdict = verdict_record(Verdict(Decision.REVIEW, ("deletes-need-one",)))
    lines += linked(
        chain,
        Decided(record, verdict, review=review, grant=grant.id, approvers=grant.approvers),
        Sending(operation.id),
        Finished(operation.id, Outcome.COMPLETED, "DELETE 1", ResponseRecord(rows=1, masked={"redact": 2})),
        SessionClosed("client went away", operations=1),
    )
    assert (await edge.ingest(lines)).json == {"next": {chain.session: 5}}
    shown = await control_plane.review(review)
    assert (shown["state"], shown["outcome"]) == ("finished", "completed")
    row = await control_plane.admin("GET", f"/v1/sessions/{chain.session}")
    assert (row["operations"], row["reviewed"], row["masked"], row["rows"]) == (1, 1, 2, 1)
    assert row["reason"] == "client went away"


async def test_a_withdrawn_review_is_over(control_plane: ControlPlaneProcess):
    """The agent took it back: nobody can approve it any more, and the feed says so."""
    edge = await control_plane.new_edge()
    operation, submitted = await edge.submit(DELETE)
    await control_plane.until_judged(submitted.review)
    reply = await edge.call("POST", f"/reviews/{submitted.review}/withdraw", encode(Claim(operation.id, "s")))
    assert decode(reply.body, Submitted).state is State.WITHDRAWN
    assert (await control_plane.decide(submitted.review, ANN)).status == 409
    assert [settled.state for settled in (await edge.feed()).settled] == [State.WITHDRAWN]


async def test_the_control_plane_denies_what_the_edge_should_have_denied(control_plane: ControlPlaneProcess):
    """The stricter verdict wins, and the disagreement is an alert."""
    edge = await control_plane.new_edge()
    reply = await edge.post(edge.submission(edge.operation("DROP TABLE orders")))
    review = decode(reply.body, Submitted).review
    shown = await control_plane.until(review, lambda shown: shown["state"] == "denied")
    assert shown["reason"].startswith("no-ddl: Schema changes go through the pipeline")
    alerts = (await control_plane.admin("GET", "/v1/alerts"))["alerts"]
    assert review in {alert["review"] for alert in alerts}
    assert [settled.state for settled in (await edge.feed()).settled] == [State.DENIED]


async def test_what_the_control_plane_cannot_judge_is_denied(control_plane: ControlPlaneProcess):
    """A protocol that it has no reader for: the review ends with an alert, and the agent is not held for ever."""
    edge = await control_plane.new_edge()
    said = edge.submission(edge.operation(DELETE))
    resource = msgspec.structs.replace(edge.session.resource, protocol="gopher")
    body = {"resources": [msgspec.to_builtins(resource)], "agents": [edge.session.agent.name]}
    await control_plane.admin("PUT", f"/v1/edges/{edge.name}", body)
    operation = msgspec.structs.replace(said.operation, protocol="gopher")
    digest = grants.digest(operation, resource.name)
    session = msgspec.structs.replace(edge.session, resource=resource)
    reply = await edge.post(msgspec.structs.replace(said, operation=operation, digest=digest, session=session))
    review = decode(reply.body, Submitted).review
    shown = await control_plane.until(review, lambda shown: shown["state"] == "denied")
    assert shown["reason"].startswith("unreadable: ")
    assert shown["alert"]


async def test_labels_and_groups_come_from_the_registry_not_from_the_edge(control_plane: ControlPlaneProcess):
    """An edge that calls production a sandbox, or its agent an administrator, is not believed."""
    policy = """
version: 1
default: deny
groups: {dba: [ann@example.com]}
rules:
- id: sandbox
  when: resource.labels[?"env"].orValue("") == "sandbox" || "admins" in agent.groups
  then: review
  review: {approvers: [dba]}
"""
    edge = await control_plane.new_edge(policy)
    edge.session.resource = msgspec.structs.replace(edge.session.resource, labels={"env": "sandbox"})
    edge.session.agent = msgspec.structs.replace(edge.session.agent, groups=("admins",))
    _, submitted = await edge.submit(DELETE)
    shown = await control_plane.until(submitted.review, lambda shown: shown["state"] != "open")
    assert shown["state"] == "denied"
    assert shown["alert"]


async def test_a_review_stays_when_the_policy_has_come_to_allow(control_plane: ControlPlaneProcess):
    """The stricter of the two versions holds, on its own terms."""
    edge = await control_plane.new_edge()
    submission = edge.submission(edge.operation(DELETE))
    allow = 'version: 1\ndefault: deny\nrules:\n- {id: all, when: "true", then: allow}\n'
    await control_plane.admin("POST", "/v1/policies", {"text": allow})
    review = decode((await edge.post(submission)).body, Submitted).review
    shown = await control_plane.until_judged(review)
    assert (shown["state"], shown["rules"]) == ("open", ["deletes-need-one"])
    assert (await control_plane.decide(review, ANN)).json["state"] == "approved"


async def test_submissions_that_lie_are_refused(control_plane: ControlPlaneProcess):
    """Signature, edge, agent, resource, digest, decision: each alone is enough."""
    edge, other = await control_plane.new_edge(), await control_plane.new_edge()
    operation = edge.operation(DELETE)

    async def kind(**changed: object) -> str:
        return (await edge.post(edge.submission(operation, **changed))).json["type"]

    assert (await edge.post(edge.submission(operation), signature=b"\0" * 64)).json["type"] == "bad-signature"
    assert await kind(edge=other.name) == "foreign-edge"
    assert await kind(session=other.session) == "foreign-resource"
    stolen = msgspec.structs.replace(edge.session, agent=other.session.agent)
    assert await kind(session=stolen) == "foreign-agent"
    assert await kind(digest="0" * 64) == "digest-mismatch"
    assert await kind(operation=msgspec.structs.replace(operation, text="DELETE FROM orders")) == "digest-mismatch"
    assert await kind(decision=Decision.ALLOW) == "not-a-review"
    assert await kind(v=99) == "bad-version"
    assert (await edge.post(edge.submission(operation), key=other.key)).status == 403


async def test_the_number_of_open_reviews_of_an_agent_is_limited(control_plane: ControlPlaneProcess):
    """The twenty-first is refused with a problem document; joining is not opening."""
    edge = await control_plane.new_edge()
    for number in range(20):
        await edge.submit(f"DELETE FROM orders WHERE id = {number}")
    reply = await edge.post(edge.submission(edge.operation("DELETE FROM orders WHERE id = 20")))
    assert (reply.status, reply.json["type"]) == (429, "review-limit")
    assert reply.headers["content-type"].startswith("application/problem+json")
    _, joined = await edge.submit("DELETE FROM orders WHERE id = 3")
    assert joined.joined
