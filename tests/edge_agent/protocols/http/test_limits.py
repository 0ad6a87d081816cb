"""Whoever is slow is ended by a limit (slowloris, in each of its forms), with the limits shortened: no test waits for a whole one."""

import asyncio

import pytest

from edge_agent.protocols.http import exchange, frontend
from gateway_kernel.audit import Finished, Outcome
from tests.edge_agent.protocols.http.conftest import LIMIT, Edge
from tests.support.control_plane import AGENT_KEY

SHORT = 0.1
LONG = 60.0


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The room looks often; every limit is long until a test shortens its own."""
    monkeypatch.setattr("edge_agent.protocols.http.room.LOOK_EVERY", 0.02)
    for name in ("HEAD_LIMIT", "IDLE_LIMIT", "BODY_LIMIT", "WRITE_LIMIT"):
        monkeypatch.setattr(frontend, name, LONG)
    monkeypatch.setattr(frontend, "LINGER", SHORT)
    monkeypatch.setattr(exchange, "ANSWER_LIMIT", LONG)


async def outcomes(edge: Edge) -> list[Outcome]:
    """What the recording says of the first operation that ended."""
    events = await edge.plane.events(lambda event: isinstance(event.body, Finished))
    return [event.body.outcome for event in events if isinstance(event.body, Finished)]


async def test_a_head_that_is_never_finished(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """408, the end, and the service hears nothing; each further byte buys no time."""
    monkeypatch.setattr(frontend, "HEAD_LIMIT", SHORT)
    client = await edge.client()
    client.say(b"GET /api/x HTTP/1.1\r\nHost: edge\r\n")
    heard = b""
    async with asyncio.timeout(LIMIT):
        while not heard:
            client.say(b"X: y\r\n")
            try:
                async with asyncio.timeout(0.02):
                    heard = await client.reader.read(65536)
            except TimeoutError:
                continue
        heard += await client.reader.read()
    assert heard.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in heard
    assert edge.origin.requests == []


async def test_a_body_that_is_never_finished(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """408, and nothing of it was sent on."""
    monkeypatch.setattr(frontend, "BODY_LIMIT", SHORT)
    client = await edge.client()
    client.asks("POST", "/x", "Content-Length: 100")
    client.say(b"half")
    assert (await client.hears()).startswith(b"HTTP/1.1 408 ")
    assert edge.origin.requests == []


async def test_a_connection_that_says_nothing(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed without a word, before its first request and behind one."""
    monkeypatch.setattr(frontend, "IDLE_LIMIT", SHORT)
    silent, served = await edge.client(), await edge.client()
    assert (await served.gets("/x")).startswith(b"HTTP/1.1 200 ")
    async with asyncio.timeout(LIMIT):
        assert await silent.reader.read() == b""
        assert await served.reader.read() == b""


async def test_a_client_that_does_not_read(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is cut; the rest of the answer is waited for, so that what became of the request is told truly."""
    monkeypatch.setattr(frontend, "WRITE_LIMIT", SHORT)
    size = 64 << 20
    edge.origin.answer = lambda _: (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % size,
        *([b"x" * (1 << 20)] * 64),
    )
    client = await edge.client()
    client.asks("GET", "/x")
    assert await outcomes(edge) == [Outcome.COMPLETED]
    heard = 0
    async with asyncio.timeout(LIMIT):
        try:
            while piece := await client.reader.read(1 << 20):
                heard += len(piece)
        except ConnectionResetError:
            pass
    assert heard < size


async def test_an_upstream_that_never_answers(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that says that nothing is known, and `unknown` in the recording; it was asked once."""
    monkeypatch.setattr(exchange, "ANSWER_LIMIT", SHORT)
    edge.origin.go.clear()
    client = await edge.client()
    client.asks("POST", "/x", body=b"once")
    assert (await client.hears()).startswith((b"HTTP/1.1 502 ", b"HTTP/1.1 504 "))
    client.leave()
    assert await outcomes(edge) == [Outcome.UNKNOWN]
    assert len(edge.origin.requests) == 1


async def test_an_upstream_that_stops_in_the_middle(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent's connection is cut: no part is told as the whole."""
    monkeypatch.setattr(exchange, "ANSWER_LIMIT", SHORT)
    edge.origin.answer = lambda _: b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nhalf"
    client = await edge.client()
    client.asks("GET", "/x")
    async with asyncio.timeout(LIMIT):
        heard = await client.reader.read()
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert heard.endswith(b"\r\n\r\nhalf")
    assert await outcomes(edge) == [Outcome.UNKNOWN]


async def test_the_patient_are_served_beside_the_slow(edge: Edge) -> None:
    """A hundred heads that never end keep nobody waiting."""
    slow = [await edge.client() for _ in range(100)]
    for client in slow:
        client.say(b"GET /api/x HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer " + AGENT_KEY.encode())
    client = await edge.client()
    for _ in range(20):
        assert (await client.gets("/x")).startswith(b"HTTP/1.1 200 ")
    for each in slow:
        each.leave()
