"""Who may call what: one table, and the wrapper that holds every route to it.

All routes are registered with the Functions level ANONYMOUS on purpose: a function key is a shared secret without a person, an
edge or an agent behind it, so it could answer none of the questions asked here (who decided? for which edge?). The check is ours,
the same on Azure and on one machine, and `tests/function_app/test_access.py` walks every registered route with every role and with none.
"""

import logging
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Protocol as Interface
from typing import cast

import azure.durable_functions as df
import azure.functions as func
import msgspec

from function_app.composition import Services, services
from function_app.logs import event, logger
from function_app.settings import SettingsError
from function_app.stores.base import KeyRow, StoreError
from gateway_kernel.contract import Problem, encode, key_hash
from gateway_kernel.errors import PolicyError

_log = logger("access")


class Role(StrEnum):
    """What a key or a sign-in may do."""

    AGENT = "agent"
    APPROVER = "approver"
    AUDITOR = "auditor"
    POLICY_AUTHOR = "policy_author"
    ADMINISTRATOR = "administrator"
    EDGE = "edge"


class Route(msgspec.Struct, frozen=True):
    """One function with an HTTP trigger. Without `roles` it is open to anybody (its handler then shows no secret)."""

    name: str
    method: str
    path: str
    roles: frozenset[Role] = frozenset()
    durable: bool = False


_ADMIN = frozenset({Role.ADMINISTRATOR})
_POLICY = frozenset({Role.ADMINISTRATOR, Role.POLICY_AUTHOR})
_POLICY_READ = _POLICY | {Role.AUDITOR}
_AUDIT = frozenset({Role.ADMINISTRATOR, Role.AUDITOR})
_REVIEW_READ = _AUDIT | {Role.APPROVER}
_EDGE = frozenset({Role.EDGE})
_APPROVER = frozenset({Role.APPROVER})

ROUTES: tuple[Route, ...] = (
    Route("submit_operation", "POST", "v1/edges/{edge}/operations", _EDGE, durable=True),
    Route("edge_bundle", "GET", "v1/edges/{edge}/bundle", _EDGE),
    Route("edge_decisions", "GET", "v1/edges/{edge}/decisions", _EDGE),
    Route("consume_grant", "POST", "v1/edges/{edge}/grants/{grant}/consume", _EDGE),
    Route("release_grant", "POST", "v1/edges/{edge}/grants/{grant}/release", _EDGE),
    Route("withdraw_review", "POST", "v1/edges/{edge}/reviews/{review}/withdraw", _EDGE, durable=True),
    Route("ingest_events", "POST", "v1/edges/{edge}/events", _EDGE),
    Route("register_edge", "PUT", "v1/edges/{edge}", _ADMIN),
    Route("show_edge", "GET", "v1/edges/{edge}", _AUDIT),
    Route("list_edges", "GET", "v1/edges", _AUDIT),
    Route("add_agent", "POST", "v1/agents", _ADMIN),
    Route("list_agents", "GET", "v1/agents", _AUDIT),
    Route("show_agent", "GET", "v1/agents/{name}", _AUDIT),
    Route("revoke_agent", "DELETE", "v1/agents/{name}", _ADMIN),
    Route("add_agent_key", "POST", "v1/agents/{name}/keys", _ADMIN),
    Route("revoke_agent_key", "DELETE", "v1/agents/{name}/keys/{key}", _ADMIN),
    Route("agent_sessions", "GET", "v1/agents/{name}/sessions", _AUDIT),
    Route("add_person", "POST", "v1/people", _ADMIN),
    Route("list_people", "GET", "v1/people", _ADMIN),
    Route("revoke_person", "DELETE", "v1/people/{person}", _ADMIN),
    Route("revoke_person_key", "DELETE", "v1/people/{person}/keys/{key}", _ADMIN),
    Route("push_policy", "POST", "v1/policies", _POLICY),
    Route("list_policies", "GET", "v1/policies", _POLICY_READ),
    Route("active_policy", "GET", "v1/policies/active", _POLICY_READ),
    Route("show_policy", "GET", "v1/policies/{version:int}", _POLICY_READ),
    Route("activate_policy", "POST", "v1/policies/{version:int}/activate", _POLICY),
    Route("list_reviews", "GET", "v1/reviews", _REVIEW_READ),
    Route("show_review", "GET", "v1/reviews/{review}", _REVIEW_READ),
    Route("decide_review", "POST", "v1/reviews/{review}/decisions", _APPROVER, durable=True),
    Route("list_sessions", "GET", "v1/sessions", _AUDIT),
    Route("show_session", "GET", "v1/sessions/{session}", _AUDIT),
    Route("session_events", "GET", "v1/sessions/{session}/events", _AUDIT),
    Route("list_alerts", "GET", "v1/alerts", _AUDIT),
    Route("who_am_i", "GET", "v1/me", frozenset(Role)),
    Route("metrics", "GET", "metrics", _AUDIT),
    # Pages. Those without roles check the sign-in themselves, because they answer with a page instead of a problem document.
    Route("inbox_page", "GET", "reviews"),
    Route("review_page", "GET", "reviews/{review}"),
    Route("decide_page", "POST", "reviews/{review}/decide", durable=True),
    Route("link_page", "GET", "reviews/{review}/links/{token}"),
    Route("decide_by_link", "POST", "reviews/{review}/links/{token}", durable=True),
    Route("sign_in_page", "GET", "sign-in"),
    Route("sign_in", "POST", "sign-in"),
    Route("sign_out", "POST", "sign-out"),
    Route("static_file", "GET", "static/{file}"),
    Route("health", "GET", "health"),
)

