"""kill -9 at any step, and the next start goes on: nothing that was accepted is lost, nothing is counted twice.

Embedded host only: nobody can kill Azure's. The suite in `conformance/` is what both must pass.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from tests.embedded_host.support import CONFORMANCE_APP, HostProcess, Site, fresh_id, site_of, until

JOURNEY = {"left": 2, "total": []}
JOURNEY_TOTAL = [16, 5, 1, 9, 5, 2]


@pytest.fixture
def host(tmp_path: Path) -> Generator[HostProcess]:
    """A host of this test's own, running."""
    one = HostProcess(CONFORMANCE_APP, tmp_path / "data")
    one.start()
    yield one
    if not one.died():
        one.kill()


@contextlib.asynccontextmanager
async def serving(host: HostProcess) -> AsyncGenerator[Site]:
    """The host as it is now; its port changes with each start."""
    async with site_of(host.url, host.master_key) as site:
        yield site


async def test_every_step_survives_a_kill(host: HostProcess) -> None:
    """Killed before and after each of: activity, timer, sub-orchestration, entity, event."""
    async with serving(host) as site:
        one = await site.start("steps")
    for done in range(5):
        host.kill()
        host.start()
        async with serving(host) as site:
            await site.raise_event(one, "next")
            if done == 2:
                await site.reaches(f"{one}-child", lambda seen: seen["customStatus"] == "waiting 0")
                host.kill()
                host.start()
        async with serving(host) as site:
            if done == 2:
                await site.raise_event(f"{one}-child", "go", "child")
            if done < 4:
                await site.says(one, done + 1)
    async with serving(host) as site:
        ended = await site.ends(one)
        assert ended["output"] == [9, "timer", ["child"], 5]
        assert await site.entity("Counter", one) == 5


async def test_everything_that_waits_still_waits_after_a_kill(host: HostProcess) -> None:
    """A timer due while down, a running activity, a suspension with its event, a scheduled start, a delayed signal,
    what ended, what was purged, and the keys."""
    key, later = fresh_id("reminded"), fresh_id("later")
    async with serving(host) as site:
        timer = await site.start("deadline", 1)
        running = await site.start("slow", 1)
        held = await site.start("wait_for", 1)
        ended = await site.start("hello", "Ann")
        purged = await site.start("hello", "Bob")
        await site.client("signal", key, body=1, entity="Counter", op="add", after="1")
        await site.ask("POST", f"/api/start_at/hello/{later}", after="1")
        await site.says(held, "waiting 0")
        await site.client("suspend", held)
        await site.reaches(held, lambda seen: seen["runtimeStatus"] == "Suspended")
        await site.raise_event(held, "go", "kept")
        before = await site.ends(ended)
        await site.ends(purged)
        await site.client("purge", purged)
        await site.says(timer, "waiting")
    master = host.master_key
    host.kill()
    host.start()
    assert host.master_key == master
    async with serving(host) as site:
        assert await site.status(ended) == before
        assert await site.status(purged) is None
        seen = await site.status(held)
        assert seen is not None
        assert seen["runtimeStatus"] == "Suspended"
        await site.client("resume", held)
        outputs = [(await site.ends(one))["output"] for one in (timer, running, held, later)]
        assert outputs[:3] == ["timer", "dawdled", ["kept"]]
        assert outputs[3]
        assert await until(lambda: site.entity("Counter", key), lambda value: value == 1) == 1


async def test_what_was_accepted_runs_however_soon_the_kill_comes(host: HostProcess) -> None:
    """Two starts, each killed as soon as its 202 arrives."""
    accepted: list[str] = []
    for _ in range(2):
        async with serving(host) as site:
            accepted.append(await site.start("journey", JOURNEY))
        host.kill()
        host.start()
    async with serving(host) as site:
        for one in accepted:
            assert (await site.ends(one))["output"] == JOURNEY_TOTAL


def test_a_kill_after_any_commit_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """A journey through every kind of step, taken up again from each state that a kill could have left."""
    command = [sys.executable, "-m", "tests.embedded_host.every_commit", str(tmp_path)]
    told = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=True).stdout
    resumed = json.loads(told)
    assert len(resumed) >= 10  # a journey has that many steps which only a commit can carry
    assert [state for state in resumed if state != {"output": JOURNEY_TOTAL, "counter": "2"}] == []


async def test_a_stop_lets_work_finish(host: HostProcess) -> None:
    """SIGTERM ends with status 0 while an activity runs; its result is on the disk."""
    async with serving(host) as site:
        one = await site.start("slow", 1)
        waiting = await site.start("wait_for", 1)
        await site.says(waiting, "waiting 0")
    assert host.stop() == 0
    host.start()
    async with serving(host) as site:
        assert (await site.ends(one))["output"] == "dawdled"
        await site.raise_event(waiting, "go", "after the stop")
        assert (await site.ends(waiting))["output"] == ["after the stop"]
