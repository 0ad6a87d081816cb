"""1. Nothing is forwarded before its decision is recorded, nor, where it changes anything or was reviewed, before it is sealed."""

import resource

import pytest

from gateway_kernel.audit import Decided, Finished, Outcome, Pending, Sending
from tests.support.world import (
    FREE,
    GUARDED,
    Answer,
    Recording,
    World,
    arm,
    bodies,
    decide,
    eventually,
    open_review,
    reached,
    recordings,
    sending,
    stopped,
    workers,
)


def ran(world: World, intent: str) -> int:
    """How often the upstream did it."""
    return sum(world.commands.marks[intent] in text for text in world.journal())


def die_at(world: World, point: str, command: str, where: str) -> Recording:
    """Kill the edge at `point` while it handles `command`; what its disk held, closed and shipped by the next worker.

    A recovery adds outcomes and the end of the session alone, so that every other event was on the disk when the kill came.
    """
    with world.connect(where) as agent:
        world.opened(agent)
        arm(world, "edge", point)
        if where == GUARDED and point.startswith("consume"):
            with sending(agent, command) as answer:
                decide(world, open_review(world))
        else:
            answer = [agent.send(command)]
    assert answer[0].lost
    reached(world, "edge")
    (recording,) = recordings(world)
    return recording


@pytest.mark.parametrize("intent", ["look", "increment"])
def test_a_crash_at_the_moment_of_sending_finds_the_decision_on_disk(world: World, intent: str) -> None:
    """Whoever kills the edge when it is about to forward finds the event that says so."""
    recording = die_at(world, "forward:before", getattr(world.commands, intent), FREE)
    (sent,) = bodies(recording, Sending)
    assert sent.operation is not None
    assert world.commands.marks[intent] in sent.operation.text
    assert ran(world, intent) == 0


def test_a_reviewed_operation_is_decided_on_disk_before_the_grant_is_used(world: World) -> None:
    """Pending and decision stand in the spool when the grant is about to be consumed; upstream has seen nothing."""
    recording = die_at(world, "consume:before", world.commands.increment, GUARDED)
    assert bodies(recording, Pending)
    assert [body for body in bodies(recording, Decided) if body.grant and body.approvers]
    assert not bodies(recording, Sending)
    assert ran(world, "increment") == 0


@pytest.mark.parametrize("where", [FREE, GUARDED])
def test_a_change_whose_record_is_not_fsynced_yet_was_not_sent(world: World, where: str) -> None:
    """Killed right before the fsync that seals it: it stands in the file, and neither upstream nor people have seen it."""
    recording = die_at(world, "seal:before", world.commands.increment, where)
    assert bodies(recording, Sending if where == FREE else Pending)
    assert ran(world, "increment") == 0
    assert not world.stack.person("ann@example.com").get("/v1/reviews", state="open")["reviews"]


def test_a_spool_at_its_quota_refuses_and_loses_nothing(world: World) -> None:
    """Filled by real traffic while the control plane is away; refused by name, and all told once it is back."""
    world.start_edge("spool: {quota: 1MiB, segment: 64KiB}\n")
    padded = world.padded(world.commands.increment, 20_000)
    count = world.counter()
    with world.connect(FREE) as agent:
        with stopped(world.stack.control):
            done = 0
            while not (answer := agent.send(padded)).refused:
                done += 1
                assert done < 200, "the quota was never reached"
            unrecordable(answer)
            unrecordable(agent.send(world.padded(world.commands.look, 20_000)))
            assert world.counter() == count + done
        eventually(lambda: not agent.send(padded).refused, "work goes on when there is room again")
    assert world.counter() == count + done + 1
    assert completed(world) == done + 1


def test_a_disk_that_takes_no_more_refuses_and_loses_nothing(world: World) -> None:
    """The system refuses the write half-way: reads are refused, too; with room again everything passes and is told."""
    count = world.counter()
    padded = world.padded(world.commands.increment, 20_000)
    (worker,) = workers(world)
    with world.connect(FREE) as agent:
        assert not agent.send(world.commands.increment).refused
        segment = max((world.stack.home / "edge" / "spool").rglob("*.*"), key=lambda path: path.stat().st_size)
        _, hard = resource.prlimit(worker, resource.RLIMIT_FSIZE)
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (segment.stat().st_size + 10_000, hard))
        try:
            unrecordable(agent.send(padded))
            unrecordable(agent.send(world.padded(world.commands.look, 20_000)))
            assert world.counter() == count + 1
        finally:
            resource.prlimit(worker, resource.RLIMIT_FSIZE, (hard, hard))
        eventually(lambda: not agent.send(padded).refused, "work goes on when there is room again")
    assert world.counter() == count + 2
    assert completed(world) == 2


def unrecordable(answer: Answer) -> None:
    """The refusal names its rule, and the connection lives."""
    assert answer.refused
    assert not answer.lost
    assert "recording-unavailable" in answer.text


def completed(world: World) -> int:
    """Changes that the recordings tell were completed; each verifies."""
    told = recordings(world)
    sent = {
        body.id
        for recording in told
        for body in bodies(recording, Sending)
        if body.operation is not None and world.commands.marks["increment"] in body.operation.text
    }
    ends = [body for recording in told for body in bodies(recording, Finished)]
    return sum(body.id in sent and body.outcome is Outcome.COMPLETED for body in ends)