_BY_NAME = {route.name: route for route in ROUTES}


class Principal(msgspec.Struct, frozen=True):
    """Who calls: its name (agent, edge, mail address of a person), its roles and the key it used."""

    name: str
    roles: frozenset[Role]
    key: str = ""


NOBODY = Principal("", frozenset())


class DurableClient(Interface):
    """What we use of the durable client: the part that azure-functions-durable 1.7 and 2.x share."""

    async def start_new(self, orchestration_function_name: str, instance_id: str, client_input: object) -> str: ...

    async def raise_event(self, instance_id: str, event_name: str, event_data: object) -> None: ...

    async def get_status(self, instance_id: str) -> object: ...


class Call(msgspec.Struct, frozen=True):
    """One request, its caller and the services. `client` is there only on routes declared `durable`."""

    request: func.HttpRequest
    principal: Principal
    services: Services
    durable: DurableClient | None = None

    def path(self, name: str) -> str:
        """A part of the path, as the route names it."""
        return str(cast("dict[str, str]", self.request.route_params)[name])

    def query(self, name: str, default: str = "") -> str:
        return str(cast("dict[str, str]", self.request.params).get(name, default))

    def header(self, name: str) -> str:
        return str(cast("dict[str, str]", self.request.headers).get(name, ""))

    @property
    def body(self) -> bytes:
        return bytes(self.request.get_body() or b"")

    @property
    def client(self) -> DurableClient:
        assert self.durable is not None, "this route is not declared durable"
        return self.durable

    def json[T](self, kind: type[T], largest: int = 1024 * 1024) -> T:
        """The body, strictly decoded; `StoreError` bad-request names the field."""
        body = self.body
        if len(body) > largest:
            raise StoreError("too-large", 413, f"The body has {len(body)} bytes; the most is {largest}.")
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise StoreError("bad-request", 422, f"The body does not read: {error}") from error

    def number(self, name: str, default: int, *, most: int) -> int:
        """A number of the query; `StoreError` bad-request if it is none or too large."""
        text = self.query(name)
        if not text:
            return default
        if not text.isascii() or not text.isdecimal() or int(text) > most:
            raise StoreError("bad-request", 422, f"Query parameter {name!r} must be a number from 0 to {most}.")
        return int(text)


type Handler = Callable[[Call], Awaitable[func.HttpResponse]]


def endpoint(blueprint: df.Blueprint, name: str) -> Callable[[Handler], Handler]:
    """Register a handler under its line of `ROUTES`: nothing is reachable that the table does not name."""
    route = _BY_NAME[name]

    def register(handler: Handler) -> Handler:
        if route.durable:

            async def with_client(req: func.HttpRequest, client: str) -> func.HttpResponse:
                return await _answer(route, handler, req, cast("DurableClient", cast("object", client)))

            with_client.__name__ = name
            built = blueprint.durable_client_input(client_name="client")(with_client)
        else:

            async def plain(req: func.HttpRequest) -> func.HttpResponse:
                return await _answer(route, handler, req, None)

            plain.__name__ = name
            built = plain
        registered = blueprint.route(
            route=route.path, methods=[route.method], trigger_arg_name="req", auth_level=func.AuthLevel.ANONYMOUS
        )
        registered(built)
        return handler

    return register


