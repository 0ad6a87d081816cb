"""The HTTP room: its connections in one worker, the upstreams they share, and how they end together."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from edge_agent.gateway import Credential, Gateway, Guarded, Upstream
from edge_agent.logs import Log
from edge_agent.protocols.http.cookies import Cookies
from edge_agent.protocols.http.frontend import Frontend
from edge_agent.protocols.http.request import Preparing
from edge_agent.protocols.http.upstream import Pool

log = Log(__name__)

LOOK_EVERY = 1.0  # seconds between two looks at what is overdue
CREDENTIAL_KEPT = 5.0  # seconds for which a credential is used without asking for it again; whoever keeps it decides when it is fetched


class HttpRoom:
    """See `edge_agent.protocols.Room`."""

    name = "http"
    tls_first = True

    def __init__(self) -> None:
        self.gateway: Gateway
        self.cookies: Cookies
        self.draining = False
        self.preparing = Preparing()
        self._pools: dict[str, Pool] = {}
        self._credentials: dict[str, tuple[float, Guarded, Credential]] = {}
        self._open: set[Frontend] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._looking: asyncio.TimerHandle | None = None

    def connections(self, gateway: Gateway) -> Callable[[], asyncio.BaseProtocol]:
        """The factory that the listener calls for each accepted connection."""
        self.gateway = gateway
        self.cookies = Cookies(gateway.derived_key("cookies"))
        return lambda: Frontend(self)

    def cancel(self, key: bytes) -> None:
        """HTTP has no cancel keys: a client cancels by going away."""

    # -- what its connections share -----------------------------------------------------------------------------------

    def pool(self, guarded: Guarded) -> Pool:
        """The connections to a resource's upstream; others where a reload moved it."""
        name = guarded.resource.name
        pool = self._pools.get(name)
        if pool is None or not _same(pool.upstream, guarded.upstream):
            if pool is not None:
                pool.close()
            pool = self._pools[name] = Pool(guarded.upstream, time.monotonic)
        return pool

    def known_credential(self, guarded: Guarded) -> Credential | None:
        """The credential, where it need not be asked for."""
        known = self._credentials.get(guarded.resource.name)
        if known is None or known[1] is not guarded or known[0] < time.monotonic():
            return None
        return known[2]

    async def credential(self, guarded: Guarded, *, refetch: bool = False) -> Credential:
        """The credential to inject."""
        name = guarded.resource.name
        credential = await self.gateway.credential(name, refetch=refetch)
        self._credentials[name] = (time.monotonic() + CREDENTIAL_KEPT, guarded, credential)
        return credential

    def credential_refused(self, guarded: Guarded) -> None:
        """The upstream answered 401: the next request gets a credential that was fetched anew."""
        if self._credentials.pop(guarded.resource.name, None) is not None:
            self.spawn(self._refetch(guarded))

    async def _refetch(self, guarded: Guarded) -> None:
        try:
            await self.credential(guarded, refetch=True)
        except Exception as error:  # noqa: BLE001 - whatever a vault's client raises: the next request asks again and says so
            self._credentials.pop(guarded.resource.name, None)
            log.warning(
                "a refused credential could not be fetched anew", resource=guarded.resource.name, failure=str(error)
            )

    def report(self, guarded: Guarded, error: Exception) -> None:
        """Tell operators what an agent need not know."""
        log.warning("a request could not be served", resource=guarded.resource.name, failure=str(error))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something aside that ends by itself."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- its connections ----------------------------------------------------------------------------------------------

    def opened(self, frontend: Frontend) -> None:
        self._open.add(frontend)
        if self._looking is None:
            self._look_later()

    def gone(self, frontend: Frontend) -> None:
        self._open.discard(frontend)
        if not self._open:
            self._empty.set()

    def _look_later(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look)

    def _look(self) -> None:
        """End what takes too long. One timer for all: most connections are never late."""
        self._looking = None
        now = time.monotonic()
        for frontend in tuple(self._open):
            frontend.look(now)
        if self._open:
            self._look_later()

    async def drain(self, seconds: float) -> None:
        """Let requests in flight finish, tell held ones, close everything within `seconds`."""
        self.draining = True
        self._empty.clear()
        for frontend in tuple(self._open):
            frontend.drain()
        if self._open:
            try:
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
            except TimeoutError:
                for frontend in tuple(self._open):
                    frontend.close("edge stopped")
        for pool in self._pools.values():
            pool.close()


def _same(one: Upstream, other: Upstream) -> bool:
    return one is other or (one.host, one.port, one.options) == (other.host, other.port, other.options)
