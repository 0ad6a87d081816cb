"""The short way: what is sent again is answered, and recorded, as if it had gone the ordinary way.

Every conversation is held twice, each time with a fresh database behind a real edge: once with the compiled part, once without. The client must
get the same bytes, the recording say the same, and the short way have been taken as often as the conversation says.
"""

from __future__ import annotations

import asyncio
import re
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import psycopg
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_agent import repeat
from edge_agent.protocols.postgres import _turns
from edge_agent.protocols.postgres import messages as m
from edge_agent.secrets import Vault
from edge_agent.segments import Header
from gateway_kernel.audit import (
    Body,
    Outcome,
    SessionClosed,
)
from gateway_kernel.parse.sql.shape import Shapes
from tests.edge_agent.conftest import FullDisk
from tests.edge_agent.protocols.postgres.talk import DONE, ORDINARY, POLICY, STUCK, Talk, ends, extra, talking
from tests.edge_agent.protocols.postgres.wire import Answer
from tests.support.recorded import recorded
from tests.support.world import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from tests.support.postgres import Postgres

SECRET = b"AKIAIOSFODNN7EXAMPLE"


def bound(
    *values: bytes | None, formats: tuple[int, ...] = (), statement: bytes = b"s", described: bool = True
) -> bytes:
    """Bind, Describe, Execute and Sync of a prepared statement; `formats` of the values, all text if there are none."""
    form = formats or (0,) * len(values)
    parts = m.bind(m.Bind(b"", statement, form, values, ()))
    return parts + (m.describe(b"P", b"") if described else b"") + m.execute(b"") + m.SYNC_MESSAGE


type Conversation = Callable[[Talk], Awaitable[None]]


async def by_number(talk: Talk) -> None:
    """A Query that differs in a number."""
    for number in (1, 2, 3, 77, 5, 123456789):
        await talk.query(f"SELECT id, v FROM t WHERE id = {number}")


async def by_text(talk: Talk) -> None:
    """The same Query, which has no shape."""
    for _ in range(5):
        await talk.query("SELECT id FROM t WHERE v = 'v2' -- again")


async def with_values(talk: Talk) -> None:
    """A prepared statement with text and binary values, with NULL, with and without Describe."""
    await talk.prepare("SELECT id, v FROM t WHERE id = $1::int OR v = $2")
    for at, value in enumerate((b"1", b"2", None, b"4", b"x", b"5")):
        await talk.raw(bound(value, b"v3" if at % 2 else None))
    await talk.raw(bound(b"3", b"v1", described=False))
    await talk.raw(bound(struct.pack("!i", 3), b"v1", formats=(1, 0)))
    await talk.raw(bound(struct.pack("!i", 4), b"v1", formats=(1, 1)))
    await talk.raw(bound(struct.pack("!i", 4), struct.pack("!i", 7), formats=(1,)))


async def without_values(talk: Talk) -> None:
    """A prepared statement that takes none."""
    await talk.prepare("SELECT count(*) FROM t")
    for _ in range(5):
        await talk.raw(bound())


async def with_binary_results(talk: Talk) -> None:
    """Result formats are the client's business."""
    await talk.prepare("SELECT id, v FROM t WHERE id < $1")
    for number in range(6):
        bind = m.bind(m.Bind(b"", b"s", (0,), (str(number).encode(),), (1, number % 2)))
        await talk.raw(bind + m.describe(b"P", b"") + m.execute(b"") + m.SYNC_MESSAGE)


async def with_secrets(talk: Talk) -> None:
    """A value that holds a secret is recorded hidden, one as long without is recorded as it is."""
    await talk.prepare("SELECT id FROM t WHERE v = $1")
    for value in (b"v1", b"v2", b"v3", SECRET, b"twenty harmless bytes", SECRET, b"v4"):
        await talk.raw(bound(value))


async def failing(talk: Talk) -> None:
    """An execution that fails, and those behind it."""
    await talk.prepare("SELECT 10 / (id - $1::int) FROM t WHERE id < 4")
    for number in (9, 8, 7, 3, 6, 2, 5):
        await talk.raw(bound(str(number).encode()))
    for number in (9, 8, 7, 2, 6):
        await talk.query(f"SELECT 10 / (id - {number}) FROM t WHERE id < 4")


