"""The spool: written is recorded, fsynced is sealed, a full disk refuses, and nothing accepted is lost."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from edge_agent.segments import HEADER, SpoolDamagedError, path_of
from edge_agent.spool import MAX_QUEUED, Spool, SpoolError, Waiting
from gateway_kernel.audit import Noted, SessionOpened
from gateway_kernel.chain import Chain
from gateway_kernel.model import Agent, Resource

if TYPE_CHECKING:
    from tests.edge_agent.conftest import FullDisk

MIB = 1 << 20
OPENED = SessionOpened(Agent("ci-bot"), Resource("orders-db", "postgres"), "enforce", "edge-1")


def lines(session: str, count: int, padding: int = 0) -> list[bytes]:
    """A recording of `count` events."""
    chain = Chain(session)
    return [chain.link(OPENED if n == 0 else Noted("x" * padding, str(n)), n) for n in range(count)]


def started(directory: Path, **options: int) -> Spool:
    spool = Spool(directory, **{"quota": 64 * MIB, **options})  # type: ignore[arg-type]
    spool.begin()
    return spool


async def sealed(spool: Spool) -> str:
    """Wait until everything appended is sealed; the reason if it cannot be."""
    done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    spool.seal(done.set_result)
    return await asyncio.wait_for(done, 10)


async def everything(spool: Spool, count: int) -> list[bytes]:
    """Ship until `count` lines have come."""
    shipped: list[bytes] = []
    async with asyncio.timeout(10):
        while len(shipped) < count:
            batch = await spool.batch(MIB)
            shipped += batch.data.splitlines()
            spool.acknowledge(batch)
    return shipped


def filled(spool: Spool, written: list[bytes]) -> int:
    """Append line by line until the quota is reached; return how many were taken."""
    for taken, line in enumerate(written):
        refusal = ""
        try:
            spool.append([line])
        except SpoolError as error:
            refusal = str(error)
        if refusal:
            assert "quota" in refusal
            return taken
        if spool.due:
            spool.rotate()
    raise AssertionError("the quota was never reached")


def segments(directory: Path) -> int:
    """Segments on disk."""
    return len(list(directory.glob("*.ndjson")))


def damaged(directory: Path) -> bytes:
    """What was put aside."""
    return b"".join(path.read_bytes() for path in directory.glob("*.damaged"))


def on_disk(directory: Path) -> list[bytes]:
    """Every line in every segment, headers left out."""
    found = [line for path in sorted(directory.glob("*.ndjson")) for line in path.read_bytes().splitlines()]
    return [line for line in found if not line.startswith(HEADER)]


async def test_appended_lines_are_in_the_file_before_append_returns(tmp_path: Path) -> None:
    """They survive the process without any fsync."""
    spool = started(tmp_path)
    written = lines("s", 3)
    spool.append(written)
    assert on_disk(tmp_path) == written
    await spool.close()


async def test_sealing_fsyncs_everything_appended_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The callback comes after an fdatasync that began after the append."""
    synced: list[int] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (synced.append(os.fstat(fd).st_size), real(fd))[1])
    spool = started(tmp_path)
    spool.append(lines("s", 2))
    assert await sealed(spool) == ""
    assert max(synced) == path_of(tmp_path, 1).stat().st_size
    await spool.close()


async def test_everything_is_sealed_within_a_second_without_being_asked(tmp_path: Path) -> None:
    """Only sealed lines are shipped, so a batch that arrives shows it."""
    spool = started(tmp_path)
    spool.append(lines("s", 2))
    batch = await asyncio.wait_for(spool.batch(MIB), 5)
    assert batch.data.count(b"\n") == 2
    await spool.close()


async def test_lines_are_shipped_in_order_over_many_segments_and_deleted_once_acknowledged(tmp_path: Path) -> None:
    """Acknowledged segments are gone; the active one stays."""
    spool = started(tmp_path, segment=4096, quota=MIB)
    written = lines("s", 200, padding=100)
    for line in written:
        spool.append([line])
        if spool.due:
            spool.rotate()
    assert segments(tmp_path) > 5
    assert await everything(spool, 200) == written
    assert spool.unshipped == 0
    assert segments(tmp_path) <= 2
    await spool.close()


async def test_shipping_resumes_at_the_cursor_after_a_restart(tmp_path: Path) -> None:
    """What was acknowledged is not sent again; what was not, is."""
    spool = started(tmp_path)
    written = lines("s", 4)
    spool.append(written[:2])
    await everything(spool, 2)
    spool.append(written[2:])
    await spool.close()
    again = started(tmp_path)
    assert await everything(again, 2) == written[2:]
    await again.close()


