"""The traps of PostgreSQL, each sprung by hand through the edge; what counts is what the server's own log says."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from edge_agent.protocols.postgres import messages as m
from gateway_kernel.audit import Decided, Finished, Outcome, Prepared
from tests.edge_agent.protocols.postgres.wire import Wire, run
from tests.support.world import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.edge_agent.protocols.postgres.conftest import Gate


@pytest.fixture
async def wire(edge: Gate) -> AsyncIterator[Wire]:
    connection = await Wire.connect(edge.port)
    yield connection
    connection.close()


def counted(edge: Gate) -> int:
    return edge.postgres.run("SELECT n FROM counter", edge.database)[0][0]


async def test_a_refusal_in_a_pipeline_undoes_what_went_before_it(edge: Gate, wire: Wire) -> None:
    """An allowed UPDATE, then a refused statement, one Sync: the client sees one error and nothing was changed."""
    answer = await wire.sync(run("UPDATE counter SET n = n + 1"), run("SELECT * FROM forbidden"))
    assert answer.codes == ["42501"]
    assert answer.errors[0]["M"] == "refused by rule forbidden-table"
    assert answer.errors[0]["D"] == "Nobody touches it."
    assert answer.status == "I"
    assert counted(edge) == 0
    assert (await wire.query("SELECT 1")).rows == [(b"1",)]


async def test_a_refusal_in_a_transaction_aborts_it_upstream(edge: Gate, wire: Wire) -> None:
    """The status byte is the server's own `E`, and COMMIT rolls back."""
    assert (await wire.query("BEGIN")).status == "T"
    assert (await wire.query("UPDATE counter SET n = n + 1")).tags == ["UPDATE 1"]
    refused = await wire.query("SELECT * FROM forbidden")
    assert (refused.codes, refused.status) == (["42501"], "E")
    assert (await wire.query("SELECT 1")).codes == ["25P02"]
    committed = await wire.query("COMMIT")
    assert (committed.tags, committed.status) == (["ROLLBACK"], "I")
    assert counted(edge) == 0


async def test_a_refusal_outside_a_transaction_leaves_the_connection_usable(edge: Gate, wire: Wire) -> None:
    """A refused Query at rest brings an error and `I`, and nothing of it reaches the server."""
    refused = await wire.query("SELECT * FROM forbidden; SELECT 1")
    assert (refused.kinds, refused.status) == ("EZ", "I")
    assert not any("forbidden" in text for text in edge.ran())


async def test_the_same_refusal_in_the_extended_protocol_drops_what_follows_until_sync(edge: Gate, wire: Wire) -> None:
    """Messages behind the refused one are skipped as the server would skip them."""
    answer = await wire.sync(run("SELECT * FROM forbidden"), run("UPDATE counter SET n = n + 1"))
    assert (answer.kinds, answer.codes) == ("EZ", ["42501"])
    assert counted(edge) == 0


async def test_after_an_error_of_the_server_the_rest_of_the_pipeline_is_not_sent(edge: Gate, wire: Wire) -> None:
    """A division by zero fails the segment; the statement behind it has the outcome `not_sent` or was skipped."""
    answer = await wire.sync(run("SELECT 1/0"), run("UPDATE counter SET n = n + 1"))
    assert answer.codes == ["22012"]
    assert answer.status == "I"
    assert counted(edge) == 0


async def test_plain_reads_pipeline_and_answer_in_order(wire: Wire) -> None:
    """Many reads in one segment answer in order, with one ReadyForQuery."""
    reads = [run("SELECT v FROM t WHERE id = $1::int", str(i).encode()) for i in range(1, 6)]
    answer = await wire.sync(*reads)
    assert answer.rows == [(f"v{i}".encode(),) for i in range(1, 6)]
    assert answer.kinds == "12TDC" * 5 + "Z"


async def test_segments_sent_in_one_write_are_judged_one_after_the_other(edge: Gate, wire: Wire) -> None:
    """BEGIN, UPDATE, a refused read and COMMIT, each with its own Sync, all in one write: nothing is committed."""
    wire.send(
        run("BEGIN"),
        m.SYNC_MESSAGE,
        run("UPDATE counter SET n = n + 1"),
        m.SYNC_MESSAGE,
        run("SELECT * FROM forbidden"),
        m.SYNC_MESSAGE,
        run("COMMIT"),
        m.SYNC_MESSAGE,
    )
    statuses = [chr((await wire.until_ready())[-1][1][5]) for _ in range(4)]
    assert statuses == ["T", "T", "E", "I"]
    assert counted(edge) == 0


