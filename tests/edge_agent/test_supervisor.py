"""The edge agent as a process: ports, readiness, restarts, reload, drain."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from gateway_kernel.audit import SessionClosed
from tests.edge_agent.conftest import LIMIT, Client, write_settings
from tests.support.control_plane import EDGE_KEY, ControlPlane

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """The toy room in place of the product's, and this edge's key."""
    path = os.pathsep.join([str(ROOT / "tests/support/toy_site"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "SALLYPORT_EDGE_KEY": EDGE_KEY}


class Agent:
    """A running `python -m edge_agent`."""

    def __init__(self, process: asyncio.subprocess.Process, ready: dict[str, Any]) -> None:
        self.process = process
        self.ready = ready
        self.port = int(ready["listeners"]["postgres"].rpartition(":")[2])

    async def client(self) -> Client:
        """A welcomed connection; `replica` says of which worker."""
        client = await Client.connect(self.port)
        assert (await client.hears()).startswith("welcome")
        return client

    async def get(self, path: str) -> tuple[int, str]:
        """Ask the health listener."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.ready['health']}{path}") as reply:
            return reply.status, await reply.text()

    async def said(self, path: str, text: str) -> str:
        """Ask the health listener until the answer holds `text`."""
        async with asyncio.timeout(LIMIT):
            answer = ""
            while text not in answer:
                answer = (await self.get(path))[1]
        return answer

    def worker(self) -> int:
        """The process id of the first worker."""
        return int(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()[0])

    async def stopped(self) -> int:
        """Stop it as an operator does, and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), LIMIT)


@asynccontextmanager
async def started(
    directory: Path, url: str, env: dict[str, str] | None = None, **more: object
) -> AsyncGenerator[Agent]:
    """Start the edge agent and wait until it says `ready`; kill what is left of it at the end."""
    config = write_settings(directory, url, health="127.0.0.1:0", **more)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edge_agent", "--config", str(config)),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), LIMIT)).decode()
        assert line.startswith("ready {"), line
        yield Agent(process, msgspec.json.decode(line.removeprefix("ready ")))
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def check(directory: Path, text: str, *options: str) -> tuple[int, str, str]:
    """Run the command line on an edge.yaml of this text."""
    (directory / "edge.yaml").write_text(text)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edge_agent", "--config", str(directory / "edge.yaml"), *options),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), LIMIT)
    return process.returncode or 0, out.decode(), err.decode()


async def test_check_says_what_is_wrong_and_exits_2(tmp_path: Path) -> None:
    """The same errors as at startup, without starting."""
    good = write_settings(tmp_path, "http://127.0.0.1:1").read_text()
    assert (await check(tmp_path, good, "--check"))[0] == 0
    status, _, err = await check(tmp_path, good + "hodl: 5s\n", "--check")
    assert (status, "unknown key 'hodl' (did you mean 'hold'?)" in err) == (2, True)
    status, out, _ = await check(tmp_path, good + "hodl: 5s\n", "--check", "--json")
    assert (status, msgspec.json.decode(out)["valid"]) == (2, False)


async def test_it_serves_on_the_ports_it_prints_and_stops_cleanly(tmp_path: Path, control_plane: ControlPlane) -> None:
    """Port 0 lets the system choose; health, readiness and metrics answer; SIGTERM ends 0."""
    async with started(tmp_path, control_plane.url) as agent:
        client = await agent.client()
        assert await client.asks("read 1") == "done read 1"
        assert (await agent.get("/healthz"))[0] == 200
        assert (await agent.get("/readyz"))[0] == 200
        metrics = (await agent.get("/metrics"))[1]
        assert 'sallyport_operations_forwarded_total{worker="0"} 1.0' in metrics
        assert await agent.stopped() == 0
        assert await client.hears() == ""
    assert any(isinstance(event.body, SessionClosed) for event in control_plane.stored())


async def test_two_workers_share_a_port_and_hand_each_other_cancels(
    tmp_path: Path, control_plane: ControlPlane
) -> None:
    """Connections spread over both; each has its own recording."""
    async with started(tmp_path, control_plane.url, workers=2) as agent:
        seen: set[str] = set()
        async with asyncio.timeout(LIMIT):
            while len(seen) < 2:
                client = await Client.connect(agent.port)
                seen.add(await client.hears())
        assert seen == {"welcome 0", "welcome 1"}
        assert 'sallyport_worker_up{worker="1"} 1.0' in (await agent.get("/metrics"))[1]
        assert await agent.stopped() == 0


async def test_a_killed_worker_is_started_again_on_the_same_port(tmp_path: Path, control_plane: ControlPlane) -> None:
    """And the sessions that it left open are closed in the recording."""
    async with started(tmp_path, control_plane.url) as agent:
        client = await agent.client()
        os.kill(agent.worker(), signal.SIGKILL)
        assert await client.hears() == ""
        await agent.said("/metrics", 'sallyport_worker_restarts_total{worker="supervisor"} 1.0')
        await agent.said("/readyz", '"status":"ready"')
        again = await agent.client()
        assert await again.asks("read 1") == "done read 1"
        assert await agent.stopped() == 0
    closed = [event.body.reason for event in control_plane.stored() if isinstance(event.body, SessionClosed)]
    assert "edge restarted" in closed


async def test_a_changed_file_is_loaded_without_dropping_a_connection(
    tmp_path: Path, control_plane: ControlPlane
) -> None:
    """A typo leaves the settings before in force and shows in the health."""
    async with started(tmp_path, control_plane.url) as agent:
        client = await agent.client()
        config = tmp_path / "edge.yaml"
        good = config.read_text()
        config.write_text(good + "hodl: 1s\n")
        await agent.said("/readyz", "unknown key 'hodl'")
        config.write_text(good + "limits: {agent: {statement: 10B}}\n")
        os.kill(agent.process.pid, signal.SIGHUP)
        async with asyncio.timeout(LIMIT):
            answer = ""
            while not answer.startswith("refused"):
                answer = await client.asks("read 1234567890")
        assert answer.startswith("refused operation-too-large")
        assert await client.asks("read 1") == "done read 1"
        assert "unknown key" not in (await agent.get("/readyz"))[1]


async def test_without_its_supervisor_a_worker_ends(tmp_path: Path, control_plane: ControlPlane) -> None:
    """No orphan keeps serving."""
    async with started(tmp_path, control_plane.url) as agent:
        client = await agent.client()
        agent.process.kill()
        assert await client.hears() == ""


async def test_ten_thousand_idle_connections_are_served(tmp_path: Path, control_plane: ControlPlane) -> None:
    """As many as descriptors allow here, up to 10,000, and one more still gets its answer."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    many = min(10_000, hard - 500)
    async with started(tmp_path, control_plane.url) as agent:
        idle: list[socket.socket] = []
        try:
            for number in range(many):
                one = socket.create_connection(
                    ("127.0.0.1", agent.port), source_address=(f"127.0.0.{number % 9 + 1}", 0)
                )
                idle.append(one)
            client = await agent.client()
            assert await client.asks("read 1") == "done read 1"
        finally:
            for one in idle:
                one.close()
