"""A real worker with the HTTP room between a raw client and an origin that says what a test tells it to; the control plane is a stand-in."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from edge_agent.protocols.http.room import HttpRoom
from gateway_kernel.contract import RegisteredResource
from tests.support.control_plane import AGENT_KEY, EDGE_KEY, ControlPlane
from tests.support.edge_worker import LIMIT, running_worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from pathlib import Path

    from edge_agent.worker import Worker

CREDENTIAL = "upstream-credential-of-this-test"
POLICY = """
version: 1
default: deny
groups: {ops: [ann@example.com]}
rules:
- id: reads
  when: operation.effects.all(e, e.kind == "read")
  then: allow
- id: writes
  when: operation.effects.exists(e, e.kind == "write") && operation.effects.all(e, e.kind in ["read", "write"])
  then: allow
- id: deletes-need-a-person
  when: operation.effects.exists(e, e.kind == "delete")
  then: review
  review: {approvers: [ops], expires: 2h}
- id: uploads-need-a-person
  when: http.path.startsWith("/reviewed")
  then: review
  review: {approvers: [ops], expires: 2h}
- id: no-secrets
  when: http.path.startsWith("/secret")
  then: deny
  reason: Nobody reads it.
- id: hide
  when: http.path.startsWith("/masked")
  then: mask
  mask:
  - {columns: ["*.ssn"], with: redact}
  - {detect: [email], with: redact}
- {id: record, when: "true", then: record, record: {responses: full}}
"""


def ok(body: bytes = b"{}", *headers: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """A whole response."""
    lines = "".join(f"{each}\r\n" for each in (f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers))
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


class Origin:
    """An upstream. `answer` says what a request gets: its bytes, or pieces of it sent one after the other; None: the connection is closed."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.arrived = asyncio.Event()
        self.answer: Callable[[bytes], bytes | tuple[bytes, ...] | None] = lambda _: ok()
        self.go = asyncio.Event()
        self.go.set()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Origin:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while request := await _message(reader):
                self.requests.append(request)
                self.arrived.set()
                await self.go.wait()
                answer = self.answer(request)
                if answer is None:
                    return
                for piece in (answer,) if isinstance(answer, bytes) else answer:
                    writer.write(piece)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._tasks.discard(task)
            writer.close()


async def _message(reader: asyncio.StreamReader) -> bytes:
    """The next whole message; b"" at the end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    low = head.lower()
    if b"transfer-encoding: chunked" in low:
        body = b""
        while True:
            line = await reader.readline()
            body += line + await reader.readexactly(int(line, 16) + 2)
            if int(line, 16) == 0:
                return head + body
    start = low.find(b"content-length: ")
    length = int(low[start + 16 :].partition(b"\r\n")[0]) if start >= 0 else 0
    return head + await reader.readexactly(length)


class Client:
    """One connection of an agent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    def asks(self, method: str, target: str, *headers: str, body: bytes = b"", key: str = AGENT_KEY) -> None:
        """Send a request for the resource `api`."""
        lines = ["Host: edge", f"Authorization: Bearer {key}", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.say(
            f"{method} /api{target} HTTP/1.1\r\n".encode()
            + "".join(f"{each}\r\n" for each in lines).encode()
            + b"\r\n"
            + body
        )

    async def hears(self) -> bytes:
        """The next whole response, or what there is of it at the end."""
        async with asyncio.timeout(LIMIT):
            return await _message(self.reader)

    async def gets(self, target: str, *headers: str) -> bytes:
        self.asks("GET", target, *headers)
        return await self.hears()

    def leave(self) -> None:
        self.writer.close()


class Edge:
    """A running edge in front of one origin."""

    def __init__(
        self, worker: Worker, room: HttpRoom, port: int, plane: ControlPlane, origin: Origin, config: Path
    ) -> None:
        self.worker, self.room, self.port, self.plane, self.origin, self.config = (
            worker,
            room,
            port,
            plane,
            origin,
            config,
        )

    async def client(self) -> Client:
        """A new connection of an agent."""
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))


@asynccontextmanager
async def serving(directory: Path, policy: str = POLICY, *, port: int = 0, **more: str) -> AsyncGenerator[Edge]:
    """One worker in front of a fresh origin, or of the upstream on `port`; `more` are further keys of edge.yaml."""
    plane = ControlPlane(policy)
    plane.resources = (RegisteredResource("api", "http", {"env": "prod"}),)
    (directory / "credential").write_text(CREDENTIAL)
    async with plane, Origin() as origin:
        config = directory / "edge.yaml"
        keys = "".join(f"{key}: {value}\n" for key, value in {"data_dir": "./data", "drain": "2s", **more}.items())
        config.write_text(
            f"control_plane: {{url: '{plane.url}'}}\n{keys}listeners: {{http: '127.0.0.1:0'}}\nresources:\n"
            f"- {{name: api, protocol: http, upstream: 'http://127.0.0.1:{port or origin.port}', labels: {{env: prod}},\n"
            f"   credential: {{header: X-Api-Key, value: '{{secret}}', secret: 'file://{directory}/credential'}}}}\n"
        )
        room = HttpRoom()
        async with running_worker(config, room) as (worker, port):
            yield Edge(worker, room, port, plane, origin, config)


@pytest.fixture(autouse=True)
def edge_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge's key, and bundles that come soon."""
    monkeypatch.setenv("SALLYPORT_EDGE_KEY", EDGE_KEY)
    monkeypatch.setattr("edge_agent.worker.POLL_BUNDLE", 0.05)


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """An edge in front of an origin that answers everything."""
    async with serving(tmp_path) as running:
        yield running
