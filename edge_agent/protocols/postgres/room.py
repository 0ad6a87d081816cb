"""The PostgreSQL room: its connections in one worker, their cancel keys, and how they end together."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from edge_agent.gateway import Gateway
from edge_agent.protocols.postgres.cancel import CancelKeys
from edge_agent.protocols.postgres.frontend import Frontend


class PostgresRoom:
    """See `edge_agent.protocols.Room`."""

    name = "postgres"
    tls_first = False  # a client asks for it (SSLRequest)

    def __init__(self) -> None:
        self.gateway: Gateway
        self.keys: CancelKeys
        self.draining = False
        self._open: set[Frontend] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()

    def connections(self, gateway: Gateway) -> Callable[[], asyncio.BaseProtocol]:
        """The factory that the listener calls for each accepted connection."""
        self.gateway = gateway
        self.keys = CancelKeys(gateway.replica, gateway.forward_cancel)
        return lambda: Frontend(self)

    def cancel(self, key: bytes) -> None:
        """A cancel key that a peer received for this worker."""
        self.keys.received(key)

    async def drain(self, seconds: float) -> None:
        """Let operations in flight finish, tell held ones, close everything within `seconds`."""
        self.draining = True
        self._empty.clear()
        for frontend in tuple(self._open):
            if frontend.session is not None:
                frontend.session.drain()
            else:
                frontend.goodbye()
        if self._open:
            try:
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
            except TimeoutError:
                for frontend in tuple(self._open):
                    frontend.goodbye()

    def opened(self, frontend: Frontend) -> None:
        self._open.add(frontend)

    def gone(self, frontend: Frontend) -> None:
        self._open.discard(frontend)
        if not self._open:
            self._empty.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something aside that ends by itself."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
