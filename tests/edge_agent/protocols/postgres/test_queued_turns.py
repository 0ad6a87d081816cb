"""Turns that arrive in one turn of the event loop: recorded with one write, then sent; or, where it is refused, never taken."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
import pytest

from edge_agent import repeat
from edge_agent.protocols.postgres import messages as m
from edge_agent.segments import Header
from gateway_kernel.audit import SessionClosed, read
from gateway_kernel.chain import GENESIS
from tests.edge_agent.conftest import FullDisk
from tests.edge_agent.protocols.postgres.talk import DONE, ORDINARY, POLICY, STUCK, Talk, ends, extra, talking
from tests.edge_agent.protocols.postgres.wire import Answer, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from edge_agent.protocols.postgres.frontend import Frontend
    from tests.support.postgres import Postgres


class Crowd:
    """Clients of one edge, each with a statement that goes the short way next."""

    def __init__(self, talk: Talk, wires: list[Wire]) -> None:
        self.talk, self.wires = talk, wires
        self.edge = talk.edge
        self.spool = talk.edge.worker._spool  # pyright: ignore[reportPrivateUsage] - what is written, and when, is what is tested
        opened = talk.edge.room._open  # pyright: ignore[reportPrivateUsage] - bytes are put in as if a socket had brought them
        self.frontends = [next(f for f in opened if self._port(f) == self._port_of(wire)) for wire in wires]

    @staticmethod
    def _port(frontend: Frontend) -> int:
        return frontend.transport.get_extra_info("peername")[1]

    @staticmethod
    def _port_of(wire: Wire) -> int:
        return wire.writer.get_extra_info("sockname")[1]

    def arrive(self, *messages: bytes) -> None:
        """Bytes of every client, in one turn of the event loop."""
        for frontend in self.frontends:
            for message in messages:
                frontend.transport.get_protocol().data_received(message)  # pyright: ignore - a Protocol

    def written(self) -> int:
        """How many operations the spool file says are being sent."""
        files = (self.edge.directory / "data/spool/0").glob("*.ndjson")
        data = b"".join(path.read_bytes() for path in files)
        return data.count(b'"type":"sending"') + data.count(b'"type":"repeated"')

    async def answers(self) -> list[str]:
        """The kinds of the next answer of each client."""
        return [Answer(await wire.until_ready()).kinds for wire in self.wires]

    def ran(self) -> int:
        """How often the server executed the statement."""
        return sum(text == STUCK for text in self.edge.ran())


@asynccontextmanager
async def crowd(
    directory: Path, postgres: Postgres, original: str, policy: str = POLICY, clients: int = 3
) -> AsyncGenerator[Crowd]:
    """Clients whose next turn is taken in the short way; what they ran before is their learning."""
    async with talking(directory, postgres, original, policy) as talk:
        wires = [talk.wire, *[await Wire.connect(talk.edge.port) for _ in range(clients - 1)]]
        for wire in wires:
            for _ in range(ORDINARY + 1):
                assert (await wire.query(STUCK)).tags == ["SELECT 1"]
        yield Crowd(talk, wires)
        for wire in wires:
            wire.close()

        def ended() -> bool:
            return sum(isinstance(event.body, SessionClosed) for event in talk.edge.plane.stored()) == clients

        await talk.edge.plane.events(lambda _: ended())


BEFORE = 3 * (ORDINARY + 1)
"""What a crowd of three has run when it stands."""


async def test_turns_of_one_loop_turn_are_written_together_and_then_sent(
    tmp_path: Path, postgres: Postgres, original: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One write for all that arrived; none of it is sent before."""
    async with crowd(tmp_path, postgres, original) as three:
        writes: list[bytes] = []
        real = os.write

        def write(descriptor: int, data: bytes) -> int:
            assert waiting_for_the_client(postgres, three.edge.database) == 3, (
                "something was sent before it was recorded"
            )
            writes.append(data)
            return real(descriptor, data)

        monkeypatch.setattr(os, "write", write)
        before = repeat.sent()
        three.arrive(m.query(STUCK.encode()))
        assert (repeat.sent() - before, three.written(), writes) == (3, BEFORE, [])
        await asyncio.sleep(0)
        monkeypatch.setattr(os, "write", real)
        assert [data.count(b'"type":"repeated"') for data in writes] == [3]
        assert await three.answers() == ["TDCZ"] * 3
    assert ends(three.talk) == [DONE] * (BEFORE + 3)
    chained(three.talk)


async def test_turns_whose_write_is_refused_have_never_been_taken(
    tmp_path: Path, postgres: Postgres, original: str, full_disk: FullDisk
) -> None:
    """Nothing of the batch went upstream, each is refused, and all goes on when there is space."""
    capped = extra("{id: budget, when: 'true', then: cap, cap: {quantity: operations, limit: 5, per: session}}")
    async with crowd(tmp_path, postgres, original, capped) as three:
        before = repeat.sent()
        three.arrive(m.query(STUCK.encode()))
        assert repeat.sent() - before == 3
        full_disk.fill(three.spool, 400)  # one line would have room
        assert await three.answers() == ["EZ"] * 3
        assert repeat.sent() == before
        assert three.written() == BEFORE
        await full_disk.relieve(three.spool)
        for kinds in (["TDCZ"] * 3, ["TDCZ"] * 3, ["EZ"] * 3):  # the budget does not count what was taken back
            for wire in three.wires:
                wire.send(m.query(STUCK.encode()))
            assert await three.answers() == kinds
        assert three.ran() == BEFORE + 6
    assert ends(three.talk) == [DONE] * (BEFORE + 6)
    chained(three.talk)


