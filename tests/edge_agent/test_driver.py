"""The driver against a scripted channel, with a real spool, policy and control plane stand-in: what it does when things fail."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.admitted import INTERNAL_ERROR, POLICY_STALE, RECORDING_UNAVAILABLE
from edge_agent.bundle import Bundles
from edge_agent.control_client import ControlClient
from edge_agent.driver import Driver
from edge_agent.limits import Counters
from edge_agent.metrics import Counts
from edge_agent.recorder import Recorder
from edge_agent.reviews import Reviews
from edge_agent.secrets import Vault
from edge_agent.segments import HEADER
from edge_agent.settings import Limits
from edge_agent.spool import Spool
from gateway_kernel.audit import Body, Decided, Finished, Outcome, Pending, ResponseRecord, Sending, SessionOpened, read
from gateway_kernel.commands import GRANT_MISMATCH, REVIEW_EXPIRED, REVIEW_LIMIT, Refuse, Result
from gateway_kernel.contract import Claim, Problem
from gateway_kernel.judge import Judgement
from gateway_kernel.model import SECOND, Agent, Operation, Resource, Session
from gateway_kernel.review import State
from tests.edge_agent.conftest import LIMIT, FullDisk, settings_for
from tests.support.control_plane import EDGE, EDGE_KEY, POLICY, ControlPlane
from tests.support.toy_room import operation

NONE = Limits(0, 0, 0, 0)


class Scripted:
    """A channel that notes what the driver asks of it; `forwarding` says what to do when it is to forward."""

    def __init__(self, hold: float = LIMIT) -> None:
        self.hold = hold
        self.said: list[str] = []
        self.refusals: list[Refuse] = []
        self.forwarded: list[Judgement] = []
        self.done: Callable[[Result], None] | None = None
        self.at_once = True
        self.happened = asyncio.Event()

    def waiting(self, review: str, url: str) -> None:
        self.said.append(review)
        self.happened.set()

    def forward(self, judgement: Judgement, max_rows: int | None, done: Callable[[Result], None]) -> None:
        self.forwarded.append(judgement)
        self.done = done
        self.happened.set()
        if self.at_once:
            done(result(judgement.operation))

    def refuse(self, refusal: Refuse) -> None:
        self.refusals.append(refusal)
        self.happened.set()

    async def something(self) -> None:
        """Wait until the driver calls."""
        await asyncio.wait_for(self.happened.wait(), LIMIT)
        self.happened.clear()

    @property
    def rule(self) -> str:
        """The rule of the one refusal."""
        (refusal,) = self.refusals
        return refusal.verdict.rules[0]


def result(one: Operation, outcome: Outcome = Outcome.COMPLETED, rows: int = 1) -> Result:
    return Result(Finished(one.id, outcome, "OK", ResponseRecord("rows", rows=rows, bytes=10 * rows)), outcome)


class Bench:
    """A driver with one open session."""

    def __init__(self, directory: Path, client: ControlClient, plane: ControlPlane) -> None:
        (directory / "data").mkdir()
        self.plane = plane
        self.clock = time.time()
        self.spool = Spool(directory / "data" / "spool", quota=64 << 20)
        self.recorder = Recorder(self.spool, Vault.in_directory(directory), self.now)
        self.recorder.recover()
        self.bundles = Bundles(settings_for(directory, plane.url), EDGE, lambda: self.clock)
        self.reviews = Reviews(client, self.bundles, directory / "data" / "reviews.json", self.now)
        self.driver = Driver(
            edge=EDGE,
            recorder=self.recorder,
            reviews=self.reviews,
            bundles=self.bundles,
            counters=Counters(NONE, NONE, lambda _: NONE),
            counts=Counts(),
            now=self.now,
        )
        self.session = Session("s-1", Agent("ci-bot"), Resource("orders-db", "postgres", {"env": "prod"}), self.now())
        opened = SessionOpened(self.session.agent, self.session.resource, "enforce", EDGE)
        self.recorder.open(self.session.id, opened)
        self._directory = directory

    def now(self) -> int:
        return int(self.clock * SECOND)

    def recorded(self) -> list[Body]:
        """The bodies recorded since the session opened."""
        lines = [
            line
            for path in sorted((self._directory / "data/spool").glob("*.ndjson"))
            for line in path.read_bytes().splitlines()
        ]
        return [read(line).body for line in lines if not line.startswith(HEADER)][1:]

    def kinds(self) -> list[type]:
        return [type(body) for body in self.recorded()]


@pytest.fixture
async def bench(tmp_path: Path, control_plane: ControlPlane) -> AsyncIterator[Bench]:
    async with ControlClient(control_plane.url, EDGE, EDGE_KEY) as client:
        bench = Bench(tmp_path, client, control_plane)
        found = await client.bundle("")
        assert found is not None
        bench.bundles.accept(*found)
        feed = asyncio.create_task(bench.reviews.follow())
        yield bench
        feed.cancel()
        bench.reviews.close()
        await bench.spool.close()


async def test_an_allowed_read_is_forwarded_before_admit_returns(bench: Bench) -> None:
    """Recorded first, without a task or a wait."""
    channel = Scripted()
    channel.at_once = False
    bench.driver.admit(operation("read 1"), bench.session, channel)
    assert len(channel.forwarded) == 1
    assert bench.kinds() == [Sending]
    assert channel.done is not None
    channel.done(result(channel.forwarded[0].operation))
    assert bench.kinds() == [Sending, Finished]
    assert (bench.session.operations, bench.session.rows_read, bench.session.bytes_read) == (1, 1, 10)


async def test_a_write_is_sealed_before_it_is_forwarded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fsync comes between the record and the sending."""
    order: list[str] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda fd: (real(fd), order.append("sealed"))[0])
    channel = Scripted()
    bench.driver.admit(operation("write 1"), bench.session, channel)
    assert channel.forwarded == []
    await channel.something()
    order.append("forwarded")
    assert order[0] == "sealed"
    assert "forwarded" in order
    assert bench.kinds() == [Sending, Finished]
    assert bench.session.rows_written == 1


