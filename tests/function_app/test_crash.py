"""Killing the control plane at every failpoint of a review's life: nothing is lost, nothing happens twice.

One life (an approval used, a denial, a withdrawal, a grant given back, a link used) is led through a process that dies at one point
after another; after each death the edge and the people simply do again what they were doing.
"""

import asyncio
import os
import secrets
from pathlib import Path
from urllib.parse import urlencode

import aiohttp
import msgspec
import pytest

from function_app.failpoints import NAMES
from gateway_kernel.audit import Decided, Finished, Outcome, Sending, operation_record, verdict_record, verify
from gateway_kernel.contract import Claim, Submitted, decode, encode
from gateway_kernel.grant import Grant
from gateway_kernel.model import Operation
from gateway_kernel.review import State
from gateway_kernel.verdict import Decision, Verdict
from tests.function_app.test_pages import Elements
from tests.support.control_plane_process import APPROVERS, POLICY, ControlPlaneProcess, Edge, linked

ANN = APPROVERS[0]
POINTS = (
    "store.submit.after_commit",
    "durable.start_adjudicate.before",
    "activity.evaluate.end",
    "store.open_review.after_commit",
    "notifier.after_send",
    "store.decide.after_commit",
    "durable.raise_changed.before",
    "store.tally.after_commit",
    "store.issue_grant.after_commit",
    "store.consume.after_commit",
    "store.ingest.after_commit",
    "store.release.after_commit",
    "store.withdraw.after_commit",
    "store.decide_by_link.after_commit",
    "store.settle_denied.after_commit",
)
"""Where the next start finds something else than at the point before: a write that was not committed, an activity that only began and
an answer that was only not sent are the neighbour's case. `SALLYPORT_TEST_FAILPOINTS=all` walks every name (ten minutes)."""


class Life:
    """One of everything. `live` may be called again and again, and does only what is not done."""

    def __init__(self, plane: ControlPlaneProcess, edge: Edge) -> None:
        self.plane = plane
        self.edge = edge
        mark = secrets.token_hex(4)
        self.operations = {
            kind: edge.operation(f"{text} /* {mark} */")
            for kind, text in {
                "used": "DELETE FROM orders WHERE id = 1",
                "returned": "DELETE FROM orders WHERE id = 2",
                "withdrawn": "DELETE FROM orders WHERE id = 3",
                "linked": "DELETE FROM orders WHERE id = 4",
                "refused": "DROP TABLE orders",
            }.items()
        }
        self.submissions = {kind: edge.submission(operation) for kind, operation in self.operations.items()}
        self.reviews: dict[str, str] = {}
        self.chain, self.lines = edge.recording()

    async def live(self) -> None:
        await self.used()
        await self.returned()
        await self.withdrawn()
        await self.linked()
        assert (await self.plane.until(await self.asked("refused"), _over))["state"] == "denied"

    async def asked(self, kind: str) -> str:
        """Submit until the review is judged; always the same review."""
        while True:
            reply = await self.edge.post(self.submissions[kind])
            assert reply.status == 202, reply.text
            review = decode(reply.body, Submitted).review
            assert self.reviews.setdefault(kind, review) == review
            shown = await self.plane.review(review)
            if shown["judged"] or shown["state"] != "open":
                return review
            await asyncio.sleep(0.05)  # what an edge does between two tries

    async def granted(self, kind: str) -> Grant:
        """The grant of an approved review, read from the start of the feed: always the same grant."""
        while True:
            self.edge.cursor = 0
            for settled in (await self.edge.feed(1)).settled:
                if settled.review == self.reviews[kind] and settled.grant is not None:
                    return msgspec.json.decode(settled.grant.payload, type=Grant)

    async def approved(self, kind: str) -> Grant:
        review = await self.asked(kind)
        reply = await self.plane.decide(review, ANN, identifier=review)
        assert reply.status == 200, reply.text
        return await self.granted(kind)

    async def used(self) -> None:
        """Approve, consume, record the outcome."""
        operation, grant = self.operations["used"], await self.approved("used")
        assert (await self.edge.claim("consume", grant.id, operation.id)).ours
        if len(self.lines) == 1:
            self.lines += linked(self.chain, *_recorded(operation, grant))
        assert (await self.edge.ingest(self.lines)).status == 200
        shown = await self.plane.review(self.reviews["used"])
        assert (shown["state"], shown["outcome"]) == ("finished", "completed")

    async def returned(self) -> None:
        """Consume, give back, consume by another operation."""
        operation, grant = self.operations["returned"], await self.approved("returned")
        if (await self.edge.claim("consume", grant.id, operation.id)).ours:
            assert (await self.edge.claim("release", grant.id, operation.id)).ours
        assert (await self.edge.claim("consume", grant.id, f"{operation.id}-again")).ours

    async def withdrawn(self) -> None:
        review = await self.asked("withdrawn")
        claim = encode(Claim(self.operations["withdrawn"].id, self.edge.session.id))
        reply = await self.edge.call("POST", f"/reviews/{review}/withdraw", claim)
        assert decode(reply.body, Submitted).state is State.WITHDRAWN

    async def linked(self) -> None:
        """Decide by the link that was sent."""
        review = await self.asked("linked")
        outbox = self.plane.directory / "data" / "outbox"
        await self.plane.until(review, lambda _: any(outbox.glob(f"{review}-opened-*.json")))
        messages = [msgspec.json.decode(path.read_bytes()) for path in outbox.glob(f"{review}-opened-*.json")]
        link = next(message["links"][ANN] for message in messages if ANN in message["links"])
        link = link.removeprefix(self.plane.url)
        page = await self.plane.call("GET", link)
        if page.status != 410:  # not used yet
            fields = {"form": Elements(page.text).field("form"), "id": review, "choice": "approve"}
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            await self.plane.call("POST", link, data=urlencode(fields).encode(), headers=headers)
        assert (await self.plane.review(review))["approvers"] == [ANN]
        await self.granted("linked")

    async def check(self) -> None:
        """After everything: one review for each operation, each in its state, and the recording whole."""
        states = {kind: (await self.plane.review(review))["state"] for kind, review in self.reviews.items()}
        assert states == {
            "used": "finished",
            "returned": "used",
            "withdrawn": "withdrawn",
            "linked": "approved",
            "refused": "denied",
        }
        path = f"/v1/sessions/{self.chain.session}/events"
        reply = await self.plane.call("GET", path, key=self.plane.admin_key)
        assert verify(self.chain.session, reply.body.splitlines()).head == self.chain.head
        row = await self.plane.admin("GET", f"/v1/sessions/{self.chain.session}")
        assert (row["events"], row["operations"], row["reviewed"]) == (4, 1, 1)


