"""Operations that wait for people: what the client hears meanwhile, and what becomes of its transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from edge_agent.protocols.postgres import messages as m
from gateway_kernel.audit import Finished, Outcome, Pending
from gateway_kernel.review import State
from tests.edge_agent.protocols.postgres.conftest import SCHEMA, gate
from tests.edge_agent.protocols.postgres.wire import Answer, Wire, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.edge_agent.protocols.postgres.conftest import Gate
    from tests.support.control_plane import ControlPlane
    from tests.support.postgres import Postgres


@pytest.fixture
async def wire(edge: Gate) -> AsyncIterator[Wire]:
    connection = await Wire.connect(edge.port)
    yield connection
    connection.close()


@pytest.fixture
async def impatient(tmp_path: Path, plane: ControlPlane, postgres: Postgres, database: str) -> AsyncIterator[Gate]:
    """An edge that holds nobody for long."""
    postgres.run(SCHEMA, database)
    async with gate(tmp_path, plane, postgres, database, hold="1s", hold_in_transaction="1s") as running:
        yield running


def left(edge: Gate) -> int:
    return edge.postgres.run("SELECT count(*) FROM t", edge.database)[0][0]


async def notice(wire: Wire) -> dict[str, str]:
    kind, raw = await wire.message()
    while kind in (m.PARSE_COMPLETE, m.BIND_COMPLETE):
        kind, raw = await wire.message()
    assert kind == m.NOTICE_RESPONSE, (chr(kind), raw)
    return m.read_report(raw)


@pytest.mark.parametrize("extended", [False, True])
async def test_an_approved_delete_runs_with_the_parameters_that_were_seen(
    edge: Gate, wire: Wire, extended: bool
) -> None:
    """The client hears a notice at once; after the approval exactly that statement ran."""
    if extended:
        wire.send(run("DELETE FROM t WHERE id = $1::int", b"2"), m.SYNC_MESSAGE)
    else:
        wire.send(m.query(b"DELETE FROM t WHERE id = 2"))
    heard = await notice(wire)
    assert "r-1" in heard["M"]
    review = await edge.plane.review()
    assert left(edge) == 5
    await edge.plane.settle(review, State.APPROVED)
    answer = Answer(await wire.until_ready())
    assert (answer.tags, answer.status) == (["DELETE 1"], "I")
    assert left(edge) == 4
    if extended:
        assert review.submission.operation.parameters[0].value == b"2"


async def test_a_denied_review_is_an_error_and_nothing_ran(edge: Gate, wire: Wire) -> None:
    """The approver's reason stands in DETAIL."""
    wire.send(m.query(b"DELETE FROM t"))
    await notice(wire)
    await edge.plane.settle(await edge.plane.review(), State.DENIED, "not today")
    answer = Answer(await wire.until_ready())
    assert answer.codes == ["42501"]
    assert "not today" in answer.errors[0]["D"]
    assert left(edge) == 5


async def test_the_hold_ends_with_55000_and_the_same_operation_joins_the_review(impatient: Gate) -> None:
    """The review is named; sent again, the same text meets the same review and then runs."""
    wire = await Wire.connect(impatient.port)
    wire.send(m.query(b"DELETE FROM t WHERE id = 1"))
    await notice(wire)
    answer = Answer(await wire.until_ready())
    assert answer.codes == ["55000"]
    assert "r-1" in answer.errors[0]["M"]
    assert answer.status == "I"
    wire.send(m.query(b"DELETE FROM t WHERE id = 1"))
    assert "r-1" in (await notice(wire))["M"]
    await impatient.plane.settle(await impatient.plane.review(), State.APPROVED)
    assert Answer(await wire.until_ready()).tags == ["DELETE 1"]
    assert len(impatient.plane.reviews) == 1
    wire.close()


async def test_a_hold_inside_a_transaction_aborts_it(impatient: Gate) -> None:
    """Locks are not kept while people think: the transaction fails upstream, and nothing of it stays."""
    wire = await Wire.connect(impatient.port)
    await wire.query("BEGIN")
    await wire.query("UPDATE counter SET n = n + 1")
    wire.send(m.query(b"DELETE FROM t"))
    await notice(wire)
    answer = Answer(await wire.until_ready())
    assert (answer.codes, answer.status) == (["55000"], "E")
    assert (await wire.query("COMMIT")).tags == ["ROLLBACK"]
    assert impatient.postgres.run("SELECT n FROM counter", impatient.database) == [(0,)]
    wire.close()


async def test_the_digest_in_a_transaction_covers_what_went_before(edge: Gate) -> None:
    """The same DELETE behind another statement is another operation, so it opens another review."""
    first, second = await Wire.connect(edge.port), await Wire.connect(edge.port)
    await first.query("BEGIN")
    await second.query("BEGIN")
    await second.query("UPDATE counter SET n = n + 1")
    for wire in (first, second):
        wire.send(m.query(b"DELETE FROM t"))
        await notice(wire)
    assert len({review.submission.digest for review in edge.plane.reviews.values()}) == 2
    first.close()
    second.close()


