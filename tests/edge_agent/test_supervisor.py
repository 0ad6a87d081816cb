"""The edge agent as a process: ports, readiness, restarts, reload, drain."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import pytest

from edge_agent.__main__ import main
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


def test_check_says_what_is_wrong_and_exits_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same errors as at startup, without starting."""
    config = write_settings(tmp_path, "http://127.0.0.1:1")
    arguments = ["--config", str(config), "--check"]
    assert main(arguments) == 0
    assert "the settings are valid" in capsys.readouterr().out
    config.write_text(config.read_text() + "hodl: 5s\n")
    assert main(arguments) == 2
    assert "unknown key 'hodl' (did you mean 'hold'?)" in capsys.readouterr().err
    assert main([*arguments, "--json"]) == 2
    assert msgspec.json.decode(capsys.readouterr().out)["valid"] is False


def test_without_an_edge_key_it_does_not_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says where the key comes from."""
    monkeypatch.delenv("SALLYPORT_EDGE_KEY")
    assert main(["--config", str(write_settings(tmp_path, "http://127.0.0.1:1"))]) == 2
    assert "SALLYPORT_EDGE_KEY is not set" in capsys.readouterr().err


async def test_two_workers_share_a_port_and_one_health(tmp_path: Path, control_plane: ControlPlane) -> None:
    """Port 0 lets the system choose; health, readiness and metrics speak for both; SIGTERM drains and ends 0."""
    async with started(tmp_path, control_plane.url, workers=2) as agent:
        client = await agent.client()
        seen: set[str] = set()
        async with asyncio.timeout(LIMIT):
            while len(seen) < 2:
                another = await Client.connect(agent.port)
                seen.add(await another.hears())
        assert seen == {"welcome 0", "welcome 1"}
        assert await client.asks("read 1") == "done read 1"
        assert (await agent.get("/healthz"))[0] == 200
        assert (await agent.get("/readyz"))[0] == 200
        metrics = (await agent.get("/metrics"))[1]
        assert 'sallyport_worker_up{worker="1"} 1.0' in metrics
        assert 'sallyport_outcomes_total{outcome="completed",worker=' in metrics
        client.say("forward-cancel 0")
        client.say("forward-cancel 1")
        assert await agent.stopped() == 0
        assert await client.hears() == ""
    assert any(isinstance(event.body, SessionClosed) for event in control_plane.stored())


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
        agent.process.kill()
        assert await client.hears() == "", "a worker without supervisor must end"
