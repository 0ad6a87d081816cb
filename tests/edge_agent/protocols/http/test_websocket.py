"""WebSocket through the edge: each message of the agent judged, each of the upstream masked; a real client and a real server."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from gateway_kernel.audit import Decided, Finished, Outcome, Sending, SessionClosed
from gateway_kernel.review import State
from tests.edge_agent.protocols.http.conftest import Edge, serving
from tests.support.control_plane import AGENT_KEY
from tests.support.edge_worker import LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

POLICY = """
version: 1
default: deny
groups: {ops: [ann@example.com]}
rules:
- {id: reads, when: 'operation.effects.all(e, e.kind == "read")', then: allow}
- {id: says, when: 'http.method == "MESSAGE"', then: allow}
- {id: not-that, when: 'http.method == "MESSAGE" && http.body == "forbidden"', then: deny, reason: Never.}
- id: orders-wait
  when: 'http.method == "MESSAGE" && http.body == "order 7"'
  then: review
  review: {approvers: [ops], expires: 1h}
- {id: hide, when: 'true', then: mask, mask: [{columns: ["*.ssn"], with: redact}, {detect: [email], with: redact}]}
- {id: record, when: 'true', then: record, record: {responses: full}}
"""


SAID = ('"hello"', "1", '"grüße \N{SNOWMAN}"', '{"a": [1, 2]}')


class Echo:
    """A server that says back what it hears, and what it heard."""

    def __init__(self) -> None:
        self.heard: list[str | bytes] = []
        self.handshakes: list[dict[str, str]] = []
        self.port = 0

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        self.handshakes.append({name.lower(): value for name, value in request.headers.items()})
        socket = web.WebSocketResponse(protocols=("chat",), compress=True)
        await socket.prepare(request)
        async for message in socket:
            self.heard.append(message.data)
            if message.data == '"large"':
                await socket.send_str("x" * (2 << 20))
            elif message.data == '"bye"':
                await socket.close(code=4001, message=b"so long")
            elif message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            else:
                await socket.send_bytes(message.data)
        return socket


@asynccontextmanager
async def echo() -> AsyncGenerator[Echo]:
    """A running one."""
    found = Echo()
    application = web.Application()
    application.router.add_get("/socket", found.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        await runner.cleanup()


class Both:
    """An edge, the server behind it, and a client's session."""

    def __init__(self, edge: Edge, server: Echo, client: aiohttp.ClientSession) -> None:
        self.edge, self.server, self.client = edge, server, client

    @asynccontextmanager
    async def socket(self, **more: object) -> AsyncGenerator[aiohttp.ClientWebSocketResponse]:
        url = f"http://127.0.0.1:{self.edge.port}/api/socket"
        headers = {"Authorization": f"Bearer {AGENT_KEY}"}
        async with self.client.ws_connect(url, headers=headers, autoping=False, **more) as socket:  # type: ignore[arg-type]
            yield socket


async def hears(socket: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
    """The next message."""
    return await socket.receive(LIMIT)


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Both]:
    """The edge in front of the echo."""
    async with echo() as server, serving(tmp_path, POLICY, port=server.port) as edge, aiohttp.ClientSession() as client:
        yield Both(edge, server, client)


async def test_messages_pass_both_ways_and_each_is_recorded(both: Both) -> None:
    """And the handshake is closed in the recording when the connection ends."""
    async with both.socket() as socket:
        for text in SAID:
            await socket.send_str(text)
            assert (await hears(socket)).data == text
        assert both.server.heard == list(SAID)
        await socket.close()
    events = await both.edge.plane.events(lambda event: isinstance(event.body, SessionClosed))
    sent = [event.body.operation for event in events if isinstance(event.body, Sending) and event.body.operation]
    assert [operation.verb for operation in sent] == ["GET", "MESSAGE", "MESSAGE", "MESSAGE", "MESSAGE"]
    assert sent[1].parameters[0].value == b'"hello"'
    ends = {event.body.id: event.body for event in events if isinstance(event.body, Finished)}
    handshake = ends[sent[0].id]
    assert (handshake.outcome, handshake.detail) == (Outcome.COMPLETED, "101, closed 1000")
    assert handshake.response is not None
    assert b"gr\xc3\xbc\xc3\x9fe" in handshake.response.body


async def test_the_handshake_offers_no_extension_and_its_keys_are_the_edges_own(both: Both) -> None:
    """What the server compresses nobody could read; each side proves itself to the edge."""
    async with both.socket(compress=15, protocols=("chat",)) as socket:
        await socket.send_str(SAID[0])
        assert (await hears(socket)).data == SAID[0]
        assert socket.protocol == "chat"
        assert not socket.compress
    (handshake,) = both.server.handshakes
    assert "sec-websocket-extensions" not in handshake
    assert len(base64.b64decode(handshake["sec-websocket-key"])) == 16
    assert AGENT_KEY not in str(handshake)


