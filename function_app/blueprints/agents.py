"""Agents and people, their keys. A key is in an answer once, when it is made; stored is its hash."""

from typing import Annotated

import azure.durable_functions as df
import azure.functions as func
import msgspec

from function_app.access import Call, Role, endpoint, reply
from function_app.keys import new_key
from function_app.logs import event, logger
from function_app.stores.base import AgentRow, KeyRow, PersonRow, StoreError
from gateway_kernel.contract import key_hash
from gateway_kernel.model import SECOND

AgentName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
Mail = Annotated[str, msgspec.Meta(pattern=r"^[^@\s]{1,64}@[^@\s]{1,190}$")]
Lifetime = Annotated[int, msgspec.Meta(ge=0, le=10 * 366 * 86400)]
PERSON_ROLES = frozenset({Role.APPROVER, Role.AUDITOR, Role.POLICY_AUTHOR, Role.ADMINISTRATOR})

_log = logger("agents")
blueprint = df.Blueprint()


class NewAgent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`expires_in` is in seconds; 0 means that the key does not expire."""

    name: AgentName
    groups: tuple[str, ...] = ()
    owners: tuple[Mail, ...] = ()
    expires_in: Lifetime = 0


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A further key."""

    expires_in: Lifetime = 0


class NewPerson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person and all the roles it shall have. Posting a person again sets its roles and adds a key."""

    person: Mail
    roles: tuple[Role, ...] = (Role.APPROVER,)
    expires_in: Lifetime = 0


@endpoint(blueprint, "add_agent")
async def add_agent(call: Call) -> func.HttpResponse:
    """Register an agent with its first key."""
    new = call.json(NewAgent)
    now = call.services.now()
    key, secret = _key("agent", new.name, "spa", now, new.expires_in)
    agent = AgentRow(new.name, new.groups, tuple(owner.lower() for owner in new.owners), now)
    await call.services.store.registry.add_agent(agent, key)
    event(_log, "agent_added", agent=new.name, by=call.principal.name)
    return reply({**msgspec.to_builtins(agent), **_once(key, secret)}, 201)


@endpoint(blueprint, "add_agent_key")
async def add_agent_key(call: Call) -> func.HttpResponse:
    agent = await _agent(call)
    wanted = call.json(NewKey) if call.body else NewKey()
    key, secret = _key("agent", agent.name, "spa", call.services.now(), wanted.expires_in)
    await call.services.store.registry.add_key(key)
    event(_log, "agent_key_added", agent=agent.name, key=key.id, by=call.principal.name)
    return reply(_once(key, secret), 201)


@endpoint(blueprint, "list_agents")
async def list_agents(call: Call) -> func.HttpResponse:
    registry = call.services.store.registry
    keys = await registry.keys("agent")
    return reply({"agents": [_shown(agent, keys) for agent in await registry.agents()]})


@endpoint(blueprint, "show_agent")
async def show_agent(call: Call) -> func.HttpResponse:
    agent = await _agent(call, revoked_too=True)
    return reply(_shown(agent, await call.services.store.registry.keys("agent", agent.name)))


@endpoint(blueprint, "revoke_agent")
async def revoke_agent(call: Call) -> func.HttpResponse:
    """Revoke the agent and all its keys; edges hear of it with their next bundle."""
    return await _revoke(call, "agent", call.path("name"))


@endpoint(blueprint, "revoke_agent_key")
async def revoke_agent_key(call: Call) -> func.HttpResponse:
    return await _revoke_key(call, "agent", call.path("name"))


@endpoint(blueprint, "add_person")
async def add_person(call: Call) -> func.HttpResponse:
    """Register a person, or set its roles, and make a key."""
    new = call.json(NewPerson)
    if not new.roles or not set(new.roles) <= PERSON_ROLES:
        raise StoreError("bad-request", 422, f"A person's roles are one or more of: {', '.join(sorted(PERSON_ROLES))}.")
    now, name = call.services.now(), new.person.lower()
    key, secret = _key("person", name, "spp", now, new.expires_in)
    person = PersonRow(name, tuple(role.value for role in new.roles), now)
    await call.services.store.registry.put_person(person, key)
    event(_log, "person_added", person=name, roles=list(person.roles), by=call.principal.name)
    return reply({**msgspec.to_builtins(person), **_once(key, secret)}, 201)


@endpoint(blueprint, "list_people")
async def list_people(call: Call) -> func.HttpResponse:
    registry = call.services.store.registry
    keys = await registry.keys("person")
    people = [
        {**msgspec.to_builtins(person), "keys": [_shown_key(key) for key in keys if key.name == person.person]}
        for person in await registry.people()
    ]
    return reply({"people": people})


@endpoint(blueprint, "revoke_person")
async def revoke_person(call: Call) -> func.HttpResponse:
    return await _revoke(call, "person", call.path("person").lower())


@endpoint(blueprint, "revoke_person_key")
async def revoke_person_key(call: Call) -> func.HttpResponse:
    return await _revoke_key(call, "person", call.path("person").lower())


@endpoint(blueprint, "who_am_i")
async def who_am_i(call: Call) -> func.HttpResponse:
    """Whom the key that was sent belongs to, and what it may do."""
    return reply({"name": call.principal.name, "roles": sorted(call.principal.roles)})


async def _agent(call: Call, *, revoked_too: bool = False) -> AgentRow:
    agent = await call.services.store.registry.agent(call.path("name"))
    if agent is None or (agent.revoked and not revoked_too):
        raise StoreError("not-found", 404, f"There is no agent {call.path('name')!r}.")
    return agent


async def _revoke(call: Call, kind: str, name: str) -> func.HttpResponse:
    if not await call.services.store.registry.revoke(kind, name):
        raise StoreError("not-found", 404, f"There is no {kind} {name!r}.")
    event(_log, f"{kind}_revoked", whose=name, by=call.principal.name)
    return func.HttpResponse(status_code=204)


async def _revoke_key(call: Call, kind: str, name: str) -> func.HttpResponse:
    if not await call.services.store.registry.revoke_key(kind, name, call.path("key")):
        raise StoreError("not-found", 404, f"The {kind} {name!r} has no key {call.path('key')!r}.")
    event(_log, f"{kind}_key_revoked", whose=name, key=call.path("key"), by=call.principal.name)
    return func.HttpResponse(status_code=204)


def _key(kind: str, name: str, prefix: str, now: int, expires_in: int) -> tuple[KeyRow, str]:
    identifier, secret = new_key(prefix)
    return KeyRow(identifier, kind, name, key_hash(secret), now, now + expires_in * SECOND if expires_in else 0), secret


def _once(key: KeyRow, secret: str) -> dict[str, object]:
    """The one answer that holds the key itself."""
    return {"id": key.id, "key": secret, "expires": key.expires}


def _shown(agent: AgentRow, keys: list[KeyRow]) -> dict[str, object]:
    return {**msgspec.to_builtins(agent), "keys": [_shown_key(key) for key in keys if key.name == agent.name]}


def _shown_key(key: KeyRow) -> dict[str, object]:
    return {"id": key.id, "created": key.created, "expires": key.expires, "revoked": key.revoked}
