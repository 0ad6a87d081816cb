"""The service itself: an ordinary JSON API on aiohttp, with something to protect and every shape that HTTP/1.1 has.

Collections are lists of JSON objects: `GET /customers`, `GET /customers/2`, `POST`, `PUT`, `PATCH`, `DELETE`. Beside them: a counter, an event
stream, exports, files of any size, a mirror, and a WebSocket (see `streams` and `shapes`). It keeps everything in memory.
"""

import base64
import copy
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from sallyport.local_http import shapes, streams
from sallyport.local_http.journal import Conversation, Reading

USER = "app"
COLLECTIONS: dict[str, list[dict[str, Any]]] = {
    "customers": [
        {"id": 1, "name": "Ada Marsh", "email": "ada.marsh@example.com", "ssn": "219-09-9999", "card": "4111 1111 1111 1111"},
        {"id": 2, "name": "Bo Lindqvist", "email": "bo.lindqvist@example.org", "ssn": "457-55-5462", "card": "5500 0000 0000 0004"},
        {"id": 3, "name": "Chidi Okafor", "email": "chidi.okafor@example.net", "ssn": "078-05-1120", "card": "3400 0000 0000 009"},
    ],
    "orders": [
        {"id": 7, "customer_id": 1, "total": 129.90, "status": "open"},
        {"id": 8, "customer_id": 2, "total": 59.00, "status": "open"},
        {"id": 9, "customer_id": 3, "total": 12.50, "status": "shipped"},
    ],
    "visits": [{"id": number, "page": f"/product/{number}"} for number in range(1, 5001)],
}  # fmt: skip
"""The demo's shop once more: the same people as in examples/demo/schema.sql."""


class Billing:
    """The state of one service. `counter` and the collections may be read by its owner at any time."""

    def __init__(
        self, secret: str, collections: Mapping[str, Sequence[dict[str, Any]]] | None, *, obliging: bool = False
    ) -> None:
        self.secret = secret
        self.counter = 0
        self.collections: dict[str, list[dict[str, Any]]] = copy.deepcopy(
            {name: list(rows) for name, rows in (collections or COLLECTIONS).items()}
        )
        self.conversations: dict[web.RequestHandler, Conversation] = {}
        self.files: dict[str, bytes] = {}
        self.feed = streams.Feed()
        self._obliging = obliging
        basic = base64.b64encode(f"{USER}:{secret}".encode()).decode()
        self._accepted = {f"Bearer {secret}", f"Basic {basic}"}

    def application(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[self._journal, self._only_with_the_credential], client_max_size=1 << 30)
        app.router.add_route("*", "/counter", self._count)
        streams.routes(app.router, self.feed, self.collections)
        shapes.routes(app.router, self.files)
        if "customers" in self.collections:
            app.router.add_get("/login", self._login)
        for name in self.collections:
            app.router.add_route("*", f"/{name}", self._collection)
            app.router.add_route("*", f"/{name}/{{id}}", self._member)
        app.router.add_route("*", "/{rest:.*}", self._elsewhere)
        return app

    def publish(self, event: dict[str, Any]) -> None:
        """Tell everybody who follows `/events`."""
        self.feed.publish(event)

    def end_events(self) -> None:
        """Every stream that follows ends."""
        self.feed.publish(None)

    # -- who is served, and what is noted ------------------------------------------------------------------------------

    @web.middleware
    async def _journal(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        conversation = self.conversations[request.protocol]
        entry = conversation.take()
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers)
        conversation.read(entry, Reading(request.method, request.raw_path, headers))
        request[streams.HEARD] = lambda data: conversation.message(entry, data)
        return await handler(request)

    @web.middleware
    async def _only_with_the_credential(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        allowed = given in self._accepted or secrets.compare_digest(request.query.get("api_key", ""), self.secret)
        if not allowed:
            return web.json_response({"error": "who are you?"}, status=401, headers={"WWW-Authenticate": "Bearer"})
        return await handler(request)

    # -- the API -------------------------------------------------------------------------------------------------------

    async def _count(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            await request.read()
            self.counter += 1
        elif request.method == "DELETE":
            self.counter = 0
        return web.json_response({"n": self.counter})

    async def _login(self, _: web.Request) -> web.Response:
        answer = web.json_response({"welcome": True})
        answer.set_cookie("sid", "s-" + "7" * 20, path="/", httponly=True)
        answer.set_cookie("theme", "dark", path="/customers", max_age=3600)
        return answer

    async def _collection(self, request: web.Request) -> web.Response:
        name = request.path.strip("/")
        rows = self.collections[name]
        if request.method == "POST":
            added = {"id": max((row["id"] for row in rows), default=0) + 1} | await _object(request)
            rows.append(added)
            return web.json_response(added, status=201, headers={"Location": f"/{name}/{added['id']}"})
        if request.method not in {"GET", "HEAD"}:
            raise web.HTTPMethodNotAllowed(request.method, ["GET", "HEAD", "POST"])
        limit = int(request.query.get("limit", len(rows)))
        wanted = {key: value for key, value in request.query.items() if key not in {"limit", "api_key"}}
        found = [row for row in rows if all(str(row.get(key)) == value for key, value in wanted.items())]
        return web.json_response({name: found[:limit]})

    async def _member(self, request: web.Request) -> web.Response:
        name, number = request.path.strip("/").split("/")
        rows = self.collections[name]
        row = next((row for row in rows if str(row["id"]) == number), None)
        if row is None:
            return web.json_response({"error": f"no {name} {number}"}, status=404)
        match request.method:
            case "PUT" | "PATCH":
                row.update(await _object(request))
            case "DELETE":
                rows.remove(row)
                return web.Response(status=204)
            case _:
                pass
        return web.json_response(row)

    async def _elsewhere(self, request: web.Request) -> web.Response:
        """No such path; an obliging service does as if there were, and tells all it knows."""
        await request.read()
        if self._obliging:
            return web.json_response({"path": request.path, **self.collections})
        return web.json_response({"error": "no such path"}, status=404)


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        value = json.loads(await request.read() or b"{}")
    except ValueError:
        raise web.HTTPBadRequest(text="not JSON") from None
    if not isinstance(value, dict):
        raise web.HTTPBadRequest(text="not an object")
    return value
