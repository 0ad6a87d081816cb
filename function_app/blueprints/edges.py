"""Edges: registration, the bundle each of them decides by, and their recordings coming in."""

import hashlib
from typing import Annotated

import azure.durable_functions as df
import azure.functions as func
import msgspec

from function_app.access import Call, endpoint, reply
from function_app.keys import new_key
from function_app.logs import event, logger
from function_app.stores.base import AgentRow, EdgeRow, KeyRow, StoreError
from gateway_kernel.contract import (
    LARGEST_BATCH,
    VERSION,
    Acknowledged,
    AgentKey,
    Bundle,
    RegisteredResource,
    SignedBundle,
    bundle_bytes,
    edge_signing_key,
    encode,
    key_hash,
)
from gateway_kernel.model import Agent

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")]

_log = logger("edges")
blueprint = df.Blueprint()


class Registered(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A resource as it is registered."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
    protocol: Name
    labels: dict[str, str] = {}


class Registration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an edge may speak for. `agents` holds names, or `*` for all: what holds where nothing is said.

    `rotate_key` revokes the key that the edge has and gives a new one.
    """

    resources: tuple[Registered, ...] = ()
    agents: tuple[str, ...] = ("*",)
    rotate_key: bool = False


@endpoint(blueprint, "register_edge")
async def register_edge(call: Call) -> func.HttpResponse:
    """Register or change an edge. The key is in the answer once: when it is new, or rotated."""
    try:
        name = msgspec.convert(call.path("edge"), Name)
    except msgspec.ValidationError as error:
        raise StoreError(
            "bad-request", 422, "An edge's name is 1 to 63 lower-case letters, digits, dots and hyphens."
        ) from error
    wanted = call.json(Registration)
    registry, now = call.services.store.registry, call.services.now()
    before = await registry.edge(name)
    secret, row = "", None
    if before is None or wanted.rotate_key:
        identifier, secret = new_key("spe", name)
        public = edge_signing_key(secret).public_key().public_bytes_raw()
        row = KeyRow(identifier, "edge", name, key_hash(secret), now, public=public)
    resources = tuple(RegisteredResource(one.name, one.protocol, one.labels) for one in wanted.resources)
    edge = EdgeRow(name, resources, wanted.agents, now if before is None else before.created)
    await registry.put_edge(edge, row)
    event(_log, "edge_registered", edge=name, resources=[one.name for one in resources], key_made=bool(secret))
    return reply({**_shown(edge), **({"key": secret} if secret else {})}, 201 if before is None else 200)


@endpoint(blueprint, "show_edge")
async def show_edge(call: Call) -> func.HttpResponse:
    edge = await call.services.store.registry.edge(call.path("edge"))
    if edge is None:
        raise StoreError("not-found", 404, f"There is no edge {call.path('edge')!r}.")
    return reply(_shown(edge))


@endpoint(blueprint, "list_edges")
async def list_edges(call: Call) -> func.HttpResponse:
    return reply({"edges": [_shown(edge) for edge in await call.services.store.registry.edges()]})


@endpoint(blueprint, "edge_bundle")
async def edge_bundle(call: Call) -> func.HttpResponse:
    """Everything this edge decides by, signed. 304 while policy, registry, agents and keys are those of the ETag."""
    app = call.services
    edge = await app.store.registry.edge(call.principal.name)
    if edge is None:
        raise StoreError("not-found", 404, f"Edge {call.principal.name!r} is not registered.")
    version, policy = await app.policies.active()
    bundle = Bundle(
        VERSION,
        edge.edge,
        0,
        "",
        version.text,
        policy.digest,
        version.version,
        edge.resources,
        await _agent_keys(call, edge),
        app.keys.public_keys,
        app.public_url,
    )
    revision = hashlib.sha256(encode(bundle)).hexdigest()[:32]
    tag = f'"{revision}"'
    if tag in [one.strip() for one in call.header("if-none-match").split(",")]:
        return func.HttpResponse(status_code=304, headers={"ETag": tag, "Cache-Control": "no-cache"})
    payload = encode(msgspec.structs.replace(bundle, issued=app.now(), revision=revision))
    signed = SignedBundle(payload, app.keys.key_id, app.keys.sign(bundle_bytes(payload)))
    return reply(signed, headers={"ETag": tag, "Cache-Control": "no-cache"})


async def _agent_keys(call: Call, edge: EdgeRow) -> tuple[AgentKey, ...]:
    """The keys of the agents assigned to this edge, revoked ones included so that an edge can say so."""
    registry = call.services.store.registry
    agents = {agent.name: agent for agent in await registry.agents()}
    return tuple(
        AgentKey(key.id, key.hash, _agent(agents[key.name]), key.expires, key.revoked or agents[key.name].revoked)
        for key in await registry.keys("agent")
        if key.name in agents and edge.serves(key.name)
    )


def _agent(row: AgentRow) -> Agent:
    return Agent(row.name, row.groups, owners=row.owners)


@endpoint(blueprint, "ingest_events")
async def ingest_events(call: Call) -> func.HttpResponse:
    """Lines of recordings, in order, each continuing its session's chain."""
    body = call.body
    if len(body) > LARGEST_BATCH:
        raise StoreError("too-large", 413, f"The batch has {len(body)} bytes; the most is {LARGEST_BATCH}.")
    lines = [line for line in body.split(b"\n") if line]
    expected = await call.services.store.sessions.ingest(call.principal.name, lines)
    call.services.metrics.events.inc(len(lines))
    return reply(Acknowledged(expected))


def _shown(edge: EdgeRow) -> dict[str, object]:
    return {
        "edge": edge.edge,
        "resources": msgspec.to_builtins(edge.resources),
        "agents": edge.agents,
        "created": edge.created,
    }
