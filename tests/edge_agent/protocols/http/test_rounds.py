"""The short way: what is asked again is answered, and recorded, as if it had gone the ordinary way.

Every conversation is held twice, each time before a fresh origin behind a real edge: once with the compiled part, once without. The agent must
get the same bytes, the origin be asked the same, the recording say the same, and the short way have been taken as often as the
conversation says.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import msgspec
import pytest

from edge_agent import repeat
from gateway_kernel.audit import Finished, Outcome, SessionClosed
from tests.edge_agent.protocols.http.conftest import CREDENTIAL, POLICY, Client, Edge, ok, serving
from tests.support.recorded import recorded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gateway_kernel.audit import Body
    from tests.edge_agent.conftest import FullDisk

ORDINARY = 2
"""So often a request goes the ordinary way before it is sent in the short one."""

pytestmark = pytest.mark.skipif(not repeat.COMPILED, reason="the compiled parts were not built: no C compiler")


class Talk:
    """One agent's conversation, and what it was told."""

    def __init__(self, edge: Edge, client: Client) -> None:
        self.edge, self.client = edge, client
        self.told: list[bytes] = []

    async def gets(self, target: str, *headers: str, times: int = 1) -> bytes:
        """The last of so many answers."""
        for _ in range(times):
            self.told.append(await self.client.gets(target, *headers))
        return self.told[-1]


async def again(talk: Talk) -> None:
    """The same request, and another in between."""
    await talk.gets("/orders?x=1", "Accept: */*", times=5)
    await talk.gets("/other", times=4)
    await talk.gets("/orders?x=1", "Accept: */*", times=2)


async def with_links(talk: Talk) -> None:
    """URLs of the upstream in the answer are made the edge's, which changes its length."""
    own = f"http://127.0.0.1:{talk.edge.origin.port}"
    talk.edge.origin.answer = lambda _: ok(
        f'{{"next": "{own}/orders?page=2"}}'.encode(), "Link: </a>; rel=next", "ETag: x"
    )
    await talk.gets("/orders", times=5)


async def in_pieces(talk: Talk) -> None:
    """Head and body come apart, and then a piece is missing for a while."""
    whole = ok(b"0123456789", kind="application/octet-stream")
    talk.edge.origin.answer = lambda _: (whole[:-10], whole[-10:-4], whole[-4:])
    await talk.gets("/orders", times=6)


async def of_other_shapes(talk: Talk) -> None:
    """Answers that cannot be taken at once: chunked, failing, with a cookie, without a length, closing."""
    answers = [
        ok(),
        ok(),
        ok(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        ok(b"no", status="404 Not Found"),
        ok(b"moved", "Location: /there", status="302 Found"),
        b"HTTP/1.1 204 No Content\r\n\r\n",
        ok(b"last", "Connection: close"),
        ok(b"after"),
        b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"behind an interim one"),
    ]
    talk.edge.origin.answer = lambda _: answers.pop(0)
    for _ in range(10):
        await talk.gets("/orders")


async def ahead(talk: Talk) -> None:
    """The next request is there before the answer is."""
    await talk.gets("/orders", times=3)
    talk.edge.origin.go.clear()
    talk.edge.origin.arrived.clear()
    talk.client.asks("GET", "/orders")
    await talk.edge.origin.arrived.wait()
    talk.client.asks("GET", "/orders")
    talk.client.asks("GET", "/other")
    talk.edge.origin.go.set()
    talk.told += [await talk.client.hears() for _ in range(3)]


async def together(talk: Talk) -> None:
    """Two requests that always come in one write are never taken for one."""
    for _ in range(5):
        request = b"GET /api/a HTTP/1.1\r\nHost: edge\r\nAuthorization: Bearer spa_k1_0123456789abcdef0123456789abcdef\r\n\r\n"
        talk.client.say(request + request.replace(b"/a ", b"/b "))
        talk.told += [await talk.client.hears(), await talk.client.hears()]


async def refused_between(talk: Talk) -> None:
    """Something else on the connection in between."""
    await talk.gets("/orders", times=4)
    await talk.gets("/secret")
    talk.client.asks("POST", "/orders", "Content-Type: application/json", body=b"{}")
    talk.told.append(await talk.client.hears())
    await talk.gets("/orders", times=2)


