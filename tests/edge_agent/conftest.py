"""What the tests of the edge agent share: a control plane to talk to, settings, and one worker around a toy room."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent.hub import Line
from edge_agent.settings import Settings, load
from edge_agent.worker import Worker
from tests.support.control_plane import AGENT_KEY, EDGE_KEY, ControlPlane
from tests.support.toy_room import ToyRoom

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from edge_agent.spool import Spool

LIMIT = 20.0  # seconds for anything that a test waits for


def write_settings(directory: Path, url: str, **more: object) -> Path:
    """An edge.yaml for the toy room; `more` are further top-level keys, as YAML text."""
    path = directory / "edge.yaml"
    keys = {"data_dir": "./data", "drain": "5s", **more}
    path.write_text(
        f"control_plane: {{url: '{url}'}}\n"
        + "".join(f"{key}: {value}\n" for key, value in keys.items())
        + "listeners: {postgres: '127.0.0.1:0'}\n"
        "resources:\n"
        "- {name: orders-db, protocol: postgres, upstream: 'postgresql://app@127.0.0.1:5432/orders', labels: {env: prod}}\n"
    )
    return path


def settings_for(directory: Path, url: str, **more: object) -> Settings:
    """Those settings, loaded."""
    return load(write_settings(directory, url, **more), ("postgres", "http"))


class Client:
    """One agent's connection to a toy room."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, port: int, agent: str = "ci-bot", key: str = AGENT_KEY) -> Client:
        """Connect and introduce oneself; the answer is still to be read."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        client.say(f"{agent} {key}")
        return client

    def say(self, line: str) -> None:
        self._writer.write(line.encode() + b"\n")

    async def hears(self) -> str:
        """The next line, "" if the connection ended."""
        async with asyncio.timeout(LIMIT):
            return (await self._reader.readline()).decode().rstrip("\n")

    async def asks(self, line: str) -> str:
        """Say a line and hear the next one."""
        self.say(line)
        return await self.hears()

    def leave(self) -> None:
        self._writer.close()


class Running:
    """A worker that serves in this process."""

    def __init__(self, worker: Worker, room: ToyRoom, port: int) -> None:
        self.worker = worker
        self.room = room
        self.port = port

    async def client(self, agent: str = "ci-bot", key: str = AGENT_KEY) -> Client:
        """A connection that was welcomed."""
        client = await Client.connect(self.port, agent, key)
        heard = await client.hears()
        assert heard.startswith("welcome"), heard
        return client


@asynccontextmanager
async def serving(settings: Settings, number: int = 0) -> AsyncGenerator[Running]:
    """Run one worker around a toy room until the block ends, then drain it."""
    with socket.socket() as chosen:
        chosen.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
        ours, theirs = socket.socketpair()
        room = ToyRoom()
        line, other = await Line.over(theirs), await Line.over(ours)
        worker = Worker(settings, number, line, (room,))
        ready = asyncio.Event()
        listening = asyncio.create_task(other.listen(lambda _: ready.set()))
        run = asyncio.create_task(worker.run({"postgres": ("127.0.0.1", port)}))
        try:
            async with asyncio.timeout(LIMIT):
                await asyncio.wait([run, asyncio.create_task(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
            if run.done():
                run.result()
            yield Running(worker, room, port)
        finally:
            worker.stop()
            async with asyncio.timeout(LIMIT):
                await run
            listening.cancel()
            line.close()
            other.close()


@pytest.fixture
async def control_plane() -> AsyncIterator[ControlPlane]:
    async with ControlPlane() as plane:
        yield plane


@pytest.fixture(autouse=True)
def edge_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test of the edge has its key in the environment, and need not wait long for a new bundle."""
    monkeypatch.setenv("SALLYPORT_EDGE_KEY", EDGE_KEY)
    monkeypatch.setattr("edge_agent.worker.POLL_BUNDLE", 0.05)


@pytest.fixture
async def edge(tmp_path: Path, control_plane: ControlPlane) -> AsyncIterator[Running]:
    async with serving(settings_for(tmp_path, control_plane.url)) as running:
        yield running


class FullDisk:
    """Makes files stop growing, as a full disk does: a write is cut short and the next one fails."""

    def __init__(self) -> None:
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self, spool: Spool, room: int = 0) -> None:
        """From now on there is room for so many bytes behind what the spool, of one segment, holds."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (spool.size + room, self._before[1]))

    def empty(self) -> None:
        """There is space again."""
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)

    async def relieve(self, spool: Spool) -> None:
        """There is space again, and the spool has noticed."""
        writable = asyncio.Event()
        told = spool.on_writable
        spool.on_writable = lambda: (told(), writable.set())[0]
        self.empty()
        await asyncio.wait_for(writable.wait(), LIMIT)
        spool.on_writable = told


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FullDisk]:
    """A disk that can be full."""
    monkeypatch.setattr("edge_agent.spool.RETRY_AFTER", 0.01)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    disk = FullDisk()
    yield disk
    disk.empty()
    signal.signal(signal.SIGXFSZ, handler)
