"""Calls to the control plane: as this edge, to nobody else, and with an error that says what happened."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from edge_agent.control_client import ControlClient, RefusedError, UnavailableError, insist
from gateway_kernel.contract import Acknowledged, Claim, Problem, encode
from tests.support.control_plane import EDGE, EDGE_KEY, ControlPlane

type Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
CLAIM = Claim("op", "s")


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[ControlClient]]]:
    """Answer every request by one handler, and give a client that talks to it."""
    open_now: list[web.AppRunner | ControlClient] = []

    async def start(handler: Handler) -> ControlClient:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = ControlClient(f"http://127.0.0.1:{runner.addresses[0][1]}", EDGE, EDGE_KEY)
        await client.__aenter__()
        open_now.extend((client, runner))
        return client

    yield start
    for each in open_now:
        await (each.cleanup() if isinstance(each, web.AppRunner) else each.__aexit__(None, None, None))


async def test_a_redirect_is_not_followed(serve: Callable[[Handler], Awaitable[ControlClient]]) -> None:
    """The edge key goes to the host that edge.yaml names, and nowhere else."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    client = await serve(handler)
    with pytest.raises(UnavailableError, match="redirects, which is not followed"):
        await client.consume("g", CLAIM)
    assert asked == [f"/v1/edges/{EDGE}/grants/g/consume"]


async def test_a_problem_document_is_a_refusal_with_its_words(
    serve: Callable[[Handler], Awaitable[ControlClient]],
) -> None:
    """4xx is the control plane's no; repeating would not help."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(
            status=429, body=encode(Problem("review-limit", "Too many reviews", 429, "Decide some first"))
        )

    client = await serve(handler)
    with pytest.raises(RefusedError, match="Too many reviews: Decide some first") as caught:
        await client.withdraw("r", CLAIM)
    assert caught.value.problem.type == "review-limit"


@pytest.mark.parametrize(("status", "body"), [(500, b"oops"), (503, b""), (200, b"{}"), (200, b"<html>")])
async def test_what_makes_no_sense_is_unavailable(
    serve: Callable[[Handler], Awaitable[ControlClient]], status: int, body: bytes
) -> None:
    """A failed server and a proxy's page are not answers."""

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body)

    client = await serve(handler)
    with pytest.raises(UnavailableError):
        await client.consume("g", CLAIM)


async def test_nobody_there_is_unavailable_at_once() -> None:
    """A refused connection is not waited for."""
    async with ControlClient("http://127.0.0.1:9", EDGE, EDGE_KEY) as client:
        with pytest.raises(UnavailableError, match="cannot be reached"):
            await client.events(b"")
        assert not client.reachable


async def test_no_answer_is_given_up_after_a_limit(
    serve: Callable[[Handler], Awaitable[ControlClient]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing hangs."""
    silent = asyncio.Event()

    async def handler(_: web.Request) -> web.StreamResponse:
        await silent.wait()
        return web.Response()

    monkeypatch.setattr("edge_agent.control_client.CALL_LIMIT", 0.05)
    client = await serve(handler)
    with pytest.raises(UnavailableError, match="no answer within"):
        await client.consume("g", CLAIM)
    silent.set()


async def test_a_clock_far_off_is_said_in_seconds(control_plane: ControlPlane) -> None:
    """Either direction; a second or two is no problem."""
    async with ControlClient(control_plane.url, EDGE, EDGE_KEY) as client:
        for ahead, said in ((600, "600 s ahead"), (-600, "s behind"), (2, "")):
            control_plane.clock_ahead = ahead
            await client.bundle("")
            assert said in client.clock_problem
            assert bool(said) == bool(client.clock_problem)


async def test_insisting_repeats_until_an_answer_comes() -> None:
    """Unavailable is repeated; a refusal is final."""
    answers: list[Exception | Acknowledged] = [UnavailableError("a"), UnavailableError("b"), Acknowledged({})]

    async def call() -> Acknowledged:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert await insist(call) == Acknowledged({})
    answers = [RefusedError(Problem("no", "No", 403)), Acknowledged({})]
    with pytest.raises(RefusedError):
        await insist(call)
    answers = [UnavailableError("away")]
    with pytest.raises(UnavailableError, match="away"):
        await insist(call, limit=0.0)


async def test_its_repr_and_errors_hold_no_key(control_plane: ControlPlane) -> None:
    """Not even when the control plane refuses it."""
    async with ControlClient(control_plane.url, EDGE, EDGE_KEY + "x") as client:
        with pytest.raises(RefusedError) as caught:
            await client.bundle("")
        assert EDGE_KEY not in repr(client) + str(caught.value)
