"""Agents, people, edges, keys, policies and sign-ins in SQLite. Decides nothing about who may do what: that is `access`."""

import sqlite3
from collections.abc import Iterable

import msgspec

from function_app.stores.base import AgentRow, EdgeRow, KeyRow, PersonRow, PolicyRow, SignIn, StoreError
from function_app.stores.sqlite_unit import Unit, strings, to_json
from gateway_kernel.contract import RegisteredResource
from gateway_kernel.model import Instant

_POLICY = "select p.*, p.version = coalesce((select version from active_policy), 0) as active from policy p"


class SqliteRegistry:
    """The registry on one database."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def key(self, key_hash: str) -> KeyRow | None:
        return await self._unit.read(
            lambda db: _first(_key(row) for row in db.execute("select * from access_key where hash = ?", (key_hash,)))
        )

    async def keys(self, kind: str, name: str = "") -> list[KeyRow]:
        sql, values = "select * from access_key where kind = ?", [kind]
        if name:
            sql, values = sql + " and name = ?", [kind, name]
        return await self._unit.read(
            lambda db: [_key(row) for row in db.execute(sql + " order by created, id", values)]
        )

    async def add_key(self, key: KeyRow) -> None:
        await self._unit.write("add_key", lambda db: _insert_key(db, key))

    async def bootstrap(self, key: KeyRow) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            if db.execute("select 1 from access_key where kind = 'administrator'").fetchone():
                return False
            _insert_key(db, key)
            return True

        return await self._unit.write("bootstrap", work)

    async def revoke_key(self, kind: str, name: str, key: str) -> bool:
        sql = "update access_key set revoked = 1 where kind = ? and name = ? and id = ?"
        return await self._unit.write("revoke_key", lambda db: db.execute(sql, (kind, name, key)).rowcount == 1)

    async def add_agent(self, agent: AgentRow, key: KeyRow) -> None:
        def work(db: sqlite3.Connection) -> None:
            row = db.execute("select revoked from agent where name = ?", (agent.name,)).fetchone()
            if row is not None and not row["revoked"]:
                raise StoreError(
                    "exists", 409, f"There is an agent {agent.name!r} already; add a key to it, or revoke it first."
                )
            db.execute(
                "insert or replace into agent values(?, ?, ?, ?, 0)",
                (agent.name, to_json(agent.groups), to_json(agent.owners), agent.created),
            )
            _insert_key(db, key)

        await self._unit.write("add_agent", work)

    async def agent(self, name: str) -> AgentRow | None:
        return await self._unit.read(
            lambda db: _first(_agent(row) for row in db.execute("select * from agent where name = ?", (name,)))
        )

    async def agents(self) -> list[AgentRow]:
        return await self._unit.read(
            lambda db: [_agent(row) for row in db.execute("select * from agent order by name")]
        )

    async def revoke(self, kind: str, name: str) -> bool:
        table = {
            "agent": "update agent set revoked = 1 where name = ?",
            "person": "update person set revoked = 1 where person = ?",
        }[kind]

        def work(db: sqlite3.Connection) -> bool:
            db.execute("update access_key set revoked = 1 where kind = ? and name = ?", (kind, name))
            return db.execute(table, (name,)).rowcount == 1

        return await self._unit.write("revoke", work)

    async def put_person(self, person: PersonRow, key: KeyRow) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "insert into person values(?, ?, ?, 0) on conflict(person) do update set roles_json = excluded.roles_json, revoked = 0",
                (person.person, to_json(person.roles), person.created),
            )
            _insert_key(db, key)

        await self._unit.write("put_person", work)

    async def person(self, person: str) -> PersonRow | None:
        return await self._unit.read(
            lambda db: _first(_person(row) for row in db.execute("select * from person where person = ?", (person,)))
        )

    async def people(self) -> list[PersonRow]:
        return await self._unit.read(
            lambda db: [_person(row) for row in db.execute("select * from person order by person")]
        )

    async def put_edge(self, edge: EdgeRow, key: KeyRow | None) -> None:
        def work(db: sqlite3.Connection) -> None:
            for other in (_edge(row) for row in db.execute("select * from edge where edge <> ?", (edge.edge,))):
                for resource in edge.resources:
                    there = other.resource(resource.name)
                    if there is not None and there != resource:
                        raise StoreError(
                            "taken",
                            409,
                            f"Resource {resource.name!r} is registered at edge {other.edge!r} with another protocol or other labels; "
                            "one name means one resource.",
                        )
            db.execute(
                "insert into edge values(?, ?, ?, ?) on conflict(edge) do update set resources_json = excluded.resources_json, "
                "agents_json = excluded.agents_json",
                (edge.edge, to_json(edge.resources), to_json(edge.agents), edge.created),
            )
            if key is not None:
                db.execute("update access_key set revoked = 1 where kind = 'edge' and name = ?", (edge.edge,))
                _insert_key(db, key)

        await self._unit.write("put_edge", work)

    async def edge(self, edge: str) -> EdgeRow | None:
        return await self._unit.read(
            lambda db: _first(_edge(row) for row in db.execute("select * from edge where edge = ?", (edge,)))
        )

    async def edges(self) -> list[EdgeRow]:
        return await self._unit.read(lambda db: [_edge(row) for row in db.execute("select * from edge order by edge")])

    async def add_policy(self, policy: PolicyRow) -> PolicyRow:
        def work(db: sqlite3.Connection) -> PolicyRow:
            version = db.execute(
                "insert into policy(digest, text, author, comment, created) values(?, ?, ?, ?, ?)",
                (policy.digest, policy.text, policy.author, policy.comment, policy.created),
            ).lastrowid
            if policy.active:
                db.execute("insert or replace into active_policy values(1, ?)", (version,))
            return msgspec.structs.replace(policy, version=version or 0)

        return await self._unit.write("add_policy", work)

    async def policies(self) -> list[PolicyRow]:
        return await self._unit.read(
            lambda db: [_policy(row) for row in db.execute(_POLICY + " order by p.version desc")]
        )

    async def policy(self, version: int) -> PolicyRow | None:
        return await self._unit.read(
            lambda db: _first(_policy(row) for row in db.execute(_POLICY + " where p.version = ?", (version,)))
        )

    async def policy_by_digest(self, digest: str) -> PolicyRow | None:
        sql = _POLICY + " where p.digest = ? order by p.version desc limit 1"
        return await self._unit.read(lambda db: _first(_policy(row) for row in db.execute(sql, (digest,))))

    async def active_policy(self) -> PolicyRow | None:
        sql = _POLICY + " join active_policy a on a.version = p.version"
        return await self._unit.read(lambda db: _first(_policy(row) for row in db.execute(sql)))

    async def activate(self, version: int) -> bool:
        sql = "insert or replace into active_policy select 1, version from policy where version = ?"
        return await self._unit.write("activate", lambda db: db.execute(sql, (version,)).rowcount == 1)

    async def sign_in(self, sign_in: SignIn, key: str) -> None:
        await self._unit.write(
            "sign_in",
            lambda db: db.execute(
                "insert into sign_in values(?, ?, ?, ?)", (sign_in.id, sign_in.person, sign_in.expires, key)
            ),
        )

    async def signed_in(self, identifier: str, now: Instant) -> str:
        sql = (
            "select s.person from sign_in s join access_key k on k.id = s.key where s.id = ? and s.expires > ? and not k.revoked "
            "and (k.expires = 0 or k.expires > ?)"
        )
        row = await self._unit.read(lambda db: db.execute(sql, (identifier, now, now)).fetchone())
        return "" if row is None else str(row["person"])

    async def sign_out(self, identifier: str) -> None:
        await self._unit.write("sign_out", lambda db: db.execute("delete from sign_in where id = ?", (identifier,)))


def _first[T](rows: Iterable[T]) -> T | None:
    return next(iter(rows), None)


def _insert_key(db: sqlite3.Connection, key: KeyRow) -> None:
    db.execute(
        "insert into access_key values(?, ?, ?, ?, ?, ?, ?, ?)",
        (key.id, key.kind, key.name, key.hash, key.created, key.expires, int(key.revoked), key.public),
    )


def _key(row: sqlite3.Row) -> KeyRow:
    return KeyRow(
        row["id"],
        row["kind"],
        row["name"],
        row["hash"],
        row["created"],
        row["expires"],
        bool(row["revoked"]),
        row["public"],
    )


def _agent(row: sqlite3.Row) -> AgentRow:
    return AgentRow(
        row["name"], strings(row["groups_json"]), strings(row["owners_json"]), row["created"], bool(row["revoked"])
    )


def _person(row: sqlite3.Row) -> PersonRow:
    return PersonRow(row["person"], strings(row["roles_json"]), row["created"], bool(row["revoked"]))


def _edge(row: sqlite3.Row) -> EdgeRow:
    resources = msgspec.json.decode(row["resources_json"], type=tuple[RegisteredResource, ...])
    return EdgeRow(row["edge"], resources, strings(row["agents_json"]), row["created"])


def _policy(row: sqlite3.Row) -> PolicyRow:
    return PolicyRow(
        row["version"], row["digest"], row["text"], row["author"], row["comment"], row["created"], bool(row["active"])
    )