async def in_one_write(talk: Talk) -> None:
    """Turns that come together, whole and in pieces."""
    await talk.prepare("SELECT v FROM t WHERE id = $1")
    turns = [bound(str(number).encode()) for number in range(1, 8)]
    for turn in turns[:3]:
        await talk.raw(turn)
    await talk.raw(turns[3] + turns[4], ends=2)
    await talk.raw(turns[5] + turns[6][:9], turns[6][9:], ends=2)
    await talk.raw(turns[3] + m.query(b"SELECT 1"), ends=2)
    await talk.raw(turns[4])


async def with_notices(talk: Talk) -> None:
    """What the server says in between belongs to the answer."""
    await talk.query("SET client_min_messages = 'debug5'")
    for number in range(1, 5):
        await talk.query(f"SELECT v FROM t WHERE id = {number}")


async def long_answers(talk: Talk) -> None:
    """An answer that comes in pieces is still the same answer."""
    for number in range(1, 6):
        await talk.query(f"SELECT v FROM long WHERE id <= {number} ORDER BY id")


async def in_transactions(talk: Talk) -> None:
    """Inside of a transaction nothing goes the short way."""
    for _ in range(3):
        await talk.query("SELECT v FROM t WHERE id = 1")
    await talk.query("BEGIN")
    for _ in range(3):
        await talk.query("SELECT v FROM t WHERE id = 1")
    await talk.query("COMMIT")
    await talk.query("SELECT v FROM t WHERE id = 1")


async def of_other_kinds(talk: Talk) -> None:
    """What writes, several statements at once, named portals, parts of a result: never."""
    for number in range(1, 5):
        await talk.query(f"UPDATE t SET v = 'w' WHERE id = {number}")
        await talk.query(f"SELECT {number}; SELECT {number}")
        await talk.query("")
    await talk.prepare("SELECT id FROM t")
    for _ in range(4):
        await talk.raw(m.bind(m.Bind(b"p", b"s", (), (), ())) + m.execute(b"p") + m.SYNC_MESSAGE)
        await talk.raw(m.bind(m.Bind(b"", b"s", (), (), ())) + m.execute(b"", 2) + m.SYNC_MESSAGE)


async def meaning_moves(talk: Talk) -> None:
    """After anything that may change what a text means, it is looked at anew."""
    for number in range(1, 5):
        await talk.query(f"SELECT v FROM t WHERE id = {number}")
    await talk.query("CREATE SCHEMA s; CREATE TABLE s.t (id int, v text); INSERT INTO s.t VALUES (1, 'other')")
    for _ in range(3):
        await talk.query("SELECT v FROM t WHERE id = 1")
    await talk.query("SET search_path = s")
    for _ in range(4):
        await talk.query("SELECT v FROM t WHERE id = 1")
    await talk.query("DROP TABLE s.t")
    await talk.query("SELECT v FROM t WHERE id = 1")
    await talk.query("RESET search_path")
    await talk.query("SELECT v FROM t WHERE id = 1")


async def names_move(talk: Talk) -> None:
    """A name that is another statement now."""
    await talk.prepare("SELECT v FROM t WHERE id = $1")
    for _ in range(4):
        await talk.raw(bound(b"1"))
    await talk.raw(m.close(b"S", b"s") + m.SYNC_MESSAGE)
    await talk.raw(bound(b"1"))
    await talk.prepare("SELECT -id FROM t WHERE id = $1")
    for _ in range(4):
        await talk.raw(bound(b"1"))
    await talk.prepare("SELECT id FROM t WHERE id > $1", b"")
    for _ in range(4):
        await talk.raw(bound(b"1", statement=b""))
    await talk.prepare("SELECT id FROM t WHERE id < $1", b"")
    for _ in range(2):
        await talk.raw(bound(b"2", statement=b""))
    await talk.query("DISCARD ALL")
    await talk.raw(bound(b"1"))


