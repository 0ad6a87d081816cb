"""Masking and rewrites through the engine: no canary in the client's bytes, whatever the protocol and format."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from edge_agent.protocols.postgres import messages as m
from gateway_kernel.audit import Finished, Sending
from tests.edge_agent.protocols.postgres.wire import Answer, Wire, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.edge_agent.protocols.postgres.conftest import Gate

CANARY = b"canary"


@pytest.fixture
async def wire(edge: Gate) -> AsyncIterator[Wire]:
    connection = await Wire.connect(edge.port)
    yield connection
    connection.close()


def seen(answer: Answer) -> bytes:
    return b"".join(raw for _, raw in answer.messages)


async def test_a_masked_column_is_masked_in_both_protocols_and_formats(wire: Wire) -> None:
    """Simple, extended with and without Describe, text and binary: the neighbour columns stay."""
    sql = b"SELECT id, name, email FROM customers ORDER BY id"
    simple = await wire.query(sql.decode())
    assert [row[1] for row in simple.rows] == [b"ann", b"bob"]
    bound = m.Bind(b"", b"", (), (), (1,))
    undescribed = await wire.sync(m.parse(b"", sql), m.bind(bound), m.execute(b""))
    assert undescribed.kinds == "12DDCZ"
    described = await wire.sync(
        m.parse(b"s", sql), m.describe(b"S", b"s"), m.bind(m.Bind(b"", b"s", (), (), ())), m.execute(b"")
    )
    for answer in (simple, undescribed, described):
        assert len(answer.rows) == 2
        assert CANARY not in seen(answer)
        assert all(row[2] not in (None, b"") for row in answer.rows)


async def test_a_masked_column_under_an_expression_is_refused(wire: Wire) -> None:
    """It may appear only bare in a select list."""
    for sql in (
        "SELECT upper(email) FROM customers",
        "SELECT id FROM customers ORDER BY email",
        "SELECT id FROM customers WHERE email < 'c'",
        "SELECT row_to_json(customers) FROM customers",
        "COPY customers TO STDOUT",
        "CREATE TABLE stolen AS SELECT email FROM customers",
    ):
        answer = await wire.query(sql)
        assert CANARY not in seen(answer), sql
        assert answer.codes == ["42501"] or all(CANARY not in (value or b"") for row in answer.rows for value in row), (
            sql
        )


async def test_errors_that_touch_a_masked_relation_keep_only_code_and_constraint(wire: Wire) -> None:
    """The server's DETAIL would show the row."""
    answer = await wire.query("INSERT INTO customers VALUES (3, 'eve', 'canary-without-at')")
    assert answer.codes == ["23514"]
    assert answer.errors[0]["n"] == "customers_email_check"
    assert CANARY not in seen(answer)
    answer = await wire.sync(run("UPDATE customers SET name = NULL, id = 1"))
    assert answer.codes == ["23505"]
    assert CANARY not in seen(answer)


async def test_detectors_mask_content_in_rows_copy_and_notifications(edge: Gate, wire: Wire) -> None:
    """A card number is hidden wherever it flows."""
    assert b"4111" not in seen(await wire.query("SELECT note FROM notes"))
    for options in ("", " WITH (FORMAT csv)"):
        copied = await wire.query(f"COPY notes TO STDOUT{options}")
        assert copied.tags == ["COPY 2"]
        assert b"plain" in seen(copied)
        assert b"4111" not in seen(copied)
    binary = await wire.query("COPY notes TO STDOUT WITH (FORMAT binary)")
    assert b"4111" not in seen(binary)
    await wire.query("LISTEN news")
    await asyncio.to_thread(edge.postgres.run, "NOTIFY news, 'pay 4111 1111 1111 1111'", edge.database)
    kind, raw = await wire.message()
    assert kind == m.NOTIFICATION_RESPONSE
    assert b"4111" not in raw


async def test_the_recording_holds_the_response_as_masked(edge: Gate, wire: Wire) -> None:
    """Nobody reads in the recording what the agent was not shown."""
    await wire.query("SELECT email, name FROM customers")
    wire.close()
    events = await edge.plane.events(lambda event: type(event.body).__name__ == "SessionClosed")
    finished = [event.body for event in events if isinstance(event.body, Finished)]
    assert finished[0].response is not None
    assert b"ann" in finished[0].response.body
    assert CANARY not in finished[0].response.body
    assert finished[0].response.rows == 2
    assert sum(finished[0].response.masked.values()) >= 2


