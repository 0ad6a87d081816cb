"""Bad peers, and how connections end."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

import pytest

from edge_agent.protocols.postgres import messages as m
from gateway_kernel.audit import Finished, Noted, Outcome, SessionClosed
from tests.edge_agent.protocols.postgres.conftest import SCHEMA, gate
from tests.edge_agent.protocols.postgres.wire import Wire, run
from tests.support.world import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.edge_agent.protocols.postgres.conftest import Gate
    from tests.support.control_plane import ControlPlane
    from tests.support.postgres import Postgres


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x01\0\0\0\4",
        m.message(m.PASSWORD, b"again\0"),
        struct.pack("!BI", m.QUERY, 3),
        struct.pack("!BI", m.SYNC, 1 << 20),
        m.message(m.QUERY, b"no end"),
        m.message(m.BIND, b"\0\0\0\7"),
        m.message(m.DESCRIBE, b"X\0"),
    ],
)
async def test_a_client_that_breaks_the_protocol_is_told_and_closed(edge: Gate, garbage: bytes) -> None:
    """08P01, FATAL, recorded; the next client is served."""
    wire = await Wire.connect(edge.port)
    wire.send(garbage)
    messages = await wire.until(0)
    fields = m.read_report(messages[0][1])
    assert (fields["C"], fields["S"]) == ("08P01", "FATAL")
    events = await edge.plane.events(lambda event: isinstance(event.body, SessionClosed))
    assert any(isinstance(event.body, Noted) and event.body.what == "protocol-violation" for event in events)
    other = await Wire.connect(edge.port)
    assert (await other.query("SELECT 1")).rows == [(b"1",)]
    other.close()


@pytest.mark.parametrize("opening", [b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\7", b"", b"\x16\x03\x01\x02\0\1"])
async def test_strangers_are_closed(edge: Gate, opening: bytes) -> None:
    """What does not begin as PostgreSQL gets no session."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(opening)
    if not opening:
        writer.write_eof()
    async with asyncio.timeout(10):
        await reader.read()
    writer.close()


async def test_a_client_that_leaves_while_its_statement_runs(edge: Gate) -> None:
    """The statement ends upstream and its true outcome is recorded."""
    wire = await Wire.connect(edge.port)
    wire.send(m.query(b"UPDATE counter SET n = n + 1 WHERE (SELECT count(*) FROM generate_series(1, 300000)) > 0"))

    def begun() -> bool:
        return bool(
            edge.postgres.run(f"SELECT 1 FROM pg_stat_activity WHERE pid = {wire.process} AND query LIKE 'UPDATE%'")
        )

    await asyncio.to_thread(eventually, begun, "the server is at it", 10.0)
    wire.writer.transport.abort()
    events = await edge.plane.events(lambda event: isinstance(event.body, SessionClosed))
    outcomes = [event.body.outcome for event in events if isinstance(event.body, Finished)]
    assert outcomes == [Outcome.COMPLETED]
    assert edge.postgres.run("SELECT n FROM counter", edge.database) == [(1,)]


async def test_a_pipeline_without_sync_is_rolled_back_when_the_client_leaves(
    edge: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was committed, and nobody says `completed`."""
    monkeypatch.setattr("edge_agent.protocols.postgres.frontend.LINGER", 0.2)
    wire = await Wire.connect(edge.port)
    wire.send(run("UPDATE counter SET n = n + 1"), m.FLUSH_MESSAGE)
    await wire.until(m.COMMAND_COMPLETE)
    wire.writer.transport.abort()
    events = await edge.plane.events(lambda event: isinstance(event.body, SessionClosed))
    outcomes = [event.body.outcome for event in events if isinstance(event.body, Finished)]
    assert Outcome.COMPLETED not in outcomes
    assert edge.postgres.run("SELECT n FROM counter", edge.database) == [(0,)]


async def test_a_reader_that_stops_does_not_fill_the_edge(edge: Gate) -> None:
    """While the client does not read, the server is not read either; afterwards every row arrives."""
    wire = await Wire.connect(edge.port)
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
    wire.send(m.query(b"SELECT repeat('x', 1000) FROM generate_series(1, 60000)"))

    def stuck() -> bool:
        query = f"SELECT 1 FROM pg_stat_activity WHERE pid = {wire.process} AND wait_event = 'ClientWrite'"
        return bool(edge.postgres.run(query))

    await asyncio.to_thread(eventually, stuck, "the server is at it", 10.0)
    wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
    messages = await wire.until_ready()
    assert sum(kind == m.DATA_ROW for kind, _ in messages) == 60_000
    wire.close()


async def test_a_wrapped_query_behind_an_open_pipeline_is_refused(edge: Gate) -> None:
    """A simple query that must be read only cannot be made so behind messages without a Sync."""
    wire = await Wire.connect(edge.port)
    wire.send(run("UPDATE counter SET n = n + 1"), m.query(b"SELECT id FROM capped"))
    messages = await wire.until_ready()
    errors = [m.read_report(raw)["C"] for kind, raw in messages if kind == m.ERROR_RESPONSE]
    assert errors == ["0A000"]
    assert edge.postgres.run("SELECT n FROM counter", edge.database) == [(0,)]
    wire.close()


async def test_a_server_that_is_down_is_told(
    tmp_path: Path, plane: ControlPlane, postgres: Postgres, database: str
) -> None:
    """The agent hears that the server cannot be reached, and no secret."""
    postgres.run(SCHEMA, database)
    async with gate(tmp_path, plane, postgres, database + "_missing") as edge:
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        wire = Wire(reader, writer)
        wire.send(m.startup({"user": "ci-bot", "database": "orders-db"}))
        await wire.message()
        from tests.support.control_plane import AGENT_KEY

        wire.send(m.message(m.PASSWORD, AGENT_KEY.encode() + b"\0"))
        kind, raw = await wire.message()
        assert kind == m.ERROR_RESPONSE
        assert m.read_report(raw)["C"] == "3D000"
        assert postgres.password.encode() not in raw
        wire.close()


async def test_observe_mode_forwards_what_would_be_denied(
    tmp_path: Path, plane: ControlPlane, postgres: Postgres, database: str
) -> None:
    """In observe mode a forbidden read passes, masks nothing, and is recorded with its verdict; the unreadable stays refused."""
    postgres.run(SCHEMA, database)
    async with gate(tmp_path, plane, postgres, database, mode="observe") as edge:
        wire = await Wire.connect(edge.port)
        assert (await wire.query("SELECT * FROM forbidden")).rows == [(b"1",)]
        assert (await wire.sync(run("SELECT * FROM forbidden"))).rows == [(b"1",)]
        assert (await wire.query("DELETE FROM t WHERE id = 1")).tags == ["DELETE 1"]
        assert (await wire.query("SELEC")).codes == ["42601"]
        wire.close()
