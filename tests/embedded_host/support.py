"""A host process to start, kill and ask, and the one way in which these tests wait."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp

from embedded_host.keys import read_keys

CONFORMANCE_APP = Path(__file__).parent / "conformance" / "app"
PATIENCE = 30.0  # seconds; how long a condition may take on a loaded machine
STEP = 0.02  # seconds between two looks at a condition
ENDED = ("Completed", "Failed", "Terminated")


async def until[T](look: Callable[[], Awaitable[T]], met: Callable[[T], bool], limit: float = PATIENCE) -> T:
    """Look again and again until the condition is met; fail with the last sight after `limit` seconds."""
    deadline = time.monotonic() + limit
    while True:
        seen = await look()
        if met(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not met within {limit} s; last seen: {seen!r}")
        await asyncio.sleep(STEP)


class HostProcess:
    """`python -m embedded_host` on a port of the system's choice; start and kill it as often as a test likes."""

    def __init__(self, app: Path, data: Path) -> None:
        self.app, self.data = app, data
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> str:
        """Returns the URL once the host says that it is ready."""
        command = [
            sys.executable,
            "-m",
            "embedded_host",
            "--app",
            str(self.app),
            "--data",
            str(self.data),
            "--port",
            "0",
        ]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("ready http://127.0.0.1:"), line
        self.url = line.split()[1]
        return self.url

    def kill(self) -> None:
        """As a power failure would: no handler runs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._reap()

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._reap()

    def died(self) -> bool:
        """Whether it ended by itself; reaps it then."""
        assert self._process is not None
        if self._process.poll() is None:
            return False
        self._reap()
        return True

    def _reap(self) -> int:
        assert self._process is not None
        status = self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    @property
    def master_key(self) -> str:
        """From the data directory."""
        return read_keys(self.data).master


@dataclass
class Site:
    """A running host as its users see it: a URL, a key, and nothing else. Embedded or Azure's own."""

    session: aiohttp.ClientSession
    url: str
    key: str

    async def ask(
        self, method: str, path: str, *, body: Any = None, key: str | None = None, **query: str
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        """One request with the master key (or `key`; "" for none): status, decoded body, response."""
        given = self.key if key is None else key
        headers = {"x-functions-key": given} if given else {}
        async with self.session.request(
            method, f"{self.url}{path}", json=body, params=query, headers=headers, allow_redirects=False
        ) as response:
            text = await response.text()
            kind = response.content_type
            return response.status, (await response.json()) if kind == "application/json" and text else text, response

    async def start(self, name: str, given: Any = None, instance_id: str | None = None) -> str:
        """Start an orchestration through the app's own route, which uses the durable client."""
        instance_id = instance_id or fresh_id(name)
        status, body, _ = await self.ask("POST", f"/api/start/{name}/{instance_id}", body=given)
        assert status == 202, (status, body)
        return instance_id

    async def client(self, verb: str, instance_id: str, *, body: Any = None, **query: str) -> tuple[int, Any]:
        """One call of the durable client inside the app."""
        status, answer, _ = await self.ask("POST", f"/api/client/{verb}/{instance_id}", body=body, **query)
        return status, answer

    async def status(self, instance_id: str) -> dict[str, Any] | None:
        """The status as the webhook API tells it; None for an unknown instance."""
        status, body, _ = await self.ask("GET", f"/runtime/webhooks/durabletask/instances/{instance_id}")
        return None if status == 404 else cast("dict[str, Any]", body)

    async def reaches(self, instance_id: str, met: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the status meets a condition."""
        seen = await until(lambda: self.status(instance_id), lambda one: one is not None and met(one))
        assert seen is not None
        return seen

    async def ends(self, instance_id: str) -> dict[str, Any]:
        """Wait until it completed, failed or was terminated."""
        return await self.reaches(instance_id, lambda one: one["runtimeStatus"] in ENDED)

    async def says(self, instance_id: str, custom: Any) -> dict[str, Any]:
        """Wait for a custom status."""
        return await self.reaches(instance_id, lambda one: one["customStatus"] == custom)

    async def raise_event(self, instance_id: str, event: str, data: Any = None) -> tuple[int, Any]:
        """Through the durable client."""
        return await self.client("raise", instance_id, body=data, event=event)

    async def entity(self, name: str, key: str) -> Any:
        """An entity's state through the durable client; None where there is none."""
        _, read = await self.client("entity", key, entity=name)
        return read["state"] if read["exists"] else None


def fresh_id(prefix: str) -> str:
    """An instance id that no other test uses, on a host that may be shared."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


@contextlib.asynccontextmanager
async def site_of(url: str, key: str) -> AsyncGenerator[Site]:
    """A Site with a session of its own; a request may take no longer than PATIENCE."""
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    connector = aiohttp.TCPConnector(force_close=True)  # a killed host leaves no stale connections behind
    async with aiohttp.ClientSession(
        timeout=timeout, connector=connector, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield Site(session, url, key)


def elsewhere() -> tuple[str, str] | None:
    """URL and master key of another host to run the suite against, where the environment names one."""
    url = os.environ.get("SALLYPORT_CONFORMANCE_URL")
    return (url.rstrip("/"), os.environ["SALLYPORT_CONFORMANCE_KEY"]) if url else None
