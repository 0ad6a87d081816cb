"""One worker of an edge in this process, with one protocol's room, until the block ends."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from edge_agent.hub import Line
from edge_agent.settings import load
from edge_agent.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from edge_agent.protocols import Room

LIMIT = 20.0  # seconds for starting and for stopping


@asynccontextmanager
async def running_worker(config: Path, room: Room) -> AsyncGenerator[tuple[Worker, int]]:
    """Run a worker by this edge.yaml, then drain it; yields the worker and the port of the room's listener."""
    settings = load(config, (room.name,))
    with socket.socket() as chosen:
        chosen.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
        ours, theirs = socket.socketpair()
        line, other = await Line.over(theirs), await Line.over(ours)
        worker = Worker(settings, 0, line, (room,))
        ready = asyncio.Event()
        listening = asyncio.create_task(other.listen(lambda _: ready.set()))
        run = asyncio.create_task(worker.run({room.name: ("127.0.0.1", port)}))
        try:
            async with asyncio.timeout(LIMIT):
                await asyncio.wait([run, asyncio.create_task(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
            if run.done():
                run.result()
            yield worker, port
        finally:
            worker.stop()
            async with asyncio.timeout(LIMIT):
                await run
            listening.cancel()
            line.close()
            other.close()