async def test_a_transaction_in_one_segment_is_followed(edge: Gate, wire: Wire) -> None:
    """BEGIN, a write and a refused statement in one segment, JDBC's way: it ends in `E`."""
    answer = await wire.sync(run("BEGIN"), run("UPDATE counter SET n = n + 1"), run("SELECT * FROM forbidden"))
    assert (answer.codes, answer.status) == (["42501"], "E")
    assert (await wire.query("ROLLBACK")).status == "I"
    assert counted(edge) == 0


async def test_standard_conforming_strings_cannot_be_switched_off(edge: Gate, wire: Wire) -> None:
    """Where the server would read another language than the gate, the session ends."""
    edge.postgres.clear_journal()
    wire.send(m.query(b"SET standard_conforming_strings = off"))
    messages = await wire.until_ready()
    if messages[-1][0] == m.READY_FOR_QUERY:  # the policy's own answer: refused
        assert any(kind == m.ERROR_RESPONSE for kind, _ in messages)
    else:
        assert m.read_report(messages[-2][1])["C"] == "08P01"


async def test_the_function_call_message_is_refused(wire: Wire) -> None:
    """It names a function by number, which nobody can judge."""
    wire.send(m.message(m.FUNCTION_CALL, b"\0\0\0\x01\0\0\0\0\0\0"))
    messages = await wire.until_ready()
    assert [chr(kind) for kind, _ in messages] == ["E", "Z"]
    assert m.read_report(messages[0][1])["C"] == "42501"
    assert (await wire.query("SELECT 1")).rows == [(b"1",)]


async def test_unknown_names_are_denied(wire: Wire) -> None:
    """A statement or portal that the edge has not seen does not exist."""
    bound = m.bind(m.Bind(b"", b"ghost", (), (), ()))
    assert (await wire.sync(bound)).codes == ["26000"]
    assert (await wire.sync(m.execute(b"ghost"))).codes == ["34000"]
    assert (await wire.sync(m.describe(b"S", b"ghost"))).codes == ["26000"]
    assert (await wire.query("EXECUTE ghost")).codes == ["26000"]


async def test_sql_prepare_and_protocol_statements_share_one_name_space(edge: Gate, wire: Wire) -> None:
    """PREPARE makes a name that Bind may use, Parse makes one that EXECUTE may use, and both are judged by their text."""
    assert (await wire.query("PREPARE p AS SELECT v FROM t WHERE id = $1")).tags == ["PREPARE"]
    bound = m.bind(m.Bind(b"", b"p", (0,), (b"2",), ()))
    assert (await wire.sync(bound, m.execute(b""))).rows == [(b"v2",)]
    assert (await wire.query("EXECUTE p(3)")).rows == [(b"v3",)]
    await wire.sync(m.parse(b"q", b"SELECT v FROM t WHERE id = 4"))
    assert (await wire.query("EXECUTE q")).rows == [(b"v4",)]
    assert (await wire.query("DEALLOCATE p")).tags == ["DEALLOCATE"]
    assert (await wire.sync(bound)).codes == ["26000"]


async def test_a_failed_parse_leaves_no_name(wire: Wire) -> None:
    """What the server did not prepare cannot be bound."""
    assert (await wire.sync(m.parse(b"bad", b"SELECT no_such_column FROM t"))).codes == ["42703"]
    assert (await wire.sync(m.bind(m.Bind(b"", b"bad", (), (), ())))).codes == ["26000"]


async def test_a_portal_is_fetched_in_parts_as_one_operation(edge: Gate, wire: Wire) -> None:
    """Execute continues the bound operation; a second Bind is a new one."""
    await wire.query("BEGIN")
    first = await wire.sync(run("SELECT id FROM t ORDER BY id", portal=b"c", max_rows=2))
    assert first.rows == [(b"1",), (b"2",)]
    assert "s" in first.kinds
    second = await wire.sync(m.execute(b"c", 2))
    assert second.rows == [(b"3",), (b"4",)]
    third = await wire.sync(m.execute(b"c", 2))
    assert (third.rows, third.tags) == ([(b"5",)], ["SELECT 1"])
    await wire.query("COMMIT")
    events = await edge.plane.events(lambda event: isinstance(event.body, Finished) and event.body.detail == "COMMIT")
    fetched = [event.body for event in events if isinstance(event.body, Finished) and event.body.detail == "SELECT 1"]
    assert len(fetched) == 1
    assert fetched[0].response is not None
    assert fetched[0].response.rows == 5