async def test_at_the_quota_appends_are_refused_and_closing_ones_still_taken(tmp_path: Path) -> None:
    """Outcomes of what is in flight have a share of their own, and shipping makes room again."""
    spool = started(tmp_path, quota=MIB, segment=256 * 1024)
    written = lines("s", 2000, padding=1000)
    taken = filled(spool, written)
    spool.append([written[taken]], closing=True)
    assert spool.failure
    assert await everything(spool, taken + 1) == written[: taken + 1]
    assert spool.failure == ""
    spool.append([written[taken + 1]])
    await spool.close()


async def test_a_disk_that_takes_half_a_line_loses_nothing_and_recovers(tmp_path: Path, full_disk: FullDisk) -> None:
    """The half is cut off, appends are refused, and go on when there is space again."""
    spool = started(tmp_path)
    written = lines("s", 3, padding=3000)
    spool.append(written[:1])
    size = path_of(tmp_path, 1).stat().st_size
    full_disk.fill(spool, 100)
    with pytest.raises(SpoolError, match="cannot be written"):
        spool.append(written[1:2])
    assert path_of(tmp_path, 1).stat().st_size == size
    with pytest.raises(SpoolError):
        spool.append(written[1:2])
    await full_disk.relieve(spool)
    spool.append(written[1:])
    assert on_disk(tmp_path) == written
    await spool.close()


async def test_a_deferred_line_stands_before_the_next_one(tmp_path: Path) -> None:
    """It is written with it."""
    spool = started(tmp_path)
    written = lines("s", 3)
    spool.append(written[:1])
    spool.defer(written[1] + b"\n")
    assert on_disk(tmp_path) == written[:1]
    spool.append(written[2:])
    assert on_disk(tmp_path) == written
    assert await everything(spool, 3) == written
    await spool.close()


async def test_a_deferred_line_is_written_when_the_event_loop_has_had_its_turn(tmp_path: Path) -> None:
    """Nothing else has to happen."""
    spool = started(tmp_path)
    written = lines("s", 3)
    spool.append(written[:1])
    spool.defer(written[1] + b"\n")
    spool.defer(written[2] + b"\n")
    turn = asyncio.Event()
    asyncio.get_running_loop().call_soon(turn.set)
    await turn.wait()
    assert on_disk(tmp_path) == written
    assert await sealed(spool) == ""
    await spool.close()


async def test_a_deferred_line_outlasts_a_full_disk(tmp_path: Path, full_disk: FullDisk) -> None:
    """It is written first when there is space again."""
    spool = started(tmp_path)
    written = lines("s", 4)
    spool.append(written[:1])
    full_disk.fill(spool, 10)
    spool.defer(written[1] + b"\n")
    with pytest.raises(SpoolError, match="cannot be written"):
        spool.append(written[2:3])
    spool.defer(written[2] + b"\n")
    assert on_disk(tmp_path) == written[:1]
    await full_disk.relieve(spool)
    assert on_disk(tmp_path) == written[:3]
    spool.append(written[3:])
    assert on_disk(tmp_path) == written
    await spool.close()


async def test_a_deferred_line_moves_into_the_new_segment(tmp_path: Path) -> None:
    """Behind its header, whose snapshot counts it already; closing the spool writes what is left."""
    spool = started(tmp_path)
    written = lines("s", 4)
    spool.append(written[:1])
    spool.defer(written[1] + b"\n")
    spool.rotate()
    assert on_disk(tmp_path) == written[:2]
    spool.append(written[2:3])
    spool.defer(written[3] + b"\n")
    await spool.close()
    assert on_disk(tmp_path) == written
    again = started(tmp_path)
    assert await everything(again, 4) == written
    await again.close()


class Sender(Waiting):
    """Something that waits for its line, and what the file held when it was told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.told: list[tuple[bool, int]] = []

    def settle(self, written: bool) -> None:
        self.told.append((written, len(on_disk(self.directory))))


async def turn_over() -> None:
    """The event loop has had its turn."""
    turn = asyncio.Event()
    asyncio.get_running_loop().call_soon(turn.set)
    await turn.wait()


async def test_queued_lines_are_written_together_behind_those_deferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one system call, when the loop's turn is over; those that wait are told behind it."""
    spool = started(tmp_path)
    written, first, second = lines("s", 4), Sender(tmp_path), Sender(tmp_path)
    spool.append(written[:1])
    writes: list[bytes] = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: (writes.append(data), real(fd, data))[1])
    assert spool.queue(written[2] + b"\n", first)
    assert spool.queue(written[3] + b"\n", second)
    spool.defer(written[1] + b"\n")
    assert on_disk(tmp_path) == written[:1]
    assert first.told == []
    await turn_over()
    assert on_disk(tmp_path) == written
    assert len(writes) == 1
    assert first.told == second.told == [(True, 4)]
    await spool.close()


