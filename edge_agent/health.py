"""The health listener: is the edge alive, may traffic be sent to it, and its numbers. For operators and load balancers,
on loopback by default.

`/healthz` answers 200 while the supervisor runs, `/readyz` 200 if at least one worker serves and none of its problems
would make it refuse everything, else 503; both say why in JSON. `/metrics` is Prometheus text. Nothing here shows a
secret, a statement or an agent.
"""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from edge_agent.hub import Status
from edge_agent.metrics import render
from edge_agent.settings import Address


class Health:
    """Serves what `status` says of each worker."""

    def __init__(self, status: Callable[[], Awaitable[dict[str, Status]]]) -> None:
        self._status = status
        self._runner: web.AppRunner | None = None

    async def listen(self, address: Address | None) -> str:
        """Serve on `address` and return what was bound, "" if there is none; raise `OSError` if it cannot be bound."""
        if address is None:
            return ""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, address.host, address.port).start()
        host, port = self._runner.addresses[0][:2]
        return str(Address(host, port))

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _json(200, {"status": "alive", **_told(await self._status())})

    async def _readyz(self, _: web.Request) -> web.Response:
        statuses = await self._status()
        stopping = bool(statuses["supervisor"].problems)
        serving = any(not each.problems for name, each in statuses.items() if name != "supervisor")
        ready = serving and not stopping
        return _json(200 if ready else 503, {"status": "ready" if ready else "not ready", **_told(statuses)})

    async def _metrics(self, _: web.Request) -> web.Response:
        statuses = await self._status()
        text = render((name, sample) for name, status in statuses.items() for sample in status.samples)
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _told(statuses: dict[str, Status]) -> dict[str, dict[str, dict[str, tuple[str, ...]]]]:
    return {
        "workers": {name: {"problems": each.problems, "warnings": each.warnings} for name, each in statuses.items()}
    }


def _json(status: int, content: dict[str, object]) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/json")
