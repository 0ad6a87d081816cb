"""The recorder: chains that verify, honest ends after a crash, and nothing true is forgotten when the disk refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.recorder import Recorder, Unused
from edge_agent.secrets import Vault
from edge_agent.segments import HEADER
from edge_agent.spool import Spool, SpoolError
from gateway_kernel.audit import (
    AuditEvent,
    Decided,
    Finished,
    Noted,
    OperationRecord,
    Outcome,
    Pending,
    Repeated,
    Sending,
    SessionClosed,
    SessionOpened,
    VerdictRecord,
    read,
    verify,
)
from gateway_kernel.model import Agent, Resource
from gateway_kernel.verdict import Decision
from tests.edge_agent.conftest import FullDisk

OPENED = SessionOpened(Agent("ci-bot"), Resource("orders-db", "postgres"), "enforce", "edge-1")
ALLOW = VerdictRecord(Decision.ALLOW, ("r",), ("r",), "d")
DENY = VerdictRecord(Decision.DENY, ("r",), ("r",), "d")


def operation(name: str) -> OperationRecord:
    return OperationRecord(name, "postgres", "DELETE", f"DELETE {name}", ())


class Disk:
    """A spool's directory and who writes to it now."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = 0
        self.unused: tuple[Unused, ...] = ()
        self.spool, self.recorder = self.start()

    def start(self) -> tuple[Spool, Recorder]:
        self.spool = Spool(self.directory / "spool", quota=64 << 20)
        self.recorder = Recorder(self.spool, Vault.in_directory(self.directory), self.tick)
        self.unused = self.recorder.recover()
        return self.spool, self.recorder

    def tick(self) -> int:
        self.now += 1
        return self.now

    async def crash(self) -> None:
        """Stop without any clean-up of sessions, and start again."""
        await self.spool.close()
        self.start()

    def events(self) -> dict[str, list[AuditEvent]]:
        """Every recording on disk, verified."""
        lines: dict[str, list[bytes]] = {}
        for path in sorted((self.directory / "spool").glob("*.ndjson")):
            for line in path.read_bytes().splitlines():
                if not line.startswith(HEADER):
                    lines.setdefault(read(line).session, []).append(line)
        for session, recording in lines.items():
            verify(session, recording)
        return {session: [read(line) for line in recording] for session, recording in lines.items()}


@pytest.fixture
async def disk(tmp_path: Path):
    disk = Disk(tmp_path)
    yield disk
    await disk.spool.close()


async def test_each_session_has_a_chain_of_its_own(disk: Disk) -> None:
    """Interleaved sessions verify one by one."""
    for name in ("a", "b"):
        disk.recorder.open(name, OPENED)
    for _ in range(3):
        for name in ("a", "b"):
            disk.recorder.record(name, Noted("x"))
    assert {name: len(events) for name, events in disk.events().items()} == {"a": 4, "b": 4}


@pytest.mark.parametrize(
    ("before", "outcome", "given_back"),
    [
        ((Pending(operation("op"), ALLOW),), Outcome.NOT_SENT, False),
        ((Pending(operation("op"), ALLOW), Decided(operation("op"), ALLOW, grant="g")), Outcome.NOT_SENT, True),
        (
            (Pending(operation("op"), ALLOW), Decided(operation("op"), ALLOW, grant="g"), Sending("op")),
            Outcome.UNKNOWN,
            False,
        ),
        ((Sending("op", operation("op"), ALLOW),), Outcome.UNKNOWN, False),
        ((Sending("op", operation("op"), ALLOW), Finished("op", Outcome.FAILED)), None, False),
        (
            (Sending("op", operation("op"), ALLOW), Finished("op", Outcome.COMPLETED), Repeated("op2", 1)),
            Outcome.UNKNOWN,
            False,
        ),
        ((Pending(operation("op"), ALLOW), Decided(operation("op"), DENY)), None, False),
    ],
)
async def test_a_restart_tells_the_outcome_honestly(
    disk: Disk, before: tuple[Pending, ...], outcome: Outcome | None, given_back: bool
) -> None:
    """`unknown` only between sending and outcome; a grant that was surely not used goes back; the session ends."""
    disk.recorder.open("s", OPENED)
    disk.recorder.record("s", *before)
    await disk.crash()
    events = [event.body for event in disk.events()["s"]]
    assert isinstance(events[-1], SessionClosed)
    assert events[-1].reason == "edge restarted"
    ends = [each.outcome for each in events[len(before) + 1 :] if isinstance(each, Finished)]
    assert ends == ([outcome] if outcome else [])
    assert disk.unused == ((Unused("g", "op", "s"),) if given_back else ())
    assert not disk.recorder.is_open("s")


