"""A client of an edge, for tests of turns: what it says, what it was told, and what was recorded of it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from edge_agent.protocols.postgres import messages as m
from gateway_kernel.audit import Finished, Outcome, Sending, SessionClosed, expanded
from gateway_kernel.contract import RegisteredResource
from tests.edge_agent.protocols.postgres.conftest import Gate, gate
from tests.edge_agent.protocols.postgres.wire import Answer, Wire
from tests.support.control_plane import ControlPlane

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from tests.support.postgres import Postgres

POLICY = """
version: 1
default: deny
rules:
- id: most
  when: operation.effects.all(e, e.kind in ["read", "write", "delete", "transaction", "session", "schema"])
  then: allow
- {id: record, when: 'true', then: record, record: {responses: full}}
"""
ORDINARY = 2
"""So often a statement goes the ordinary way before it is sent in the short one."""
STUCK = "SELECT v FROM t WHERE id = 1"


def extra(*rules: str) -> str:
    """The policy with more rules."""
    return POLICY + "".join(f"- {rule}\n" for rule in rules)


class Talk:
    """One client's conversation, and what it was told."""

    def __init__(self, edge: Gate, wire: Wire) -> None:
        self.edge, self.wire = edge, wire
        self.told: list[list[tuple[int, bytes]]] = []

    async def raw(self, *parts: bytes, ends: int = 1) -> Answer:
        """Send bytes, each part by itself, and wait for so many ReadyForQuery."""
        for part in parts:
            self.wire.send(part)
            await self.wire.writer.drain()
        answer: list[tuple[int, bytes]] = []
        for _ in range(ends):
            answer += await self.wire.until_ready()
        self.told.append(answer)
        return Answer(answer)

    async def query(self, sql: str) -> Answer:
        return await self.raw(m.query(sql.encode()))

    async def prepare(self, sql: str, name: bytes = b"s") -> None:
        await self.raw(m.parse(name, sql.encode()) + m.SYNC_MESSAGE)


@asynccontextmanager
async def talking(directory: Path, postgres: Postgres, original: str, policy: str) -> AsyncGenerator[Talk]:
    """A client of an edge in front of a fresh database."""
    database = postgres.create_database(template=original)
    plane = ControlPlane(policy)
    plane.resources = (RegisteredResource("orders-db", "postgres", {"env": "prod"}),)
    try:
        async with plane, gate(directory, plane, postgres, database) as edge:
            talk = Talk(edge, await Wire.connect(edge.port))
            yield talk
            talk.wire.close()
            await plane.events(lambda event: isinstance(event.body, SessionClosed))
    finally:
        postgres.drop_database(database)


def ends(talk: Talk) -> list[tuple[Outcome, str]]:
    """The outcome and detail of every operation, in the order in which they ended."""
    events = talk.edge.plane.stored()
    assert sum(isinstance(event.body, Sending) for event in expanded(events)) == sum(
        isinstance(event.body, Finished) for event in events
    )
    return [(event.body.outcome, event.body.detail) for event in events if isinstance(event.body, Finished)]


DONE = (Outcome.COMPLETED, "SELECT 1")
