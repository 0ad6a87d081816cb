"""How the parts of the control plane are put together, once a process, from the environment.

Built at the first request and not at import, so that the Functions worker can list the functions of an app that is not configured yet, and
`/health` can say what is missing.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from function_app import settings as configuration
from function_app.feeds import Feeds
from function_app.keys import Keys
from function_app.logs import event, logger
from function_app.metrics import Metrics
from function_app.notifiers.base import Notifier
from function_app.notifiers.registry import notifiers
from function_app.policies import PolicyShelf
from function_app.settings import Settings, SettingsError
from function_app.stores.base import KeyRow, Store
from function_app.stores.sqlite import SqliteStore
from gateway_kernel.contract import key_hash
from gateway_kernel.model import Instant

_log = logger("composition")


def system_clock() -> Instant:
    """Microseconds since 1970, by this machine's clock."""
    return time.time_ns() // 1000


class Services:
    """Everything a handler or activity may use."""

    def __init__(
        self, settings: Settings, keys: Keys, store: Store, clock: Callable[[], Instant] = system_clock
    ) -> None:
        self.settings = settings
        self.keys = keys
        self.store = store
        self.now = clock
        self.feeds = Feeds()
        self.policies = PolicyShelf(store.registry)
        self.metrics = Metrics()
        self.notifiers: tuple[Notifier, ...] = notifiers(settings)
        self.public_url = settings.public_url
        self._bootstrapped = not settings.bootstrap_admin_key

    async def ready(self) -> str:
        """ "" if the control plane can work, else why not."""
        return await self.store.ready()

    async def bootstrap(self) -> None:
        """Make the bootstrap key the administrator's if there never was one."""
        if self._bootstrapped:
            return
        key = self.settings.bootstrap_admin_key
        row = KeyRow("bootstrap", "administrator", "administrator", key_hash(key), self.now())
        if await self.store.registry.bootstrap(row):
            event(_log, "administrator_bootstrapped")
        self._bootstrapped = True

    def learn_url(self, request_url: str) -> None:
        """Where no address is configured, take that by which the first authenticated caller reached this app."""
        if not self.public_url:
            parts = urlsplit(request_url)
            self.public_url = f"{parts.scheme}://{parts.netloc}"

    def review_url(self, review: str) -> str:
        """Where people (and the agent, who sees the state only) find a review. Carries no capability."""
        return f"{self.public_url}/reviews/{review}"


_services: Services | None = None
_lock = threading.Lock()


def services() -> Services:
    """The services of this process; raise `SettingsError` naming what is wrong with the environment."""
    global _services
    with _lock:
        if _services is None:
            settings = configuration.read(os.environ)
            try:
                keys = Keys(settings.data_dir / "keys")
                store = SqliteStore(settings.store, keys)
            except (OSError, ValueError, sqlite3.Error) as error:
                raise SettingsError(f"SALLYPORT_DATA_DIR: {error}") from error
            _services = Services(settings, keys, store)
            event(_log, "started", store=str(settings.store), public_url=settings.public_url)
        return _services
