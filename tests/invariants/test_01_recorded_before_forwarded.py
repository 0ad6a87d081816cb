"""1. Nothing is forwarded before its decision is recorded, nor, where it changes anything or was reviewed, before it is sealed."""

from pathlib import Path

import pytest

from gateway_kernel.audit import Decided, Pending, Sending, read
from tests.support.world import FREE, GUARDED, Connection, World, decide, eventually, open_review, sending


def spooled(world: World, home: Path) -> list[bytes]:
    """Every audit line on the edge's disk."""
    files = sorted(home.rglob("spool/**/*"))
    lines = [line for path in files if path.is_file() for line in path.read_bytes().split(b"\n")]
    return [line for line in lines if line.startswith(b'{"v":1') and b'"session"' in line and b'"previous"' in line]


def die_at(world: World, point: str, command: str, resource: str) -> list[bytes]:
    """Let the edge die at `point` while it handles `command`; what its disk holds afterwards."""
    world.start_edge(SALLYPORT_FAILPOINT=point)
    with world.connect(resource) as agent:
        if resource == GUARDED:
            with sending(agent, command) as answer:
                decide(world, open_review(world))
        else:
            answer = [agent.send(command)]
    assert answer[0].lost
    edge = world.stack.edge
    assert edge is not None
    assert edge.process.wait(20) == -9
    return spooled(world, world.stack.home / "edge")


@pytest.mark.parametrize("intent", ["look", "increment"])
def test_a_crash_at_the_moment_of_sending_finds_the_decision_on_disk(stopped_world: World, intent: str) -> None:
    """Whoever kills the edge when it is about to forward finds the event that says so."""
    world = stopped_world
    before = len([text for text in world.journal() if world.commands.marks[intent] in text])
    lines = die_at(world, "forward:before", getattr(world.commands, intent), FREE)
    told = [event.body for event in map(read, lines) if isinstance(event.body, Sending)]
    assert any(body.operation is not None and world.commands.marks[intent] in body.operation.text for body in told)
    assert len([text for text in world.journal() if world.commands.marks[intent] in text]) == before


def test_a_reviewed_operation_is_decided_on_disk_before_the_grant_is_used(stopped_world: World) -> None:
    """Pending and decision stand in the spool when the grant is about to be consumed; upstream has seen nothing."""
    world = stopped_world
    count = world.counter()
    lines = die_at(world, "consume:before", world.commands.increment, GUARDED)
    told = [event.body for event in map(read, lines)]
    assert any(isinstance(body, Pending) for body in told)
    assert any(isinstance(body, Decided) and body.grant and body.approvers for body in told)
    assert world.counter() == count


def refuses(agent: Connection, command: str) -> bool:
    return agent.send(command).refused


def test_what_cannot_be_recorded_is_not_forwarded(stopped_world: World) -> None:
    """With a full spool every operation is refused, reads too; with room again they pass."""
    world = stopped_world
    spool = world.stack.home / "edge"
    world.start_edge(SALLYPORT_FAULT="spool:full")
    with world.connect(FREE) as agent:
        answer = agent.send(world.commands.increment)
    assert answer.refused
    assert "recording-unavailable" in answer.text
    assert spool.exists()
    assert world.counter() == eventually(lambda: world.counter() + 1, "counter") - 1