async def malformed(talk: Talk) -> None:
    """A Bind that is not one is refused as always."""
    await talk.prepare("SELECT v FROM t WHERE id = $1")
    for _ in range(4):
        await talk.raw(bound(b"1"))
    await talk.raw(bound(b"1", b"2"))
    await talk.raw(bound())
    await talk.raw(bound(b"2"))
    await talk.raw(bound(b"three"))
    await talk.raw(bound(b"3"))
    talk.wire.send(m.message(m.BIND, b"\0s\0" + struct.pack("!HHHi", 1, 7, 1, 4)) + m.SYNC_MESSAGE)
    talk.told.append(await talk.wire.until(0))


CONVERSATIONS: dict[str, tuple[Conversation, str, int]] = {
    "by number": (by_number, POLICY, 6 - ORDINARY),
    "by text": (by_text, POLICY, 5 - ORDINARY),
    "with values": (with_values, POLICY, 10 - ORDINARY),
    "without values": (without_values, POLICY, 5 - ORDINARY),
    "with binary results": (with_binary_results, POLICY, 6 - ORDINARY),
    "with secrets": (with_secrets, POLICY, 3),
    "failing": (failing, POLICY, 5),
    "in one write": (in_one_write, POLICY, 2),
    "with notices": (with_notices, POLICY, 2),
    "long answers": (long_answers, POLICY, 3),
    "in transactions": (in_transactions, POLICY, 1),
    "of other kinds": (of_other_kinds, POLICY, 0),
    "meaning moves": (meaning_moves, POLICY, 5),
    "names move": (names_move, POLICY, 6),
    "malformed": (malformed, POLICY, 7),
    "the first bytes are recorded": (long_answers, POLICY.replace("full", "head"), 3),
    "only digests are recorded": (by_number, POLICY.replace("full", "digest"), 4),
    "a rule reads the values": (
        with_values,
        extra("{id: four, when: 'sql.parameters.exists(p, p == \"4\")', then: deny}"),
        4,
    ),
    "a rule counts": (by_number, extra("{id: enough, when: 'session.operations >= 4', then: deny}"), 2),
    "a rule measures": (with_secrets, extra("{id: short, when: 'operation.size > 40', then: deny}"), 2),
    "a budget is used up": (
        by_number,
        extra("{id: budget, when: 'true', then: cap, cap: {quantity: operations, limit: 4, per: session}}"),
        2,
    ),
    "what is masked": (
        by_number,
        extra("{id: hide, when: 'true', then: mask, mask: [{columns: ['t.v'], with: redact}]}"),
        0,
    ),
    "what is detected": (
        by_number,
        extra("{id: hide, when: 'true', then: mask, mask: [{detect: [iban], with: redact}]}"),
        0,
    ),
    "what is rewritten": (by_number, extra("{id: few, when: 'true', then: rewrite, rewrite: {limit: 2}}"), 0),
}
"""What is said, under which policy, and how many operations are sent in the short way."""


def seen(talk: Talk) -> list[Body]:
    """The recording, whole, without what differs between any two sessions."""
    return recorded(talk.edge.plane)