async def masked(talk: Talk) -> None:
    """What is masked is looked at each time."""
    talk.edge.origin.answer = lambda _: ok(b'{"ssn": "219-09-9999"}')
    await talk.gets("/masked", times=5)


async def with_a_body(talk: Talk) -> None:
    """A GET with a body goes through the gate each time."""
    for _ in range(4):
        talk.client.asks("GET", "/orders", "Content-Type: application/json", body=b'{"q": 1}')
        talk.told.append(await talk.client.hears())


CAPPED = POLICY + "- {id: few, when: 'true', then: cap, cap: {quantity: operations, limit: 5}}\n"
TIRED = POLICY + "- {id: tired, when: session.operations > 5, then: deny}\n"
SHORT = POLICY.replace("responses: full", "responses: digest")

CONVERSATIONS: dict[str, tuple[Callable[[Talk], Awaitable[None]], str, int]] = {
    "the same again": (again, POLICY, 3 + 2 + 2),
    "links": (with_links, POLICY, 3),
    "in pieces": (in_pieces, POLICY, 4),
    "other shapes": (of_other_shapes, POLICY, 7),
    "ahead": (ahead, POLICY, 2),
    "two in one write": (together, POLICY, 0),
    "something in between": (refused_between, POLICY, 4),
    "masked": (masked, POLICY, 0),
    "with a body": (with_a_body, POLICY, 0),
    "a cap": (again, CAPPED, 3),
    "a rule that counts": (again, TIRED, 3),
    "recorded by digest": (again, SHORT, 3 + 2 + 2),
}
"""What is said, under which policy, and how many operations are sent in the short way."""


def asked(edge: Edge) -> list[bytes]:
    """What the origin was asked, without what differs between any two runs."""
    return [re.sub(rb"127\.0\.0\.1:\d+|X-Request-Id: \w+", b"", request) for request in edge.origin.requests]


def comparable(edge: Edge, bodies: list[Body]) -> list[bytes]:
    """The recording, without the origin's port."""
    lines = [msgspec.json.encode(body).replace(b"127.0.0.1:%d" % edge.origin.port, b"origin") for body in bodies]
    return [re.sub(rb'"bytes_read":\d+', b"", line) for line in lines]