async def test_an_autocommit_read_runs_limited_and_read_only(edge: Gate, wire: Wire) -> None:
    """A Query is wrapped, the wrapper is not shown, the status byte is right, and the recording shows both texts."""
    answer = await wire.query("SELECT id FROM capped ORDER BY id")
    assert (answer.kinds, answer.rows) == ("TDDCZ", [(b"1",), (b"2",)])
    assert answer.status == "I"
    ran = edge.ran()
    assert ran[0] == "BEGIN READ ONLY"
    assert ran[-1] == "COMMIT"
    failed = await wire.query("SELECT id / 0 FROM capped")
    assert (failed.codes, failed.status) == (["22012"], "I")
    assert edge.ran()[-1] == "ROLLBACK"
    wire.close()
    events = await edge.plane.events(lambda event: type(event.body).__name__ == "SessionClosed")
    sending = [event.body for event in events if isinstance(event.body, Sending)]
    assert sending[0].rewritten_from == "SELECT id FROM capped ORDER BY id"
    assert sending[0].operation is not None
    assert "LIMIT 2" in sending[0].operation.text


async def test_a_portal_runs_limited_and_read_only(edge: Gate, wire: Wire) -> None:
    """The segment's transaction is made read only before Bind; nothing of it is shown."""
    answer = await wire.sync(run("SELECT id FROM capped WHERE id > $1::int ORDER BY id", b"1"))
    assert (answer.kinds, answer.rows) == ("12TDDCZ", [(b"2",), (b"3",)])
    journal = [ran.text for ran in edge.postgres.journal(edge.database) if ran.application.startswith("ci-bot/")]
    at = next(i for i, text in enumerate(journal) if "transaction_read_only', 'on'" in text)
    assert "LIMIT 2" in journal[at + 1]
    assert (await wire.sync(run("UPDATE counter SET n = 5"))).tags == ["UPDATE 1"]


@pytest.mark.parametrize("extended", [False, True])
async def test_inside_a_transaction_a_savepoint_carries_the_read_only_part(
    edge: Gate, wire: Wire, extended: bool
) -> None:
    """The client's transaction may write before and after, and its own savepoints stand."""

    async def ask(sql: str) -> Answer:
        return await (wire.sync(run(sql)) if extended else wire.query(sql))

    await ask("BEGIN")
    assert (await ask("UPDATE counter SET n = n + 1")).tags == ["UPDATE 1"]
    await ask("SAVEPOINT mine")
    limited = await ask("SELECT id FROM capped ORDER BY id")
    assert (limited.codes, limited.rows, limited.status) == ([], [(b"1",), (b"2",)], "T")
    assert (await ask("UPDATE counter SET n = n + 1")).tags == ["UPDATE 1"]
    assert (await ask("ROLLBACK TO mine")).status == "T"
    assert (await ask("COMMIT")).tags == ["COMMIT"]
    assert edge.postgres.run("SELECT n FROM counter", edge.database) == [(1,)]


async def test_a_failing_read_only_part_leaves_the_transaction_failed(wire: Wire) -> None:
    """The savepoint must not revive a transaction that the server calls failed."""
    await wire.query("BEGIN")
    answer = await wire.query("SELECT id / 0 FROM capped")
    assert (answer.codes, answer.status) == (["22012"], "E")
    assert (await wire.query("ROLLBACK")).status == "I"


async def test_a_partial_fetch_that_cannot_be_read_only_is_refused_clearly(wire: Wire) -> None:
    """Inside a read-only transaction it needs no savepoint, so there it is allowed."""
    await wire.query("BEGIN")
    answer = await wire.sync(run("SELECT id FROM capped", portal=b"c", max_rows=1))
    assert answer.codes == ["0A000"]
    assert "READ ONLY" in answer.errors[0]["H"]
    await wire.query("ROLLBACK")
    await wire.query("BEGIN READ ONLY")
    answer = await wire.sync(run("SELECT id FROM capped", portal=b"c", max_rows=1))
    assert (answer.codes, len(answer.rows)) == ([], 1)
    await wire.query("COMMIT")