async def _answer(
    route: Route, handler: Handler, request: func.HttpRequest, durable: DurableClient | None
) -> func.HttpResponse:
    """Authenticate, authorise, handle; every refusal is a problem document."""
    try:
        app = services()
    except SettingsError as error:
        event(_log, "settings_refused", reason=str(error))
        variable = str(error).split(":")[0].split()[0]  # open to anybody: the name, never the value
        return problem("unavailable", 503, f"The control plane is not configured: see {variable}; its log says more.")
    try:
        await app.bootstrap()
        principal = await authorised(app, route, request)
        app.metrics.requests.labels(route.name).inc()
        return await handler(Call(request, principal, app, durable))
    except StoreError as error:
        return problem(error.kind, error.status, str(error))
    except PolicyError as error:
        event(_log, "policy_unloadable", level=logging.ERROR, reason=str(error))
        detail = "The active policy does not load under this release; push or activate another version."
        return problem("policy-unloadable", 503, detail)


async def authorised(app: Services, route: Route, request: func.HttpRequest) -> Principal:
    """The caller, if the table lets it in; `StoreError` 401 or 403 otherwise."""
    if not route.roles:
        return NOBODY
    principal = await bearer(app, request)
    if principal is NOBODY:
        raise StoreError(
            "unauthenticated",
            401,
            "Send a valid key: `Authorization: Bearer …`. This one is missing, unknown, expired or revoked.",
        )
    if not principal.roles & route.roles:
        allowed = ", ".join(sorted(route.roles))
        raise StoreError(
            "forbidden", 403, f"{principal.name} is {', '.join(sorted(principal.roles))}; this route is for: {allowed}."
        )
    app.learn_url(request.url)
    params = cast("dict[str, str]", request.route_params)
    if route.roles == _EDGE and params.get("edge") != principal.name:
        raise StoreError("foreign-edge", 403, f"This key belongs to edge {principal.name!r}.")
    return principal


async def bearer(app: Services, request: func.HttpRequest) -> Principal:
    """Whoever the Authorization header proves, or NOBODY."""
    scheme, _, key = str(cast("dict[str, str]", request.headers).get("authorization", "")).partition(" ")
    if scheme.lower() != "bearer" or not key:
        return NOBODY
    return await principal_of(app, key.strip())


async def principal_of(app: Services, key: str) -> Principal:
    """Whoever holds this key, or NOBODY."""
    row = await app.store.registry.key(key_hash(key))
    if row is None or row.revoked or (row.expires and app.now() >= row.expires):
        return NOBODY
    return Principal(row.name, await _roles(app, row), row.id)


async def _roles(app: Services, key: KeyRow) -> frozenset[Role]:
    match key.kind:
        case "person":
            person = await app.store.registry.person(key.name)
            return frozenset() if person is None or person.revoked else frozenset(Role(role) for role in person.roles)
        case "agent":
            agent = await app.store.registry.agent(key.name)
            return frozenset() if agent is None or agent.revoked else frozenset({Role.AGENT})
        case "edge" | "administrator":
            return frozenset({Role(key.kind)})
        case kind:
            raise AssertionError(f"key {key.id} is of unknown kind {kind!r}")


def reply(message: object, status: int = 200, headers: dict[str, str] | None = None) -> func.HttpResponse:
    """A JSON answer. Nothing of the API may be kept by a cache."""
    return func.HttpResponse(
        msgspec.json.encode(message),
        status_code=status,
        mimetype="application/json",
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def problem(kind: str, status: int, detail: str) -> func.HttpResponse:
    """An RFC 9457 problem document."""
    body = Problem(type=kind, title=kind.replace("-", " ").capitalize(), status=status, detail=detail)
    headers = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return func.HttpResponse(encode(body), status_code=status, mimetype="application/problem+json", headers=headers)
