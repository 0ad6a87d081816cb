"""The host: puts the parts together, starts them in order, stops them in the reverse order.

    host = Host(Path("."), Path("data"))
    await host.start()       # serves at host.url
    await host.stop()        # lets requests and work under way finish

One app per process, one process per data directory.
"""

import asyncio
import fcntl
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from aiohttp import web

from embedded_host.backend import DurableBackend
from embedded_host.dispatch import Catalogue, Dispatcher
from embedded_host.http import HttpFront
from embedded_host.keys import Keys, read_keys
from embedded_host.rpc import SidecarDoor
from embedded_host.settings import read_settings
from embedded_host.timer_triggers import TimerTriggers
from embedded_host.webhooks import DurableWebhooks
from embedded_host.worker import AppError, Worker

STATE = "durable.sqlite"
LOCK = "host.lock"
GRACE = 10.0  # seconds that requests and work under way have at stop


class Host:
    """One app on one machine."""

    def __init__(
        self,
        app_dir: Path,
        data_dir: Path,
        port: int = 0,
        host: str = "127.0.0.1",
        settings: Mapping[str, str] | None = None,
        grace: float = GRACE,
    ) -> None:
        """`app_dir` holds host.json and function_app.py; `data_dir` is made, for this account alone, if missing.

        `port` 0 lets the system choose. `settings` are the app's settings (environment variables, set before it is
        imported). `grace` is in seconds.
        """
        self.app_dir, self.data_dir = app_dir.resolve(), data_dir.resolve()
        self.url = ""
        self.keys: Keys
        self._port, self._host, self._grace = port, host, grace
        self._settings = dict(settings or {})
        self._stops: list[Callable[[], Awaitable[None]]] = []  # run last to first

    @property
    def functions(self) -> list[str]:
        """The names of the functions that the worker indexed."""
        return sorted(self._worker.functions)

    @property
    def failed(self) -> asyncio.Future[None]:
        """Ends, with the error, when the durable state can no longer be written: then stop and start again."""
        return self._backend.failed

    async def start(self) -> None:
        """Return when the app is served and `url` is known. Raises AppError, SettingsError, ValueError or OSError;
        nothing is left running then."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = read_settings(self.app_dir)
        self._lock_directory()
        self.keys = read_keys(self.data_dir)
        listener = socket.create_server((self._host, self._port), family=_family(self._host))  # taken? say so early
        self._stops.append(_now(listener.close))
        self.url = _url(self._host, listener)
        os.environ.update(self._settings)

        self._worker = Worker(self.app_dir, settings.function_timeout)
        await self._worker.load()
        self._stops.append(lambda: asyncio.to_thread(self._worker.close))
        catalogue = Catalogue()
        catalogue.take(self._worker.functions)

        dispatcher = Dispatcher(self._worker, catalogue, settings.max_activities, settings.max_episodes)
        self._backend = dispatcher.backend = DurableBackend(self.data_dir / STATE, settings.versions, dispatcher.submit)
        self._stops.append(self._backend.close)
        door = SidecarDoor(self._backend, self.data_dir)
        await door.start()
        self._stops.append(lambda: door.stop(self._grace))

        webhooks = DurableWebhooks(self._backend, catalogue, self.keys, settings, self.url, door.address)
        dispatcher.client = webhooks.client_binding()
        timers = TimerTriggers(self._worker, self._backend, dispatcher.client)
        front = HttpFront(self._worker, timers, webhooks, self.keys)

        self._backend.open()
        self._stops.append(lambda: dispatcher.drain(self._grace))
        self._stops.append(_now(self._backend.stop_dispatching))
        runner = web.AppRunner(front.application(), access_log=None, shutdown_timeout=self._grace)
        await runner.setup()
        self._stops.append(runner.cleanup)
        await web.SockSite(runner, listener).start()
        timers.start()
        self._stops.append(timers.stop)

    async def stop(self) -> None:
        """Stop taking requests, let those and the work under way finish within `grace`, close the files.

        What is cut short runs again after the next start. Safe to call twice.
        """
        while self._stops:
            await self._stops.pop()()

    def _lock_directory(self) -> None:
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (self.data_dir / LOCK).open("w")
        self._stops.append(_now(lock.close))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however that ends
        except BlockingIOError:
            raise AppError(f"{self.data_dir} is in use by another host; give each its own data directory") from None


def _now(action: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        action()

    return act


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _url(host: str, listener: socket.socket) -> str:
    port: int = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