async def test_cursors_are_judged_as_their_query(wire: Wire) -> None:
    """DECLARE over a forbidden table is refused; FETCH reads what was declared; an unknown cursor is denied."""
    await wire.query("BEGIN")
    assert (await wire.query("DECLARE good CURSOR FOR SELECT v FROM t ORDER BY id")).tags == ["DECLARE CURSOR"]
    assert (await wire.query("FETCH 2 FROM good")).rows == [(b"v1",), (b"v2",)]
    assert (await wire.query("MOVE 1 FROM good")).tags == ["MOVE 1"]
    assert (await wire.query("FETCH FROM nobody")).codes == ["34000"]
    await wire.query("ROLLBACK")
    await wire.query("BEGIN")
    assert (await wire.query("DECLARE bad CURSOR FOR SELECT * FROM forbidden")).codes == ["42501"]
    await wire.query("ROLLBACK")


async def test_a_temporary_table_of_the_session_is_seen(wire: Wire) -> None:
    """Catalogue facts are asked on the session's own connection and in its transaction."""
    await wire.query("BEGIN")
    assert (await wire.query("CREATE TEMP TABLE mine (id int)")).tags == ["CREATE TABLE"]
    assert (await wire.query("INSERT INTO mine VALUES (1)")).tags == ["INSERT 0 1"]
    assert (await wire.query("SELECT id FROM mine")).rows == [(b"1",)]
    assert (await wire.query("ROLLBACK")).status == "I"
    assert (await wire.query("SELECT id FROM mine")).codes == ["42P01"]


async def test_search_path_is_followed_even_when_it_is_rolled_back(edge: Gate, wire: Wire) -> None:
    """The same text means another table under another search path, and is judged anew each time."""
    edge.postgres.run("CREATE SCHEMA other; CREATE TABLE other.forbidden (id int)", edge.database)
    assert (await wire.query("SELECT * FROM forbidden")).codes == ["42501"]
    await wire.query("BEGIN")
    assert (await wire.query("SET LOCAL search_path = other")).tags == ["SET"]
    assert (await wire.query("SELECT * FROM forbidden")).tags == ["SELECT 0"]
    await wire.query("ROLLBACK")
    assert (await wire.query("SELECT * FROM forbidden")).codes == ["42501"]


async def test_a_barrier_is_answered_before_anything_behind_it_is_judged(edge: Gate, wire: Wire) -> None:
    """SET search_path and a read of the renamed table in one write: the read is judged under the new path."""
    edge.postgres.run("CREATE SCHEMA other; CREATE TABLE other.forbidden (id int)", edge.database)
    edge.postgres.run("CREATE TABLE other.t (id int)", edge.database)
    answer = await wire.sync(
        run("SET search_path = other"), run("SELECT count(*) FROM t"), run("SELECT * FROM forbidden")
    )
    assert answer.codes == []
    assert answer.tags == ["SET", "SELECT 1", "SELECT 0"]
    await wire.query("SET search_path = other")
    await wire.query("SELECT 1")
    answer = await wire.sync(run("SET search_path = public"), run("SELECT * FROM forbidden"))
    assert answer.codes == ["42501"]


async def test_a_view_that_runs_code_is_denied_at_bind_and_at_parse(edge: Gate, wire: Wire) -> None:
    """A view that purges is `execute`, and no policy rule here allows it."""
    edge.postgres.run(
        "CREATE FUNCTION purge() RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
        " $$ BEGIN UPDATE counter SET n = n + 100; RETURN 1; END $$; CREATE VIEW v AS SELECT purge() AS p",
        edge.database,
    )
    assert (await wire.query("SELECT * FROM v")).codes == ["42501"]
    assert (await wire.sync(run("SELECT * FROM v"))).codes == ["42501"]
    assert (await wire.sync(run("SELECT * FROM t WHERE id = purge()"))).codes == ["42501"]
    assert counted(edge) == 0


async def test_vacuum_still_works_in_one_segment(wire: Wire) -> None:
    """The edge's own questions are not part of the client's transaction."""
    assert (await wire.sync(run("VACUUM t"))).codes in ([], ["42501"])


