"""What a kill leaves, at every failpoint that an operation passes: the truth about the outcome, and nothing sent twice."""

from __future__ import annotations

import asyncio
import resource
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent import failpoints
from edge_agent.settings import load
from gateway_kernel.audit import AuditEvent, Finished, Outcome, Sending, SessionClosed
from gateway_kernel.review import State
from tests.edge_agent.conftest import LIMIT, Client, serving, write_settings
from tests.support import toy_process
from tests.support.control_plane import EDGE_KEY, ControlPlane

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

NEVER_HERE = (
    "record:prepared",  # the toy room prepares nothing
    "record:noted",  # nor does it note
    "refuse:",  # nothing is refused on this way; the test below does
    "release:",
    "withdraw:",
)
POINTS = [point for point in failpoints.POINTS if not point.startswith(NEVER_HERE)]


def told(connection: Connection[str, str]) -> str:
    """What the worker said, "" once it is gone."""
    try:
        return connection.recv() if connection.poll(LIMIT) else "nothing in time"
    except (EOFError, ConnectionResetError):
        return ""


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


async def ask_until_killed(directory: Path, config: Path, plane: ControlPlane, point: str, *asked: str) -> list[str]:
    """Run a worker that dies at `point` while it does what is asked; return what ran upstream."""
    journal = directory / "journal"
    environment = {failpoints.VARIABLE: point, "SALLYPORT_EDGE_KEY": EDGE_KEY, "TOY_JOURNAL": str(journal)}
    port = free_port()
    process, connection = toy_process.start(config, port, environment)
    try:
        if await asyncio.to_thread(told, connection) == "ready":
            conversation = asyncio.create_task(_converse(port, plane, asked))
            await asyncio.wait_for(asyncio.to_thread(process.join), LIMIT)
            conversation.cancel()
            await asyncio.gather(conversation, return_exceptions=True)
        await asyncio.wait_for(asyncio.to_thread(process.join), LIMIT)
        assert process.exitcode == -9, f"{point} was never reached"
    finally:
        process.kill()
        connection.close()
    return _read(journal)


def _read(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.exists() else []


async def _converse(port: int, plane: ControlPlane, asked: tuple[str, ...]) -> None:
    client = await Client.connect(port)
    await client.hears()
    for line in asked:
        client.say(line)
        heard = await client.hears()
        if heard.startswith("waiting"):
            await plane.settle(await plane.review(), State.APPROVED)
            await client.hears()
    client.leave()


def ends(plane: ControlPlane) -> tuple[bool, list[Outcome]]:
    """Whether the recording says that something was being sent, and the outcomes it tells."""
    events: list[AuditEvent] = plane.stored()
    sent = any(isinstance(event.body, Sending) for event in events)
    return sent, [event.body.outcome for event in events if isinstance(event.body, Finished)]


def all_closed(plane: ControlPlane) -> bool:
    """Every recording that reached the control plane has its end there."""
    closed = {event.session for event in plane.stored() if isinstance(event.body, SessionClosed)}
    return set(plane.lines) == closed


def assert_honest(plane: ControlPlane, ran: list[str], text: str) -> None:
    """`not_sent` means that upstream did nothing, `completed` that it did it once, `unknown` that sending was recorded."""
    sent, outcomes = ends(plane)
    assert len(ran) <= 1
    assert len(outcomes) <= 1
    for outcome in outcomes:
        if outcome is Outcome.NOT_SENT:
            assert ran == []
        elif outcome is Outcome.COMPLETED:
            assert ran == [text]
        else:
            assert (outcome, sent) == (Outcome.UNKNOWN, True)
    assert not ran or outcomes, "something ran whose outcome the recording does not tell"


@pytest.mark.parametrize("point", POINTS)
async def test_a_kill_anywhere_in_a_review_tells_the_truth_and_sends_once(
    tmp_path: Path, control_plane: ControlPlane, point: str
) -> None:
    """After the restart the recording is whole, the review is there, and the agent's retry can go on where it may."""
    config = write_settings(tmp_path, control_plane.url)
    ran = await ask_until_killed(tmp_path, config, control_plane, point, "delete 7")
    async with serving(load(config, ("postgres",))) as edge:
        await control_plane.until(lambda: all_closed(control_plane))
        assert edge.room.ran == [], "a restart sent something by itself"
    assert_honest(control_plane, ran, "delete 7")
    review = control_plane.reviews.get("r-1")
    if review is not None and not ran:
        assert review.state in (State.OPEN, State.APPROVED, State.USED)


@pytest.mark.parametrize("point", ["refuse:before", "refuse:after", "record:decided:before", "record:decided:after"])
async def test_a_kill_around_a_refusal_sends_nothing(tmp_path: Path, control_plane: ControlPlane, point: str) -> None:
    """A denied operation stays denied, and where its refusal was recorded the record stays."""
    config = write_settings(tmp_path, control_plane.url)
    ran = await ask_until_killed(tmp_path, config, control_plane, point, "schema x")
    async with serving(load(config, ("postgres",))):
        await control_plane.until(lambda: all_closed(control_plane))
    assert (ran, ends(control_plane)) == ([], (False, []))


async def test_a_grant_that_was_surely_not_used_goes_back_and_the_retry_runs(
    tmp_path: Path, control_plane: ControlPlane
) -> None:
    """Killed after consuming and before sending was recorded: the same operation sent again uses the same approval."""
    config = write_settings(tmp_path, control_plane.url)
    point = "consume:after"
    assert await ask_until_killed(tmp_path, config, control_plane, point, "delete 7") == []
    review = control_plane.reviews["r-1"]
    async with serving(load(config, ("postgres",))) as edge:
        await control_plane.until(lambda: "POST /grants/g-r-1/release" in control_plane.calls)
        assert review.state is State.APPROVED
        client = await edge.client()
        assert await client.asks("delete 7") == "waiting r-1"
        assert await client.hears() == "done delete 7"


async def test_ten_thousand_idle_connections_are_served(tmp_path: Path, control_plane: ControlPlane) -> None:
    """As many as descriptors allow here, up to 10,000; one more still gets its answer, and the process stays small."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = free_port()
    environment = {"SALLYPORT_EDGE_KEY": EDGE_KEY}
    process, connection = toy_process.start(write_settings(tmp_path, control_plane.url), port, environment)
    idle: list[socket.socket] = []
    try:
        assert await asyncio.to_thread(told, connection) == "ready"
        for number in range(min(10_000, hard - 500)):
            own = (f"127.0.0.{number % 9 + 2}", 0)  # one source address has too few ports
            idle.append(socket.create_connection(("127.0.0.1", port), source_address=own))
        client = await Client.connect(port)
        assert (await client.hears()).startswith("welcome")
        assert await client.asks("read 1") == "done read 1"
        assert resident(process.pid) < 400 << 20
    finally:
        for one in idle:
            one.close()
        process.kill()
        connection.close()


def resident(pid: int | None) -> int:
    """Bytes of memory that a process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