async def test_a_refused_message_closes_with_1008_and_is_not_sent(both: Both) -> None:
    """The close names the rule; nothing behind it is sent."""
    async with both.socket() as socket:
        await socket.send_str('"forbidden"')
        await socket.send_str('"behind it"')
        assert (await hears(socket)).type is WSMsgType.CLOSE
        assert socket.close_code == 1008
    assert both.server.heard == []
    events = await both.edge.plane.events(lambda event: isinstance(event.body, Decided))
    (decided,) = [event.body for event in events if isinstance(event.body, Decided)]
    assert decided.verdict.rules == ("not-that",)


async def test_a_reviewed_message_waits_and_those_behind_it_wait_too(both: Both) -> None:
    """Order holds: what was said later is sent later."""
    async with both.socket() as socket:
        await socket.send_str('"order 7"')
        await socket.send_str('"later"')
        review = await both.edge.plane.review()
        assert both.server.heard == []
        await both.edge.plane.settle(review, State.APPROVED)
        assert (await hears(socket)).data == '"order 7"'
        assert (await hears(socket)).data == '"later"'
    assert both.server.heard == ['"order 7"', '"later"']


async def test_messages_of_the_upstream_are_masked(both: Both) -> None:
    """By member and by detector, each message by itself."""
    async with both.socket() as socket:
        await socket.send_str('{"ssn": "219-09-9999", "note": "ada@example.com"}')
        text = (await hears(socket)).data
        assert "219-09-9999" not in text
        assert "ada@example.com" not in text
        await socket.send_str('"write to ada@example.com"')
        assert "ada@example.com" not in (await hears(socket)).data


async def test_a_binary_message_is_withheld_while_something_must_be_hidden(both: Both) -> None:
    """Nobody can read it, so it does not pass."""
    async with both.socket() as socket:
        await socket.send_bytes(b"\x00\x01canary")
        message = await hears(socket)
        assert message.type is WSMsgType.CLOSE
        assert socket.close_code == 1008


@pytest.mark.parametrize("side", ["agent", "upstream"])
async def test_a_message_that_is_too_long_closes_the_connection(both: Both, side: str) -> None:
    """What cannot be judged or masked whole does not pass, from either side."""
    async with both.socket() as socket:
        await socket.send_str("x" * (2 << 20) if side == "agent" else '"large"')
        message = await hears(socket)
        assert message.type is WSMsgType.CLOSE
        assert socket.close_code == (1009 if side == "agent" else 1008)
    assert both.server.heard == ([] if side == "agent" else ['"large"'])


async def test_the_upstreams_close_reaches_the_agent(both: Both) -> None:
    """Its code does; its words, which nobody masked, do not."""
    async with both.socket() as socket:
        await socket.send_str('"bye"')
        message = await hears(socket)
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 4001, "")


async def test_pings_are_answered_here(both: Both) -> None:
    """A ping is no way round the judgement."""
    async with both.socket() as socket:
        await socket.ping(b"are you there")
        message = await hears(socket)
        assert (message.type, message.data) == (WSMsgType.PONG, b"are you there")


async def test_frames_that_are_none_close_the_connection(both: Both) -> None:
    """An unmasked frame, a reserved bit, an unknown opcode, a long ping: 1002, and nothing goes on."""
    for garbage in (b"\x81\x05hello", b"\xc1\x85abcdhello", b"\x83\x85abcdhello", b"\x89\xfe\x01\x00abcd" + b"x" * 256):
        client = await both.edge.client()
        key = base64.b64encode(b"0123456789abcdef").decode()
        client.say(
            f"GET /api/socket HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {AGENT_KEY}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        async with asyncio.timeout(LIMIT):
            assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            client.say(garbage)
            rest = await client.reader.read()
        assert rest[:1] == b"\x88"
        assert int.from_bytes(rest[2:4]) == 1002
    assert both.server.heard == []


async def test_what_is_no_handshake_is_told_so(both: Both) -> None:
    """Version 8, or no key: 400 and not a word to the server."""
    client = await both.edge.client()
    for lines in (
        "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Version: 13",
    ):
        client.say(
            f"GET /api/socket HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer {AGENT_KEY}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\n{lines}\r\n\r\n".encode()
        )
        assert (await client.hears()).startswith(b"HTTP/1.1 400 ")
    assert both.server.handshakes == []


async def test_a_drain_closes_with_1012(both: Both) -> None:
    """The edge is being restarted: come again."""
    async with both.socket() as socket:
        await socket.send_str(SAID[0])
        await hears(socket)
        both.edge.worker.stop()
        assert (await hears(socket)).type is WSMsgType.CLOSE
        assert socket.close_code == 1012