async def test_a_cancel_while_held_is_57014_and_withdraws_the_waiter(edge: Gate, wire: Wire) -> None:
    """The client's own cancel ends its wait; the connection lives."""
    wire.send(m.query(b"DELETE FROM t"))
    await notice(wire)
    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(m.cancel_request(wire.process, wire.secret))
    answer = Answer(await wire.until_ready())
    assert (answer.codes, answer.status) == (["57014"], "I")
    await edge.plane.until(lambda: edge.plane.reviews["r-1"].withdrawn_by)
    assert (await wire.query("SELECT 1")).rows == [(b"1",)]
    writer.close()


async def test_a_client_that_leaves_does_not_withdraw_the_review(edge: Gate, wire: Wire) -> None:
    """The review stands, and the operation is recorded as not sent."""
    wire.send(m.query(b"DELETE FROM t"))
    await notice(wire)
    wire.close()
    events = await edge.plane.events(lambda event: isinstance(event.body, Finished))
    assert [event.body.outcome for event in events if isinstance(event.body, Finished)] == [Outcome.NOT_SENT]
    assert any(isinstance(event.body, Pending) for event in events)
    assert edge.plane.reviews["r-1"].state is State.OPEN
    assert edge.plane.reviews["r-1"].withdrawn_by is None


async def test_reads_before_a_held_statement_are_answered_meanwhile(edge: Gate, wire: Wire) -> None:
    """In one pipeline the first read's rows arrive; the held statement's answer comes behind them."""
    wire.send(run("SELECT v FROM t WHERE id = 1"), run("DELETE FROM t WHERE id = 1"), m.FLUSH_MESSAGE, m.SYNC_MESSAGE)
    await edge.plane.settle(await edge.plane.review(), State.APPROVED)
    answer = Answer(await wire.until_ready())
    assert answer.tags == ["SELECT 1", "DELETE 1"]
    assert left(edge) == 4


async def test_an_approval_for_at_most_so_many_rows_holds(edge: Gate, wire: Wire) -> None:
    """A grant for one row: a DELETE of five is rolled back and said so, in both protocols and inside a transaction."""
    for number, (opening, request) in enumerate(
        [
            ("", m.query(b"DELETE FROM t WHERE id > 0")),
            ("", run("DELETE FROM t WHERE id > 1 - 1") + m.SYNC_MESSAGE),
            ("BEGIN", m.query(b"DELETE FROM t WHERE id > 2 - 2")),
        ],
        1,
    ):
        if opening:
            await wire.query(opening)
        wire.send(request)
        await edge.plane.settle(await edge.plane.review(number), State.APPROVED, max_rows=1)
        answer = Answer(await wire.until_ready())
        assert answer.codes == ["42501"], request
        assert answer.status == ("E" if opening else "I")
        if opening:
            await wire.query("ROLLBACK")
        assert left(edge) == 5
    wire.send(m.query(b"DELETE FROM t WHERE id = 5"))
    await edge.plane.settle(await edge.plane.review(4), State.APPROVED, max_rows=1)
    answer = Answer(await wire.until_ready())
    assert (answer.tags, answer.status) == (["DELETE 1"], "I")
    assert left(edge) == 4


async def test_copy_data_is_part_of_what_people_see(edge: Gate, wire: Wire) -> None:
    """A reviewed COPY FROM STDIN sends nothing upstream before the approval, and its data is in the digest."""
    wire.send(m.query(b"COPY reviewed FROM STDIN"))
    assert (await wire.message())[0] == m.COPY_IN_RESPONSE
    wire.send(m.message(m.COPY_DATA, b"1\tone\n2\ttw"), m.message(m.COPY_DATA, b"o\n"), m.COPY_DONE_MESSAGE)
    review = await edge.plane.review()
    assert len(review.submission.operation.body_digest) == 64
    assert not any(text.startswith("COPY") for text in edge.ran())
    await edge.plane.settle(review, State.APPROVED)
    answer = Answer(await wire.until_ready())
    assert answer.tags == ["COPY 2"]
    assert edge.postgres.run("SELECT id, v FROM reviewed ORDER BY 1", edge.database) == [(1, "one"), (2, "two")]


async def test_a_drain_ends_idle_sessions_and_tells_held_ones(edge: Gate, wire: Wire) -> None:
    """An idle client hears 57P01; a held one is told that its review stays open, and then 57P01."""
    held = await Wire.connect(edge.port)
    held.send(m.query(b"DELETE FROM t"))
    await notice(held)
    edge.worker.stop()
    idle = await wire.until(0)
    assert m.read_report(idle[0][1])["C"] == "57P01"
    codes = [m.read_report(raw)["C"] for kind, raw in await held.until(0) if kind == m.ERROR_RESPONSE]
    assert codes[-1] == "57P01"
    held.close()