async def test_what_cannot_be_recorded_is_not_forwarded(bench: Bench, full_disk: FullDisk) -> None:
    """Nor is a denial changed; both are counted, and told when the disk takes it."""
    full_disk.fill(bench.spool)
    allowed, denied = Scripted(), Scripted()
    bench.driver.admit(operation("read 1"), bench.session, allowed)
    bench.driver.admit(operation("schema x"), bench.session, denied)
    assert (allowed.rule, denied.rule) == (RECORDING_UNAVAILABLE, "no-schema")
    assert allowed.forwarded == []
    await full_disk.relieve(bench.spool)
    (noted,) = bench.recorded()
    assert "2 refusals" in str(noted)


async def test_what_cannot_be_sealed_is_not_forwarded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record that it was being sent is followed by the truth: it was not."""

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", broken)
    monkeypatch.setattr("edge_agent.spool.RETRY_AFTER", 0.01)
    channel = Scripted()
    bench.driver.admit(operation("write 1"), bench.session, channel)
    await channel.something()
    assert (channel.rule, channel.forwarded) == (RECORDING_UNAVAILABLE, [])
    writable = asyncio.Event()
    settle = bench.spool.on_writable
    bench.spool.on_writable = lambda: (settle(), writable.set())[0]
    monkeypatch.undo()
    await asyncio.wait_for(writable.wait(), LIMIT)
    finished = [body for body in bench.recorded() if isinstance(body, Finished)]
    assert [each.outcome for each in finished] == [Outcome.NOT_SENT]


async def test_an_outcome_that_cannot_be_recorded_now_is_recorded_later(bench: Bench, full_disk: FullDisk) -> None:
    """What ran is never forgotten."""
    channel = Scripted()
    channel.at_once = False
    bench.driver.admit(operation("read 1"), bench.session, channel)
    full_disk.fill(bench.spool)
    assert channel.done is not None
    channel.done(result(channel.forwarded[0].operation))
    assert bench.kinds() == [Sending]
    await full_disk.relieve(bench.spool)
    assert bench.kinds() == [Sending, Finished]


async def test_a_room_that_fails_while_forwarding_leaves_unknown(bench: Bench) -> None:
    """Nobody can say how much of it was sent."""

    class Failing(Scripted):
        def forward(self, judgement: Judgement, max_rows: int | None, done: Callable[[Result], None]) -> None:
            raise RuntimeError("defect")

    channel = Failing()
    bench.driver.admit(operation("read 1"), bench.session, channel)
    finished = bench.recorded()[-1]
    assert isinstance(finished, Finished)
    assert finished.outcome is Outcome.UNKNOWN


async def test_a_defect_in_judging_refuses(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail closed, recorded, and without the defect's own words."""
    policy = bench.bundles.policy
    assert policy is not None

    def broken(*_: object) -> None:
        raise RuntimeError("secret inside")

    monkeypatch.setattr(policy, "evaluate", broken)
    channel = Scripted()
    bench.driver.admit(operation("read 1"), bench.session, channel)
    assert (channel.rule, channel.forwarded, bench.kinds()) == (INTERNAL_ERROR, [], [Decided])
    assert "secret inside" not in channel.refusals[0].verdict.reason


async def test_a_stale_policy_refuses_everything(bench: Bench) -> None:
    """The refusal is recorded, and says since when."""
    bench.clock += 3601
    channel = Scripted()
    bench.driver.admit(operation("read 1"), bench.session, channel)
    assert (channel.rule, bench.kinds()) == (POLICY_STALE, [Decided])


async def test_an_outcome_told_twice_counts_once(bench: Bench) -> None:
    """The first one holds."""
    channel = Scripted()
    channel.at_once = False
    bench.driver.admit(operation("read 1"), bench.session, channel)
    assert channel.done is not None
    channel.done(result(channel.forwarded[0].operation))
    channel.done(result(channel.forwarded[0].operation, Outcome.FAILED))
    assert bench.kinds() == [Sending, Finished]
    assert bench.session.rows_read == 1


