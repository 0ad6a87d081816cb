"""`python -m tests.function_app.record_histories` records the histories that `test_adjudicate.py` replays.

Run it once for each released version of `adjudicate`, commit what it writes under `histories/VERSION/`, and never change those files: a
later release must still replay them, because instances that wait for people outlive a deployment.
"""

import asyncio
import base64
import sqlite3
import tempfile
from pathlib import Path

import msgspec

from function_app.orchestrators.adjudicate import VERSIONS
from gateway_kernel.contract import Claim, encode
from tests.support.control_plane_process import APPROVERS, ControlPlaneProcess, Edge

ANN, BOB, _ = APPROVERS
HISTORIES = Path(__file__).parent / "histories"
POLICY = """
version: 1
default: deny
groups: {dba: [ann@example.com, bob@example.com], lead: [carol@example.com]}
rules:
- id: deletes
  when: operation.effects.exists(e, e.kind == "delete")
  then: review
  review: {approvers: [dba], quorum: 2, expires: 4s, remind: 1s, escalate: {after: 2s, approvers: [lead]}}
- id: writes
  when: operation.effects.exists(e, e.kind == "write")
  then: review
  review: {approvers: [dba], quorum: 2, expires: 30d}
"""


async def approved(plane: ControlPlaneProcess, edge: Edge) -> str:
    """Two people, a decision sent twice in between."""
    review = await opened(plane, edge, "UPDATE orders SET note = 'approved'")
    await plane.decide(review, ANN, identifier="one")
    await plane.decide(review, ANN, identifier="one")
    await plane.decide(review, BOB)
    await edge.feed()
    return review


async def denied(plane: ControlPlaneProcess, edge: Edge) -> str:
    review = await opened(plane, edge, "UPDATE orders SET note = 'denied'")
    await plane.decide(review, ANN, "deny")
    return review


async def withdrawn(plane: ControlPlaneProcess, edge: Edge) -> str:
    operation, submitted = await edge.submit("UPDATE orders SET note = 'withdrawn'")
    await plane.until_judged(submitted.review)
    await edge.call("POST", f"/reviews/{submitted.review}/withdraw", encode(Claim(operation.id, edge.session.id)))
    return submitted.review


async def refused(plane: ControlPlaneProcess, edge: Edge) -> str:
    _, submitted = await edge.submit("DROP TABLE orders")
    return submitted.review


async def expired(plane: ControlPlaneProcess, edge: Edge) -> str:
    """Reminded, escalated, then nobody."""
    review = await opened(plane, edge, "DELETE FROM orders")
    await plane.until(review, lambda shown: shown["state"] == "expired")
    return review


async def waiting(plane: ControlPlaneProcess, edge: Edge) -> str:
    """Still open when it was recorded, after a first approval and a timer of a day."""
    review = await opened(plane, edge, "UPDATE orders SET note = 'waiting'")
    await plane.decide(review, ANN)
    return review


async def opened(plane: ControlPlaneProcess, edge: Edge, text: str) -> str:
    _, submitted = await edge.submit(text)
    await plane.until_judged(submitted.review)
    return submitted.review


STORIES = (approved, denied, withdrawn, refused, expired, waiting)


async def led(plane: ControlPlaneProcess) -> dict[str, str]:
    edge = await plane.furnish(POLICY)
    reviews = {story.__name__: await story(plane, edge) for story in STORIES}
    await asyncio.sleep(2)  # the orchestrations' own ends
    return reviews


def record(version: str, directory: Path) -> None:
    """Lead every story once and write its history."""
    with tempfile.TemporaryDirectory() as scratch:
        with ControlPlaneProcess(Path(scratch)) as plane:
            reviews = asyncio.run(led(plane))
        (path,) = (Path(scratch) / "host").rglob("durable.sqlite")
        database = sqlite3.connect(path)
        directory.mkdir(parents=True, exist_ok=True)
        for story, review in reviews.items():
            sql = "select event from history where id = ? order by generation, n"
            events = [base64.b64encode(row[0]).decode() for row in database.execute(sql, (review,))]
            content = {"version": version, "story": story, "instance": review, "events": events}
            (directory / f"{story}.json").write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))
        database.close()


if __name__ == "__main__":
    newest = list(VERSIONS)[-1]
    record(newest, HISTORIES / newest)