async def held(
    directory: Path, policy: str, conversation: Callable[[Talk], Awaitable[None]]
) -> tuple[list[bytes], ...]:
    """What the agent was told, the origin asked, and the recording."""
    async with serving(directory, policy) as edge:
        talk = Talk(edge, await edge.client())
        await conversation(talk)
        talk.client.leave()
        await edge.plane.events(lambda event: isinstance(event.body, SessionClosed))
        told = [re.sub(rb'127\.0\.0\.1:\d+|"[^"]*/reviews/[^"]*"', b"", answer) for answer in talk.told]
        return told, asked(edge), comparable(edge, recorded(edge.plane))


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_the_short_way_is_the_ordinary_way(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes to the agent and the origin and the same recording, and it was taken where it may be."""
    conversation, policy, short = CONVERSATIONS[name]
    monkeypatch.setattr("edge_agent.protocols.http.conversations.IDENTITY_KEPT", 60.0)
    before = repeat.sent()
    (tmp_path / "short").mkdir()
    (tmp_path / "ordinary").mkdir()
    quick = await held(tmp_path / "short", policy, conversation)
    assert repeat.sent() - before == short
    monkeypatch.setattr(repeat, "_repeat", None)
    slow = await held(tmp_path / "ordinary", policy, conversation)
    for one, other in zip(quick, slow, strict=True):
        assert one == other


async def test_a_key_that_was_revoked_ends_the_short_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round does not outlive what was proved a moment ago; when that moment is over, the key is looked at again."""
    monkeypatch.setattr("edge_agent.protocols.http.conversations.IDENTITY_KEPT", 60.0)
    async with serving(tmp_path) as edge:
        client = await edge.client()
        before = repeat.sent()
        for _ in range(4):
            await client.gets("/orders")
        assert repeat.sent() - before == 2
        (name,) = edge.plane.keys
        edge.plane.keys[name] = msgspec.structs.replace(edge.plane.keys[name], revoked=True)
        bundles = edge.worker._bundles  # pyright: ignore[reportPrivateUsage] - nothing outside tells that it arrived
        await edge.plane.until(lambda: (key := bundles.key(edge.plane.keys[name].hash)) is not None and key.revoked)
        conversations = next(iter(edge.room._open))._conversations  # pyright: ignore[reportPrivateUsage] - the moment is over
        conversations.forget()
        assert (await client.gets("/orders")).startswith(b"HTTP/1.1 401 ")
        assert repeat.sent() - before == 2


async def stuck(edge: Edge) -> Client:
    """A client whose request is sent in the short way, and not answered yet."""
    client = await edge.client()
    for _ in range(3):
        await client.gets("/orders")
    edge.origin.go.clear()
    edge.origin.arrived.clear()
    before = repeat.sent()
    client.asks("GET", "/orders")
    await edge.origin.arrived.wait()
    assert repeat.sent() == before + 1
    return client


async def ends(edge: Edge, number: int) -> list[tuple[Outcome, str]]:
    """How so many operations ended."""
    await edge.plane.events(lambda _: sum(isinstance(event.body, Finished) for event in edge.plane.stored()) >= number)
    return [
        (event.body.outcome, event.body.detail) for event in edge.plane.stored() if isinstance(event.body, Finished)
    ]


async def test_an_upstream_that_dies_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    """As in the ordinary way: said plainly, and not sent again."""
    async with serving(tmp_path) as edge:
        client = await stuck(edge)
        edge.origin.answer = lambda _: None
        edge.origin.go.set()
        assert (await client.hears()).startswith(b"HTTP/1.1 502 ")
        assert (await ends(edge, 4))[-1][0] is Outcome.UNKNOWN
        assert len(edge.origin.requests) == 4


async def test_an_agent_that_leaves_has_its_outcome_recorded(tmp_path: Path) -> None:
    """The answer is waited for, so that it is known what became of it."""
    async with serving(tmp_path) as edge:
        client = await stuck(edge)
        client.leave()
        edge.origin.go.set()
        assert (await ends(edge, 4))[-1] == (Outcome.COMPLETED, "200")


async def test_a_drain_answers_what_is_under_way(tmp_path: Path) -> None:
    """And ends the connection behind it."""
    async with serving(tmp_path) as edge:
        client = await stuck(edge)
        edge.worker.stop()
        edge.origin.go.set()
        assert (await client.hears()).startswith(b"HTTP/1.1 200 ")
        assert await client.hears() == b""


async def test_a_full_disk_refuses_what_is_asked_again_and_sends_nothing(tmp_path: Path, full_disk: FullDisk) -> None:
    """What cannot be recorded is not sent; when there is space again it goes on."""
    async with serving(tmp_path) as edge:
        client = await edge.client()
        for _ in range(4):
            await client.gets("/orders")
        spool = edge.worker._spool  # pyright: ignore[reportPrivateUsage] - it is this file that cannot grow
        full_disk.fill(spool)
        before = len(edge.origin.requests)
        assert (await client.gets("/orders")).startswith(b"HTTP/1.1 503 ")
        assert len(edge.origin.requests) == before
        await full_disk.relieve(spool)
        assert (await client.gets("/orders")).startswith(b"HTTP/1.1 200 ")


async def test_several_agents_that_ask_at_once_are_each_answered(tmp_path: Path) -> None:
    """What comes in one turn of the event loop is written together, and sent behind that."""
    async with serving(tmp_path) as edge:
        edge.origin.answer = lambda request: ok(request.partition(b"?")[2].partition(b" ")[0])
        clients = [await edge.client() for _ in range(8)]
        for number, client in enumerate(clients):
            for _ in range(3):
                await client.gets(f"/orders?{number}")
        before = 0
        answers: list[bytes] = []
        for _ in range(2):  # the first time there are not connections enough
            before = repeat.sent()
            for number, client in enumerate(clients):
                client.asks("GET", f"/orders?{number}")
            answers = await asyncio.gather(*(client.hears() for client in clients))
        assert [answer.rpartition(b"\r\n")[2] for answer in answers] == [b"%d" % number for number in range(8)]
        assert repeat.sent() - before == 8
        assert all(CREDENTIAL.encode() in request for request in edge.origin.requests)
