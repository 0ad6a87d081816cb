"""A real worker with the PostgreSQL room between real clients and a real server; the control plane is a stand-in."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from edge_agent.protocols.postgres.room import PostgresRoom
from gateway_kernel.contract import RegisteredResource
from tests.support.control_plane import AGENT_KEY, EDGE_KEY, ControlPlane
from tests.support.edge_worker import running_worker

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
    from pathlib import Path

    from edge_agent.worker import Worker
    from tests.support.postgres import Postgres

LIMIT = 20.0  # seconds for anything that a test waits for

POLICY = """
version: 1
default: deny
groups: {dba: [ann@example.com]}
rules:
- id: most
  when: operation.effects.all(e, e.kind in ["read", "write", "transaction", "session", "schema", "transfer"])
  then: allow
- id: known-code
  when: operation.effects.exists(e, e.kind == "execute" && e.object.startsWith("public.allowed"))
  then: allow
- id: deletes-need-a-person
  when: operation.effects.exists(e, e.kind == "delete")
  then: review
  review: {approvers: [dba], expires: 2h}
- id: reviewed-copy
  when: operation.effects.exists(e, e.object == "public.reviewed")
  then: review
  review: {approvers: [dba], expires: 2h}
- id: forbidden-table
  when: operation.effects.exists(e, e.object == "public.forbidden")
  then: deny
  reason: Nobody touches it.
- id: capped
  when: operation.effects.exists(e, e.object == "public.capped")
  then: rewrite
  rewrite: {limit: 2, read_only: true}
- id: hide-mail
  when: "true"
  then: mask
  mask:
  - {columns: ["customers.email"], with: redact, filter: deny}
  - {detect: [credit_card], with: redact}
- id: record
  when: "true"
  then: record
  record: {responses: full}
"""

SCHEMA = """
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 5) i;
CREATE TABLE counter (n int);
INSERT INTO counter VALUES (0);
CREATE TABLE forbidden (id int);
INSERT INTO forbidden VALUES (1);
CREATE TABLE reviewed (id int, v text);
CREATE TABLE capped (id int);
INSERT INTO capped SELECT generate_series(1, 5);
CREATE TABLE notes (id int, note text);
INSERT INTO notes VALUES (1, 'card 4111 1111 1111 1111 here'), (2, 'plain');
CREATE TABLE customers (id int PRIMARY KEY, name text, email text CHECK (email LIKE '%@%'));
INSERT INTO customers VALUES (1, 'ann', 'ann@canary.example'), (2, 'bob', 'bob@canary.example');
"""

TWO_TABLES = """
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 5) i;
CREATE TABLE long (id int PRIMARY KEY, v text);
INSERT INTO long SELECT i, repeat(chr(96 + i), 20000) FROM generate_series(1, 5) i;
"""


class Gate:
    """A running edge in front of one database."""

    def __init__(
        self,
        worker: Worker,
        room: PostgresRoom,
        port: int,
        plane: ControlPlane,
        postgres: Postgres,
        database: str,
        directory: Path,
    ) -> None:
        self.directory = directory
        self.worker = worker
        self.room = room
        self.port = port
        self.plane = plane
        self.postgres = postgres
        self.database = database

    @property
    def url(self) -> str:
        return f"postgresql://ci-bot:{AGENT_KEY}@127.0.0.1:{self.port}/orders-db?sslmode=disable"

    async def connect(self, *, autocommit: bool = True, **more: object) -> psycopg.AsyncConnection[tuple[object, ...]]:
        """psycopg through the edge."""
        async with asyncio.timeout(LIMIT):
            return await psycopg.AsyncConnection.connect(self.url, autocommit=autocommit, **more)  # type: ignore[arg-type]

    def ran(self) -> list[str]:
        """What upstream executed in this database for agents, without the gateway's own questions."""
        return [
            ran.text
            for ran in self.postgres.journal(self.database)
            if ran.kind != "error" and ran.application.startswith("ci-bot/") and "pg_catalog" not in ran.text.lower()
        ]


@asynccontextmanager
async def gate(
    directory: Path, plane: ControlPlane, postgres: Postgres, database: str, mode: str = "enforce", **more: object
) -> AsyncGenerator[Gate]:
    """Run one worker with the room until the block ends, then drain it."""
    secret = directory / "credential"
    secret.write_text(postgres.password)
    secret.chmod(0o600)
    keys = {"data_dir": "./data", "drain": "2s", **more}
    url = f"postgresql://postgres@127.0.0.1:{postgres.port}/{database}"
    (directory / "edge.yaml").write_text(
        f"control_plane: {{url: '{plane.url}'}}\n"
        + "".join(f"{key}: {value}\n" for key, value in keys.items())
        + "listeners: {postgres: '127.0.0.1:0'}\n"
        "resources:\n"
        f"- {{name: orders-db, protocol: postgres, upstream: '{url}', credential: 'file://{secret}', mode: {mode}, labels: {{env: prod}}}}\n"
    )
    room = PostgresRoom()
    async with running_worker(directory / "edge.yaml", room) as (worker, port):
        yield Gate(worker, room, port, plane, postgres, database, directory)


@pytest.fixture(autouse=True)
def edge_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge's key, and bundles that come soon."""
    monkeypatch.setenv("SALLYPORT_EDGE_KEY", EDGE_KEY)
    monkeypatch.setattr("edge_agent.worker.POLL_BUNDLE", 0.05)


@pytest.fixture(scope="module")
def original(postgres: Postgres) -> Iterator[str]:
    """A database to be copied: its copies have the same oids."""
    name = postgres.create_database(TWO_TABLES)
    yield name
    postgres.drop_database(name)


@pytest.fixture
async def plane() -> AsyncIterator[ControlPlane]:
    """A control plane with a policy that shows every verdict."""
    control = ControlPlane(POLICY)
    control.resources = (RegisteredResource("orders-db", "postgres", {"env": "prod"}),)
    async with control:
        yield control


@pytest.fixture
async def edge(tmp_path: Path, plane: ControlPlane, postgres: Postgres, database: str) -> AsyncIterator[Gate]:
    """An edge in front of a fresh database with a few tables."""
    postgres.run(SCHEMA, database)
    async with gate(tmp_path, plane, postgres, database) as running:
        yield running