async def test_queued_lines_can_be_written_at_once(tmp_path: Path) -> None:
    """Who is told once is not told again; closing does it, too."""
    spool = started(tmp_path)
    written, sender, last = lines("s", 2), Sender(tmp_path), Sender(tmp_path)
    spool.queue(written[0] + b"\n", sender)
    spool.flush()
    assert sender.told == [(True, 1)]
    spool.queue(written[1] + b"\n", last)
    await spool.close()
    assert (sender.told, last.told) == ([(True, 1)], [(True, 2)])
    assert on_disk(tmp_path) == written


async def test_a_disk_that_is_full_takes_all_queued_lines_or_none(tmp_path: Path, full_disk: FullDisk) -> None:
    """Those deferred are kept until there is space; nothing is queued until then."""
    spool = started(tmp_path)
    written, senders = lines("s", 5), [Sender(tmp_path) for _ in range(3)]
    spool.append(written[:1])
    full_disk.fill(spool, len(written[1]) + 10)
    for line, sender in zip(written[1:3], senders, strict=False):
        assert spool.queue(line + b"\n", sender)
    spool.defer(written[3] + b"\n")
    await turn_over()
    assert [sender.told for sender in senders] == [[(False, 1)], [(False, 1)], []]
    assert not spool.queue(written[1] + b"\n", senders[2])
    await full_disk.relieve(spool)
    assert on_disk(tmp_path) == [written[0], written[3]]
    assert spool.queue(written[4] + b"\n", senders[2])
    await turn_over()
    assert senders[2].told == [(True, 3)]
    await spool.close()


async def test_queued_lines_count_for_the_quota(tmp_path: Path) -> None:
    """What would not fit is not queued."""
    spool = started(tmp_path, quota=MIB)
    line, sender, taken = b"x" * 9_999 + b"\n", Sender(tmp_path), 0
    while spool.queue(line, sender):
        taken += 1
    assert 0.9 * MIB < taken * len(line) < MIB
    await turn_over()
    assert [written for written, _ in sender.told] == [True] * taken
    assert not spool.queue(line, sender)
    await spool.close()


async def test_not_too_many_lines_wait_for_one_another(tmp_path: Path) -> None:
    """The first ones go when so many are queued."""
    spool, sender = started(tmp_path), Sender(tmp_path)
    written = lines("s", MAX_QUEUED + 1)
    for line in written:
        spool.queue(line + b"\n", sender)
    assert sender.told == [(True, MAX_QUEUED)] * MAX_QUEUED
    await turn_over()
    assert sender.told[MAX_QUEUED:] == [(True, MAX_QUEUED + 1)]
    assert on_disk(tmp_path) == written
    await spool.close()


async def test_a_new_segment_begins_behind_what_is_queued(tmp_path: Path) -> None:
    """It is written to the old one; a segment that is full after that is followed by another one."""
    spool = started(tmp_path, segment=4096, quota=MIB)
    written, sender = lines("s", 40, padding=100), Sender(tmp_path)
    spool.queue(written[0] + b"\n", sender)
    spool.rotate()
    assert (sender.told, segments(tmp_path)) == ([(True, 1)], 2)
    for line in written[1:]:
        spool.queue(line + b"\n", sender)
    await turn_over()
    assert segments(tmp_path) == 3
    assert on_disk(tmp_path) == written
    await spool.close()