@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_the_short_way_is_the_ordinary_way(
    name: str, tmp_path: Path, postgres: Postgres, original: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes to the client and the same recording, and it was taken where it may be."""
    conversation, policy, short = CONVERSATIONS[name]
    before = repeat.sent()
    short_room, ordinary_room = tmp_path / "short", tmp_path / "ordinary"
    short_room.mkdir()
    ordinary_room.mkdir()
    async with talking(short_room, postgres, original, policy) as quick:
        await conversation(quick)
        assert repeat.sent() - before == short
    monkeypatch.setattr(repeat, "_repeat", None)
    async with talking(ordinary_room, postgres, original, policy) as slow:
        await conversation(slow)
    assert quick.told == slow.told
    assert seen(quick) == seen(slow)


@asynccontextmanager
async def stuck(
    directory: Path, postgres: Postgres, original: str
) -> AsyncGenerator[tuple[Talk, psycopg.Connection[object]]]:
    """A client whose turn was sent in the short way and is not answered: somebody else has locked its table."""
    async with talking(directory, postgres, original, POLICY) as talk:
        for _ in range(ORDINARY + 1):
            await talk.query(STUCK)
        with psycopg.connect(postgres.url(talk.edge.database)) as other:
            other.execute("LOCK TABLE t")
            before = repeat.sent()
            talk.wire.send(m.query(STUCK.encode()))
            await talk.wire.writer.drain()
            await until(lambda: repeat.sent() == before + 1, "the turn is sent")
            await until(lambda: waiting(postgres, talk.edge.database) == 1, "it waits for the lock")
            yield talk, other


def waiting(postgres: Postgres, database: str) -> int:
    """How many sessions wait for a lock."""
    asked = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND wait_event_type = 'Lock'"
    return postgres.run(asked, "postgres")[0][0]


async def until(true: Callable[[], bool], what: str) -> None:
    """Wait while the edge, which runs in this event loop, goes on."""
    await asyncio.to_thread(eventually, true, what)


async def test_what_comes_while_a_turn_is_under_way_is_answered_behind_it(
    tmp_path: Path, postgres: Postgres, original: str
) -> None:
    """Another turn of the same statement, and one that is refused."""
    async with stuck(tmp_path, postgres, original) as (talk, other):
        talk.wire.send(m.query(STUCK.encode()), m.query(b"GRANT ALL ON t TO PUBLIC"), m.query(STUCK.encode()))
        other.rollback()
        answers = [Answer(await talk.wire.until_ready()) for _ in range(4)]
        assert [answer.kinds for answer in answers] == ["TDCZ", "TDCZ", "EZ", "TDCZ"]
    assert ends(talk) == [DONE] * (ORDINARY + 1 + 3)


async def test_a_turn_under_way_can_be_cancelled(tmp_path: Path, postgres: Postgres, original: str) -> None:
    """By the client's CancelRequest: the server's error is the answer and the outcome."""
    async with stuck(tmp_path, postgres, original) as (talk, _):
        _, canceller = await asyncio.open_connection("127.0.0.1", talk.edge.port)
        canceller.write(m.cancel_request(talk.wire.process, talk.wire.secret))
        assert Answer(await talk.wire.until_ready()).codes == ["57014"]
        canceller.close()
    assert ends(talk)[-1] == (Outcome.FAILED, "57014")


async def test_a_turn_whose_client_goes_away_has_an_outcome(tmp_path: Path, postgres: Postgres, original: str) -> None:
    """It ends on the server, and its end is recorded."""
    async with stuck(tmp_path, postgres, original) as (talk, other):
        talk.wire.close()
        await talk.wire.writer.wait_closed()
        other.rollback()
        await talk.edge.plane.events(lambda event: isinstance(event.body, SessionClosed))
    assert len(ends(talk)) == ORDINARY + 2
    assert ends(talk)[-1][0] in (Outcome.COMPLETED, Outcome.FAILED, Outcome.UNKNOWN)


async def test_a_turn_whose_server_goes_away_is_unknown(tmp_path: Path, postgres: Postgres, original: str) -> None:
    """Nobody can say what became of it."""
    async with stuck(tmp_path, postgres, original) as (talk, _):
        kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = "
        postgres.run(f"{kill}'{talk.edge.database}'", "postgres")
        kinds = [kind for kind, _ in await talk.wire.until(0)]
        assert kinds[0] == m.ERROR_RESPONSE
    assert ends(talk)[-1][0] in (Outcome.FAILED, Outcome.UNKNOWN)


async def test_a_drain_waits_for_a_turn_under_way(tmp_path: Path, postgres: Postgres, original: str) -> None:
    """It finishes, and its answer reaches the client, before the session ends."""
    async with stuck(tmp_path, postgres, original) as (talk, other):
        talk.edge.worker.stop()
        other.rollback()
        kinds = bytes(kind for kind, _ in await talk.wire.until(0))
        assert kinds == b"TDCZE\0"
    assert ends(talk) == [DONE] * (ORDINARY + 2)


async def test_another_policy_judges_from_its_arrival_on(tmp_path: Path, postgres: Postgres, original: str) -> None:
    """What was allowed and repeated is refused by the next policy, and repeated again under the one after it."""
    async with talking(tmp_path, postgres, original, POLICY) as talk:
        for policy, codes, short in ((POLICY, [], 2), (POLICY.replace("allow", "deny"), ["42501"], 0), (POLICY, [], 3)):
            talk.edge.plane.policy = policy
            issued = talk.edge.plane.calls.count("GET /bundle")
            await until(
                lambda issued=issued: talk.edge.plane.calls.count("GET /bundle") >= issued + 2,
                "the edge has asked for the policy",
            )
            before = repeat.sent()
            assert [(await talk.query(STUCK)).codes for _ in range(4)] == [codes] * 4
            assert repeat.sent() - before == short


async def test_a_new_segment_counts_the_turn_under_way(tmp_path: Path, postgres: Postgres, original: str) -> None:
    """Its header says that it is being sent, so that everything before it may be deleted."""
    async with stuck(tmp_path, postgres, original) as (talk, other):
        spool = tmp_path / "data/spool/0"
        before = set(spool.glob("*.ndjson"))
        talk.edge.worker._spool.rotate()  # pyright: ignore[reportPrivateUsage] - a segment that is full does it
        (newest,) = set(spool.glob("*.ndjson")) - before
        header = msgspec.json.decode(newest.read_bytes().splitlines()[0], type=Header)
        (session,) = header.open
        (operation,) = session.operations
        assert (operation.id, operation.stage) == (f"{session.id}-{ORDINARY + 2}", "sending")
        other.rollback()
        assert (await talk.wire.until_ready())[-1][0] == m.READY_FOR_QUERY
    assert ends(talk)[-1] == DONE


async def test_while_the_disk_is_full_nothing_is_sent(
    tmp_path: Path, postgres: Postgres, original: str, full_disk: FullDisk
) -> None:
    """The outcome of what is under way is kept until there is space; the next turn is refused, and none is lost."""
    async with stuck(tmp_path, postgres, original) as (talk, other):
        spool = talk.edge.worker._spool  # pyright: ignore[reportPrivateUsage] - it is this file that cannot grow
        full_disk.fill(spool)
        other.rollback()
        assert Answer(await talk.wire.until_ready()).tags == ["SELECT 1"]
        assert (await talk.query(STUCK)).codes == ["58000"]
        await full_disk.relieve(spool)
        assert (await talk.query(STUCK)).tags == ["SELECT 1"]
    assert ends(talk) == [DONE] * (ORDINARY + 3)


TEXTS = st.one_of(
    st.text("SELECT aid=1234567890.,;()<>*+-_\n/'\"$:", max_size=60),
    st.from_regex(
        r"\ASELECT [a-z0-9_.,]{1,40} FROM t WHERE a [=<>+-]{1,2} ?[0-9_]{1,30}( OR b IN \([0-9, ]{1,20}\))?\Z"
    ),
)


@given(TEXTS)
def test_a_shape_in_c_is_the_shape(text: str) -> None:
    """Both find the same, where the text has one."""
    shapes = Shapes()
    shapes.representative(text)
    expected, found = shapes.shape(text), _turns.shape(text.encode())
    assert expected is None or (found is not None and found[0] == expected.encode())


@given(TEXTS, st.data())
def test_whether_a_text_hides_something_does_not_depend_on_numbers_that_stand_apart(
    text: str, data: st.DataObject
) -> None:
    """A text whose shape is known is looked at for secrets only where its numbers touch enough to be one."""
    found = _turns.shape(text.encode())
    assume(found is not None and not found[1])
    other = re.sub(
        r"(?<![A-Za-z0-9_.])[0-9]{1,9}(?![A-Za-z0-9_.])", lambda _: str(data.draw(st.integers(0, 999_999_999))), text
    )
    vault = Vault(bytes(32))
    assert vault.hides_nothing(text, ()) == vault.hides_nothing(other, ())
