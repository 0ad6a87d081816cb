"""What does not come at once: events (SSE), lines (NDJSON), a WebSocket, and what is never answered."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from aiohttp import WSMsgType, web

type Event = dict[str, Any] | None

HEARD: web.RequestKey[Callable[[bytes], None]] = web.RequestKey("heard")
"""Notes a WebSocket message in the journal."""


class Feed:
    """Who follows the event stream. `publish` may be called from another thread; None ends every stream."""

    def __init__(self) -> None:
        self._followers: dict[asyncio.Queue[Event], asyncio.AbstractEventLoop] = {}

    def publish(self, event: Event) -> None:
        """Tell everybody who follows now."""
        for queue, loop in list(self._followers.items()):
            with contextlib.suppress(RuntimeError):  # its loop is closed: nobody follows there
                loop.call_soon_threadsafe(queue.put_nowait, event)

    @property
    def followers(self) -> int:
        """How many follow now."""
        return len(self._followers)

    def follow(self) -> asyncio.Queue[Event]:
        """From now on."""
        queue: asyncio.Queue[Event] = asyncio.Queue()
        self._followers[queue] = asyncio.get_running_loop()
        return queue

    def leave(self, queue: asyncio.Queue[Event]) -> None:
        """No more."""
        self._followers.pop(queue, None)


def routes(router: web.UrlDispatcher, feed: Feed, collections: dict[str, list[dict[str, Any]]]) -> None:
    """Add what is described above."""
    first = next(iter(collections.values()))

    async def events(request: web.Request) -> web.StreamResponse:
        """Everything there is, one event each; with `follow` also what is published, until the end is."""
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        following = feed.follow() if "follow" in request.query else None
        try:
            await answer.prepare(request)
            await answer.write(b": welcome\nretry: 1000\n\n")
            for row in first if following is None else ():
                await answer.write(_event(row))
            while following is not None and (row := await following.get()) is not None:
                await answer.write(_event(row))
        finally:
            if following is not None:
                feed.leave(following)
        return answer

    async def export(request: web.Request) -> web.StreamResponse:
        """A JSON object a line."""
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await answer.prepare(request)
        for row in first:
            await answer.write(json.dumps(row).encode() + b"\n")
        return answer

    async def never(_: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    router.add_get("/events", events)
    router.add_get("/export", export)
    router.add_get("/never", never)
    router.add_get("/ws", socket)
    router.add_get("/socket", socket)


def _event(row: dict[str, Any]) -> bytes:
    return f"event: customer\nid: {row.get('id', 0)}\ndata: {json.dumps(row)}\n\n".encode()


async def socket(request: web.Request) -> web.WebSocketResponse:
    """Says back what it hears. The texts `ping`, `close CODE REASON` and `abort` make it do that."""
    answer = web.WebSocketResponse(protocols=("chat",), compress=True, max_msg_size=32 << 20)
    await answer.prepare(request)
    async for message in answer:
        data = message.data.encode() if message.type is WSMsgType.TEXT else message.data
        request[HEARD](data)
        word, _, rest = data.decode("latin-1").partition(" ")
        if word == "ping":
            await answer.ping(b"are you there")
            await answer.send_str("pinged")
        elif word == "close":
            code, _, reason = rest.partition(" ")
            await answer.close(code=int(code or 1000), message=reason.encode())
        elif word == "abort" and request.transport is not None:
            request.transport.abort()
        elif message.type is WSMsgType.TEXT:
            await answer.send_str(message.data)
        else:
            await answer.send_bytes(message.data)
    return answer