def _recorded(operation: Operation, grant: Grant) -> tuple[Decided, Sending, Finished]:
    verdict = verdict_record(Verdict(Decision.REVIEW, ("deletes-need-one",)))
    record = operation_record(operation, grant.digest)
    return (
        Decided(record, verdict, review=grant.review, grant=grant.id, approvers=grant.approvers),
        Sending(operation.id),
        Finished(operation.id, Outcome.COMPLETED, "DELETE 1"),
    )


def _over(shown: dict[str, str]) -> bool:
    return shown["state"] != "open"


@pytest.mark.timeout(900)
async def test_dying_at_any_failpoint_loses_nothing_and_does_nothing_twice(tmp_path: Path):
    """Each name is a real one; each point kills the process once; one life after another comes through whole."""
    assert set(POINTS) <= NAMES
    with ControlPlaneProcess(tmp_path) as plane:
        await plane.furnish()
        edge = await plane.new_edge(POLICY)
        lives = [Life(plane, edge)]
        for name in sorted(NAMES) if os.environ.get("SALLYPORT_TEST_FAILPOINTS") == "all" else POINTS:
            plane.stop()
            try:
                plane.start(SALLYPORT_FAILPOINT=name)
                for _ in range(2):  # a life that is past this point ends; the next one meets it
                    await lives[-1].live()
                    lives.append(Life(plane, edge))
                raise AssertionError(f"{name} was never reached")
            except (aiohttp.ClientError, OSError, RuntimeError):
                assert plane.died(5), f"{name}: the process should have killed itself\n{plane.log[-2000:]}"
        plane.start()
        for life in lives:
            await life.live()
            await life.check()
        reviews = {review for life in lives for review in life.reviews.values()}
        listed = (await plane.admin("GET", f"/v1/reviews?agent={edge.session.agent.name}&limit=200"))["reviews"]
        assert {shown["id"] for shown in listed} == reviews