async def test_a_session_that_ended_is_not_closed_again(disk: Disk) -> None:
    """A clean end needs no recovery."""
    disk.recorder.open("s", OPENED)
    disk.recorder.owe("s", SessionClosed("the agent left"))
    await disk.crash()
    assert [type(event.body) for event in disk.events()["s"]] == [SessionOpened, SessionClosed]


async def test_a_crash_during_recovery_is_recovered_from(disk: Disk) -> None:
    """Recovering twice closes once."""
    disk.recorder.open("s", OPENED)
    disk.recorder.record("s", Sending("op", operation("op"), ALLOW))
    await disk.crash()
    await disk.crash()
    assert sum(isinstance(event.body, SessionClosed) for event in disk.events()["s"]) == 1


async def test_rotation_with_operations_in_flight_loses_none_of_them(tmp_path: Path) -> None:
    """The header of the newest segment is enough to know what was open."""
    disk = Disk(tmp_path)
    disk.spool._segment_size = 2048  # pyright: ignore[reportPrivateUsage] - segments smaller than a setting may ask for
    disk.recorder.open("s", OPENED)
    disk.recorder.record("s", Sending("long", operation("long"), ALLOW))
    for number in range(50):
        name = f"op-{number}"
        disk.recorder.record("s", Sending(name, operation(name), ALLOW))
        disk.recorder.record("s", Finished(name, Outcome.COMPLETED))
    assert len(list((tmp_path / "spool").glob("*.ndjson"))) > 3
    await disk.crash()
    ends = [event.body for event in disk.events()["s"] if isinstance(event.body, Finished)]
    assert [(each.id, each.outcome) for each in ends if each.outcome is Outcome.UNKNOWN] == [("long", Outcome.UNKNOWN)]
    await disk.spool.close()


async def test_when_the_disk_refuses_the_chain_stands_and_what_is_owed_is_written_later(
    disk: Disk, full_disk: FullDisk
) -> None:
    """A refused event leaves no gap; an outcome waits; refusals are counted and told."""
    disk.recorder.open("s", OPENED)
    disk.recorder.record("s", Sending("op", operation("op"), ALLOW))
    full_disk.fill(disk.spool)
    with pytest.raises(SpoolError):
        disk.recorder.record("s", Sending("other", operation("other"), ALLOW))
    disk.recorder.refused_unrecorded("s")
    disk.recorder.refused_unrecorded("s")
    disk.recorder.owe("s", Finished("op", Outcome.COMPLETED))
    disk.recorder.owe("s", SessionClosed("the agent left"))
    assert not disk.recorder.is_open("s")
    await full_disk.relieve(disk.spool)
    bodies = [event.body for event in disk.events()["s"]]
    assert [type(each) for each in bodies] == [SessionOpened, Sending, Noted, Finished, SessionClosed]
    assert isinstance(bodies[2], Noted)
    assert bodies[2].detail.startswith("2 refusals")


async def test_an_event_that_cannot_be_encoded_leaves_the_chain_as_it_was(disk: Disk) -> None:
    """A lone surrogate is no UTF-8: the error is the caller's, the recording goes on."""
    disk.recorder.open("s", OPENED)
    with pytest.raises(UnicodeEncodeError):
        disk.recorder.record("s", Noted("x"), Noted("\ud800"))
    disk.recorder.record("s", Noted("y"))
    assert len(disk.events()["s"]) == 2


async def test_secrets_never_reach_the_disk(disk: Disk) -> None:
    """Neither in the spool nor in its header."""
    disk.recorder.open("s", OPENED)
    secret = OperationRecord("op", "postgres", "ALTER", "ALTER ROLE app PASSWORD 'hunter2'", ())
    disk.recorder.record("s", Sending("op", secret, ALLOW))
    for path in (disk.directory / "spool").iterdir():
        assert b"hunter2" not in path.read_bytes()