async def test_parse_is_recorded_and_each_bind_is_an_operation(edge: Gate, wire: Wire) -> None:
    """One Parse, two Binds: one Prepared, two Finished with their rows."""
    await wire.sync(m.parse(b"s", b"SELECT v FROM t WHERE id = $1::int"))
    for value in (b"1", b"2"):
        await wire.sync(m.bind(m.Bind(b"", b"s", (0,), (value,), ())), m.execute(b""))
    wire.close()
    events = await edge.plane.events(lambda event: type(event.body).__name__ == "SessionClosed")
    prepared = [event.body for event in events if isinstance(event.body, Prepared)]
    finished = [event.body for event in events if isinstance(event.body, Finished)]
    assert [body.operation.text for body in prepared] == ["SELECT v FROM t WHERE id = $1::int"]
    assert [(body.outcome, body.detail) for body in finished] == [(Outcome.COMPLETED, "SELECT 1")] * 2
    assert all(b"v1" in f.response.body or b"v2" in f.response.body for f in finished if f.response)


async def test_an_unreadable_text_is_refused_and_recorded(edge: Gate, wire: Wire) -> None:
    """What the parser cannot read is not forwarded."""
    assert (await wire.query("SELEC 1")).codes == ["42601"]
    events = await edge.plane.events(lambda event: isinstance(event.body, Decided))
    assert [event.body.verdict.rules for event in events if isinstance(event.body, Decided)] == [("unreadable",)]


async def test_an_oversize_statement_is_refused_and_the_connection_lives(wire: Wire) -> None:
    """More than a parser may be given is thrown away as it arrives."""
    wire.send(m.query(b"SELECT '" + b"x" * (2 * m.MiB) + b"'"))
    messages = await wire.until_ready()
    assert m.read_report(messages[0][1])["C"] == "54000"
    assert (await wire.query("SELECT 1")).rows == [(b"1",)]


async def test_a_deferred_constraint_fails_at_sync_and_the_outcome_says_so(edge: Gate, wire: Wire) -> None:
    """An error in answer to Sync belongs to the operations of the segment."""
    edge.postgres.run(
        "CREATE TABLE d (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO d VALUES (1)", edge.database
    )
    answer = await wire.sync(run("INSERT INTO d VALUES (1)"))
    assert (answer.codes, answer.status) == (["23505"], "I")
    events = await edge.plane.events(lambda event: isinstance(event.body, Finished))
    assert [event.body.outcome for event in events if isinstance(event.body, Finished)] == [Outcome.FAILED]


async def test_a_cancel_request_reaches_the_running_statement(edge: Gate, wire: Wire) -> None:
    """The key that the client got holds the server's own process id and works at the edge."""
    assert (await wire.query("SELECT pg_backend_pid()")).rows == [(str(wire.process).encode(),)]
    wire.send(m.query(b"SELECT count(*) FROM generate_series(1, 100000000000)"))

    def busy() -> bool:
        return bool(
            edge.postgres.run(f"SELECT 1 FROM pg_stat_activity WHERE pid = {wire.process} AND state = 'active'")
        )

    await asyncio.to_thread(eventually, busy, "the server is at it", 10.0)
    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(m.cancel_request(wire.process, wire.secret))
    messages = await wire.until_ready()
    assert m.read_report(messages[-2][1])["C"] == "57014"
    writer.close()


async def test_a_server_that_dies_mid_session_is_told_and_recorded(edge: Gate, wire: Wire) -> None:
    """The client gets a FATAL error and the operation is `failed` or `unknown`, never `completed`."""
    wire.send(m.query(b"SELECT count(*) FROM generate_series(1, 100000000000)"))

    def kill() -> bool:
        query = f"SELECT pg_terminate_backend({wire.process}) FROM pg_stat_activity WHERE pid = {wire.process} AND state = 'active'"
        return bool(edge.postgres.run(query))

    await asyncio.to_thread(eventually, kill, "the server is at it", 10.0)
    messages = await wire.until_ready()
    assert messages[-1][0] == 0
    events = await edge.plane.events(lambda event: isinstance(event.body, Finished))
    outcomes = [event.body.outcome for event in events if isinstance(event.body, Finished)]
    assert set(outcomes) <= {Outcome.FAILED, Outcome.UNKNOWN}


async def test_notifications_arrive(edge: Gate, wire: Wire) -> None:
    """LISTEN works, and a notification comes with the server's process id."""
    listened = await wire.query("LISTEN news")
    if listened.codes:
        pytest.fail(f"LISTEN was refused: {listened.errors}")
    await asyncio.to_thread(edge.postgres.run, "NOTIFY news, 'hello'", edge.database)
    kind, raw = await wire.message()
    assert kind == m.NOTIFICATION_RESPONSE
    assert raw.endswith(b"news\0hello\0")
