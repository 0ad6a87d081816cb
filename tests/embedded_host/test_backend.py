"""Group commit: nothing is answered or handed out before it is on the disk, and a disk that fails stops everything."""

import asyncio
import sqlite3
from pathlib import Path

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
import pytest

from embedded_host.refused import Refused
from tests.embedded_host.steps import Bench, activity, complete


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    """What another process reads from the file now."""
    with sqlite3.connect(path) as db:
        found = db.execute(sql).fetchall()
    db.close()
    return found


async def test_an_answered_start_is_on_the_disk(bench: Bench) -> None:
    """Another process sees it when the call returns."""
    await bench.start("a")
    assert rows(bench.path, "select id from instance") == [("a",)]
    assert rows(bench.path, "select count(*) from inbox") == [(2,)]


async def test_an_activity_is_on_the_disk_before_it_is_handed_out(bench: Bench) -> None:
    """The history that asks for it, too."""
    await bench.start("a")
    await bench.episode(activity(1))
    await bench.take()
    assert rows(bench.path, "select count(*) from history") == [(4,)]
    assert rows(bench.path, "select count(*) from inbox") == [(0,)]


async def test_many_at_once_share_commits(bench: Bench) -> None:
    """A hundred starts, far fewer transactions."""
    before = bench.backend.commits
    await asyncio.gather(*(bench.start(f"a{n}") for n in range(100)))
    assert bench.backend.commits - before < 10
    assert rows(bench.path, "select count(*) from instance") == [(100,)]


async def test_history_is_appended_not_rewritten(bench: Bench) -> None:
    """The rows of earlier episodes keep their place; a new generation replaces them all."""
    await bench.start("a")
    await bench.episode(activity(1))
    await bench.backend.sealed()
    before = rows(bench.path, "select n, event from history order by n")
    bench.finish_activity(await bench.take())
    await bench.episode()
    await bench.backend.sealed()
    after = rows(bench.path, "select n, event from history order by n")
    assert after[: len(before)] == before
    assert len(after) > len(before)
    await bench.raise_event("a", "go")
    await bench.episode(complete(pb.ORCHESTRATION_STATUS_CONTINUED_AS_NEW))
    await bench.backend.sealed()
    assert rows(bench.path, "select count(*) from history") == [(0,)]


async def test_a_purged_instance_leaves_nothing(bench: Bench) -> None:
    """No row in any table."""
    await bench.start("a")
    await bench.episode(complete())
    await bench.backend.call("PurgeInstances", pb.PurgeInstancesRequest(instanceId="a"))
    for table in ("instance", "history", "inbox"):
        assert rows(bench.path, f"select count(*) from {table}") == [(0,)]


async def test_a_disk_that_refuses_ends_it_and_keeps_what_was_answered(bench: Bench) -> None:
    """The caller is refused, no work leaves, later callers are refused, and a restart finds the last commit."""
    await bench.start("kept")
    await bench.take()
    other = sqlite3.connect(bench.path)
    other.execute("create trigger full before insert on instance begin select raise(abort, 'disk full'); end")
    other.commit()
    other.close()
    with pytest.raises(Refused) as refused:
        await bench.start("lost")
    assert refused.value.code == grpc.StatusCode.UNAVAILABLE
    assert bench.work.empty()
    with pytest.raises(sqlite3.Error, match="disk full"):
        await bench.backend.failed
    with pytest.raises(Refused):
        await bench.raise_event("kept", "go")
    await bench.backend.close()
    with sqlite3.connect(bench.path) as db:
        db.execute("drop trigger full")
    db.close()
    bench.open()
    assert (await bench.take()).orchestratorRequest.instanceId == "kept"
    assert rows(bench.path, "select id from instance") == [("kept",)]


async def test_waiting_for_an_end_returns_when_it_is_durable(bench: Bench) -> None:
    """And gives up at its limit."""
    await bench.start("a")
    assert not await bench.backend.wait_until("a", bench.backend.is_terminal, 0.05)
    waiting = asyncio.create_task(bench.backend.wait_until("a", bench.backend.is_terminal, 10))
    await bench.episode(complete())
    assert await waiting
    assert not await bench.backend.wait_until("nobody", bench.backend.is_terminal, 10)