async def test_an_agent_that_leaves_before_sealing_sends_nothing(bench: Bench) -> None:
    """And the recording says `not_sent`."""
    channel = Scripted()
    admitting = bench.driver.admit(operation("write 1"), bench.session, channel)
    admitting.abandon()
    sealed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    bench.recorder.seal(sealed.set_result)
    await asyncio.wait_for(sealed, LIMIT)
    assert (channel.forwarded, channel.refusals) == ([], [])
    finished = bench.recorded()[-1]
    assert isinstance(finished, Finished)
    assert finished.outcome is Outcome.NOT_SENT


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ({"digest": "0" * 64}, GRANT_MISMATCH),
        ({"agent": "other"}, GRANT_MISMATCH),
        ({"resource": "other"}, GRANT_MISMATCH),
        ({"expires": 1}, GRANT_MISMATCH),
        ({"issued": 4_000_000_000_000_000}, GRANT_MISMATCH),
    ],
)
async def test_a_grant_for_anything_else_permits_nothing(bench: Bench, override: dict[str, Any], rule: str) -> None:
    """Another operation, agent, resource or time."""
    channel = Scripted()
    bench.driver.admit(operation("delete 7"), bench.session, channel)
    await channel.something()
    await bench.plane.settle(await bench.plane.review(), State.APPROVED, **override)
    await channel.something()
    assert (channel.rule, channel.forwarded) == (rule, [])
    assert not any("consume" in call for call in bench.plane.calls)


async def test_a_policy_that_denies_meanwhile_voids_the_approval(bench: Bench) -> None:
    """The grant is not consumed."""
    channel = Scripted()
    bench.driver.admit(operation("delete 7"), bench.session, channel)
    await channel.something()
    bench.plane.policy = POLICY.replace('e.kind == "schema")', 'e.kind in ["schema", "delete"])')
    async with ControlClient(bench.plane.url, EDGE, EDGE_KEY) as client:
        found = await client.bundle(bench.bundles.etag)
        assert found is not None
        bench.bundles.accept(*found)
    await bench.plane.settle(await bench.plane.review(), State.APPROVED)
    await channel.something()
    assert (channel.rule, channel.forwarded) == ("no-schema", [])
    assert bench.kinds() == [Pending, Decided]


async def test_a_grant_used_elsewhere_is_told(bench: Bench) -> None:
    """Two edges, one grant: the loser says who used it."""
    channel = Scripted()
    bench.driver.admit(operation("delete 7"), bench.session, channel)
    await channel.something()
    review = await bench.plane.review()
    review.holder = Claim("another", "s-9")
    await bench.plane.settle(review, State.APPROVED)
    await channel.something()
    assert (channel.rule, channel.forwarded) == ("grant-used", [])


async def test_an_expired_review_and_a_full_queue_are_told_as_such(bench: Bench) -> None:
    """Each by its own rule."""
    channel = Scripted()
    bench.driver.admit(operation("delete 7"), bench.session, channel)
    await channel.something()
    await bench.plane.settle(await bench.plane.review(), State.EXPIRED)
    await channel.something()
    assert channel.rule == REVIEW_EXPIRED
    bench.plane.refuse_submissions = Problem("review-limit", "Too many open reviews", 429)
    channel = Scripted()
    bench.driver.admit(operation("delete 8"), bench.session, channel)
    await channel.something()
    assert (channel.rule, bench.driver.waiting) == (REVIEW_LIMIT, set())


async def test_a_hold_that_ends_while_another_waiter_stays_keeps_the_review(bench: Bench) -> None:
    """The patient one gets the approval."""
    short, long = Scripted(hold=0.05), Scripted()
    bench.driver.admit(operation("delete 7"), bench.session, short)
    bench.driver.admit(operation("delete 7"), bench.session, long)
    while not short.refusals:
        await short.something()
    assert (short.rule, short.refusals[0].held) == ("review-pending", True)
    await bench.plane.settle(await bench.plane.review(), State.APPROVED)
    while not long.forwarded:
        await long.something()
    assert len(bench.plane.reviews) == 1


async def test_when_the_first_in_line_leaves_the_next_one_gets_the_grant(bench: Bench) -> None:
    """Nobody's departure wastes an approval."""
    first, second = Scripted(), Scripted()
    gone = bench.driver.admit(operation("delete 7"), bench.session, first)
    bench.driver.admit(operation("delete 7"), bench.session, second)
    await first.something()
    await second.something()  # both are in line: sealing may have taken them one after the other
    gone.withdraw()
    assert first.rule == "review-withdrawn"
    await bench.plane.settle(await bench.plane.review(), State.APPROVED)
    while not second.forwarded:
        await second.something()
    assert first.forwarded == []
