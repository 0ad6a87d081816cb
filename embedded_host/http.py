"""The HTTP front: routes to functions, keys, the admin API.

Binds loopback unless told otherwise. Incoming `X-MS-*` headers are removed: on Azure the platform sets them (the signed-in
user is one), and here anybody could. A function that raises answers 500 with nothing of why; the log has it. The
durable webhook API is `webhooks.py`; response streaming is not supported, and request bodies end at MAX_BODY.
"""

from http.cookies import SimpleCookie
from typing import Any, cast

from aiohttp import web
from multidict import CIMultiDict, MultiMapping

from embedded_host.keys import Keys
from embedded_host.messages import Nullable, RpcHttp, RpcHttpCookie, TypedData
from embedded_host.routes import METHODS, Route, Router, route
from embedded_host.timer_triggers import TimerTriggers
from embedded_host.webhooks import PREFIX, DurableWebhooks
from embedded_host.worker import AppError, Function, FunctionFailed, Worker

MAX_BODY = 100 * 1024 * 1024  # bytes: the request limit of Azure's host
ADMIN = "/admin/"
HOP_BY_HOP = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding", "upgrade"})
SAME_SITE = {1: "Lax", 2: "Strict", 3: "None"}


class HttpFront:
    """Answers every request of one app."""

    def __init__(self, worker: Worker, timers: TimerTriggers, webhooks: DurableWebhooks, keys: Keys) -> None:
        self._worker, self._timers, self._webhooks, self._keys = worker, timers, webhooks, keys
        self._client = webhooks.client_binding()
        functions = [one for one in worker.functions.values() if one.kind == "httpTrigger"]
        self._router = Router(_route(one, webhooks.settings.route_prefix) for one in functions)

    def application(self) -> web.Application:
        """The aiohttp application; it takes any path."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self.answer)
        return app

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """One request, to whatever its path names."""
        path = request.rel_url.raw_path
        if path.startswith(PREFIX):
            return await self._webhooks.answer(request, given_key(request))
        if path.startswith(ADMIN):
            return await self._admin(request, path.removeprefix(ADMIN))
        found = self._router.find(request.method, path)
        if found is None:
            return web.Response(status=204 if path == "/" else 404)
        function, params = found
        level = str(function.trigger.get("authLevel") or "function")
        if not self._keys.open_function(level, given_key(request)):
            return web.Response(status=401)
        return await self._run(function, request, params)

    async def _run(self, function: Function, request: web.Request, params: dict[str, str]) -> web.Response:
        body = await request.read()
        given = RpcHttp(
            method=request.method,
            url=str(request.url),
            headers={k: v for k, v in _joined(request.headers).items() if not k.startswith("x-ms-")},
            params=params,
            query=_joined(request.query, lower=False),
            body=TypedData(bytes=body) if body else TypedData(),
        )
        try:
            return _response(await self._worker.invoke(function, TypedData(http=given), self._client))
        except FunctionFailed as failed:
            failed.log(f"function {function.name}")
            return web.Response(status=500)

    async def _admin(self, request: web.Request, path: str) -> web.Response:
        if not self._keys.open_admin(given_key(request)):
            return web.Response(status=401)
        match request.method, path.strip("/").split("/"):
            case "GET", ["host", "status"]:
                return web.json_response({"state": "Running"})
            case "GET", ["functions"]:
                listed = [{"name": one.name, "trigger": one.kind} for one in self._worker.functions.values()]
                return web.json_response(listed)
            case "POST", ["functions", name]:
                function = self._worker.functions.get(name)
                if function is None:
                    return web.Response(status=404)
                if function.kind != "timerTrigger":
                    text = "only timer functions can be started by hand; call the others by their own trigger"
                    return web.json_response({"message": text}, status=400)
                return web.Response(status=202 if await self._timers.run(function.name) else 500)
            case _:
                return web.Response(status=404)


def given_key(request: web.Request) -> str:
    """The key a request carries: header `x-functions-key`, else query parameter `code`."""
    return request.headers.get("x-functions-key") or request.query.get("code") or ""


def _route(function: Function, prefix: str) -> Route[Function]:
    template = str(function.trigger.get("route") or function.name).strip("/")
    methods = [str(getattr(one, "value", one)) for one in function.trigger.get("methods") or METHODS]
    try:
        return route(f"{prefix}/{template}".strip("/"), methods, function)
    except ValueError as error:
        raise AppError(f"function {function.name}: {error}") from None


def _joined(pairs: MultiMapping[str], *, lower: bool = True) -> dict[str, str]:
    """Repeated names become one, joined by a comma (RFC 9110, section 5.3), as Azure's host hands them over."""
    joined: dict[str, str] = {}
    for name, value in pairs.items():
        key = name.lower() if lower else name
        joined[key] = f"{joined[key]},{value}" if key in joined else value
    return joined


def _response(answer: TypedData) -> web.Response:
    if answer.kind is None:
        return web.Response(status=204)
    if answer.kind != "http":  # the function returned a plain value
        body = answer.value if isinstance(answer.value, bytes) else str(answer.value).encode()
        kind = "application/json" if answer.kind == "json" else "text/plain"
        return web.Response(body=body, headers={"Content-Type": f"{kind}; charset=utf-8"})
    http = cast("RpcHttp", answer.value)
    headers = CIMultiDict((k, v) for k, v in http.headers.items() if k.lower() not in HOP_BY_HOP)
    for cookie in http.cookies or ():
        headers.add("Set-Cookie", set_cookie(cookie))
    body = http.body.value if http.body.kind else b""
    return web.Response(
        status=int(http.status_code or 200), body=body.encode() if isinstance(body, str) else body, headers=headers
    )


def set_cookie(cookie: RpcHttpCookie) -> str:
    """The header's value (RFC 6265, section 4.1.1)."""
    jar: SimpleCookie = SimpleCookie()
    jar[cookie.name] = cookie.value
    morsel = jar[cookie.name]
    for attribute, given in (("domain", cookie.domain), ("path", cookie.path)):
        if text := _value(given):
            morsel[attribute] = text
    if expires := _value(cookie.expires):
        morsel["expires"] = expires.strftime("%a, %d %b %Y %H:%M:%S GMT")
    if (age := _value(cookie.max_age)) is not None:
        morsel["max-age"] = str(int(age))
    for attribute, given in (("secure", cookie.secure), ("httponly", cookie.http_only)):
        if _value(given):
            morsel[attribute] = True
    if same_site := SAME_SITE.get(cookie.same_site):
        morsel["samesite"] = same_site
    return morsel.OutputString()


def _value(given: Nullable | None) -> Any:
    return None if given is None else given.value