async def test_a_failed_fsync_refuses_and_the_unsealed_lines_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After EIO the kernel may have dropped the pages, so the tail goes into a new segment before anything else."""
    monkeypatch.setattr("edge_agent.spool.RETRY_AFTER", 0.01)
    spool = started(tmp_path)
    written = lines("s", 5)
    spool.append(written[:2])
    assert await sealed(spool) == ""
    real = os.fdatasync
    broken = True

    def fdatasync(fd: int) -> None:
        if broken:
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    spool.append(written[2:4])
    assert "cannot be sealed" in await sealed(spool)
    with pytest.raises(SpoolError):
        spool.append(written[4:])
    writable = asyncio.Event()
    spool.on_writable = writable.set
    broken = False
    await asyncio.wait_for(writable.wait(), 10)
    spool.append(written[4:])
    assert await everything(spool, 5) == written
    await spool.close()


async def test_a_torn_tail_is_cut_to_the_last_whole_line(tmp_path: Path) -> None:
    """What a kill in the middle of a write leaves is not part of the recording."""
    spool = started(tmp_path)
    written = lines("s", 3)
    spool.append(written[:2])
    await spool.close()
    with path_of(tmp_path, 1).open("ab") as file:
        file.write(written[2][:40])
    again = started(tmp_path)
    assert again.found.ledger.sessions["s"].chain.sequence == 2
    assert on_disk(tmp_path) == written[:2]
    assert again.found.damage == []
    await again.close()


async def test_bytes_that_are_no_event_are_kept_aside_and_reported(tmp_path: Path) -> None:
    """Damage in the middle is never deleted and never shipped."""
    spool = started(tmp_path)
    written = lines("s", 3)
    spool.append(written[:2])
    await spool.close()
    with path_of(tmp_path, 1).open("ab") as file:
        file.write(b"garbage\n" + written[2] + b"\n")
    again = started(tmp_path)
    assert len(again.found.damage) == 1
    assert b"garbage" in damaged(tmp_path)
    assert await everything(again, 2) == written[:2]
    await again.close()


async def test_a_header_carries_the_open_sessions_so_older_segments_may_go(tmp_path: Path) -> None:
    """Replay begins at the newest header."""
    spool = started(tmp_path)
    ledger = spool.found.ledger
    spool.snapshot = ledger.snapshot
    written = lines("s", 4)
    spool.append(written[:3])
    await spool.close()
    again = Spool(tmp_path, quota=64 * MIB)
    again.snapshot = again.found.ledger.snapshot
    again.begin()
    await everything(again, 3)
    again.append(written[3:])
    await everything(again, 1)
    await again.close()
    assert not path_of(tmp_path, 1).exists()
    third = Spool(tmp_path, quota=64 * MIB)
    assert third.found.ledger.sessions["s"].chain.sequence == 4
    third.begin()
    await third.close()


async def test_a_segment_whose_header_was_being_written_is_put_away(tmp_path: Path) -> None:
    """A kill while a segment began loses nothing of the one before."""
    spool = started(tmp_path)
    written = lines("s", 2)
    spool.append(written)
    await spool.close()
    path_of(tmp_path, 2).write_bytes(b'{"spool":1,"segm')
    again = started(tmp_path)
    assert again.found.ledger.sessions["s"].chain.sequence == 2
    assert await everything(again, 2) == written
    await again.close()


async def test_a_lost_end_of_the_segment_before_is_noticed(tmp_path: Path) -> None:
    """After a power cut a newer segment must not be chained to lines that are gone."""
    spool = started(tmp_path)
    spool.append(lines("s", 3))
    spool.rotate()
    await spool.close()
    first = path_of(tmp_path, 1)
    os.truncate(first, first.stat().st_size - 30)
    again = started(tmp_path)
    assert any("end is lost" in each for each in again.found.damage)
    assert again.found.ledger.sessions["s"].chain.sequence == 2
    await again.close()


async def test_two_processes_cannot_share_a_spool(tmp_path: Path) -> None:
    """The second one is told what to do."""
    spool = started(tmp_path)
    with pytest.raises(SpoolDamagedError, match="data_dir"):
        Spool(tmp_path, quota=MIB)
    await spool.close()


async def test_where_the_disk_dies_with_its_replica_sealed_means_acknowledged(tmp_path: Path) -> None:
    """With `durability: control_plane` an fsync is not enough."""
    spool = Spool(tmp_path, quota=64 * MIB, durability="control_plane")
    spool.begin()
    spool.append(lines("s", 2))
    done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    spool.seal(done.set_result)
    batch = await asyncio.wait_for(spool.batch(MIB), 5)
    assert not done.done()
    spool.acknowledge(batch)
    assert await asyncio.wait_for(done, 5) == ""
    await spool.close()


async def test_the_cursor_file_is_replaced_whole(tmp_path: Path) -> None:
    """A damaged cursor means sending again from the beginning, which is harmless."""
    spool = started(tmp_path)
    written = lines("s", 2)
    spool.append(written)
    await everything(spool, 2)
    await spool.close()
    assert msgspec.json.decode((tmp_path / "cursor").read_bytes())["segment"] == 1
    (tmp_path / "cursor").write_bytes(b"{")
    again = started(tmp_path)
    assert await everything(again, 2) == written
    await again.close()