async def test_what_comes_behind_a_queued_turn_stays_behind_it(
    tmp_path: Path, postgres: Postgres, original: str, full_disk: FullDisk
) -> None:
    """In the same turn of the loop: it is written and sent first, or refused first."""
    async with crowd(tmp_path, postgres, original) as three:
        three.arrive(m.query(STUCK.encode()), m.query(b"SELECT v AS other FROM t"))
        assert three.written() == BEFORE + 3
        assert await three.answers() == ["TDCZ"] * 3
        assert await three.answers() == ["TDDDDDCZ"] * 3
        full_disk.fill(three.spool)
        three.arrive(m.query(STUCK.encode()), m.query(b"SELECT v AS other FROM t"))
        assert await three.answers() == ["EZ"] * 3
        assert await three.answers() == ["EZ"] * 3
        await full_disk.relieve(three.spool)
        assert three.ran() == BEFORE + 3
    chained(three.talk)


async def test_a_client_that_goes_away_behind_a_queued_turn(tmp_path: Path, postgres: Postgres, original: str) -> None:
    """The turn was taken: it is recorded, sent, and has an outcome; so do those of the others."""
    async with crowd(tmp_path, postgres, original) as three:
        three.arrive(m.query(STUCK.encode()))
        three.frontends[1].transport.get_protocol().connection_lost(None)  # pyright: ignore[reportAttributeAccessIssue]
        assert three.written() == BEFORE + 3
        wires = (three.wires[0], three.wires[2])
        assert [Answer(await wire.until_ready()).kinds for wire in wires] == ["TDCZ"] * 2
    assert len(ends(three.talk)) == BEFORE + 3
    chained(three.talk)


async def test_a_client_that_goes_away_while_the_disk_is_full(
    tmp_path: Path, postgres: Postgres, original: str, full_disk: FullDisk
) -> None:
    """Its turn was neither recorded nor sent."""
    async with crowd(tmp_path, postgres, original) as three:
        three.arrive(m.query(STUCK.encode()))
        full_disk.fill(three.spool)
        three.frontends[1].transport.get_protocol().connection_lost(None)  # pyright: ignore[reportAttributeAccessIssue]
        wires = (three.wires[0], three.wires[2])
        assert [Answer(await wire.until_ready()).kinds for wire in wires] == ["EZ"] * 2
        await full_disk.relieve(three.spool)
        assert three.ran() == BEFORE
    assert ends(three.talk) == [DONE] * BEFORE
    chained(three.talk)


async def test_a_drain_sends_what_is_queued(tmp_path: Path, postgres: Postgres, original: str) -> None:
    """And hands its answer on before it says goodbye."""
    async with crowd(tmp_path, postgres, original) as three:
        three.arrive(m.query(STUCK.encode()))
        for frontend in three.frontends:
            assert frontend.session is not None
            frontend.session.drain()
        assert three.written() == BEFORE + 3
        ended = [bytes(kind for kind, _ in await wire.until(0)) for wire in three.wires]
        assert ended == [b"TDCZE\0"] * 3
    assert ends(three.talk) == [DONE] * (BEFORE + 3)
    chained(three.talk)


async def test_a_new_segment_between(tmp_path: Path, postgres: Postgres, original: str) -> None:
    """What is queued is written to the old one and sent; the new one's header counts it."""
    async with crowd(tmp_path, postgres, original) as three:
        three.arrive(m.query(STUCK.encode()))
        three.spool.rotate()
        assert three.written() == BEFORE + 3
        newest = max((three.edge.directory / "data/spool/0").glob("*.ndjson"))
        header = msgspec.json.decode(newest.read_bytes().splitlines()[0], type=Header)
        assert [[each.stage for each in session.operations] for session in header.open] == [["sending"]] * 3
        assert await three.answers() == ["TDCZ"] * 3
    assert ends(three.talk) == [DONE] * (BEFORE + 3)
    chained(three.talk)


def waiting_for_the_client(postgres: Postgres, database: str) -> int:
    """How many sessions of the edge have nothing to do."""
    asked = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND state = 'idle' AND wait_event = 'ClientRead'"
    return postgres.run(asked, "postgres")[0][0]


def chained(talk: Talk) -> None:
    """Every recording is whole, and each line what its event would be encoded to."""
    for lines in talk.edge.plane.lines.values():
        events = [read(line) for line in lines]
        assert [msgspec.json.encode(event) for event in events] == lines
        assert [event.sequence for event in events] == list(range(len(events)))
        before = [GENESIS, *[sha256(line).hexdigest() for line in lines[:-1]]]
        assert [event.previous for event in events] == before
