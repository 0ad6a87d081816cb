"""4. Anything unknown, unparseable, oversized or unmaskable is refused, and the refusal is recorded."""

import pytest

from gateway_kernel.audit import Decided
from gateway_kernel.verdict import Decision
from tests.support.world import FREE, World, bodies, recordings


@pytest.mark.parametrize("intent", ["unreadable", "oversized", "forbidden"])
def test_it_is_refused_and_the_connection_stays_usable(world: World, intent: str) -> None:
    """The agent is told no, the upstream saw nothing, and the next command works on the same connection."""
    command = getattr(world.commands, intent)
    before = len(world.journal())
    with world.connect(FREE) as agent:
        answer = agent.send(command)
        assert answer.refused or "syntax error" in answer.text, answer.text
        assert not answer.lost
        assert not agent.send(world.commands.look).refused
    assert not any(world.commands.marks[intent] in text for text in world.journal()[before:])


def test_every_refusal_is_recorded(world: World) -> None:
    """For each refused command there is a decision that denies, with its text as far as it may be kept."""
    with world.connect(FREE) as agent:
        agent.send(world.commands.unreadable)
        agent.send(world.commands.forbidden)
    denied = [
        body.operation.text
        for recording in recordings(world)
        for body in bodies(recording, Decided)
        if body.verdict.decision is Decision.DENY
    ]
    assert world.text(world.commands.unreadable) in denied
    assert world.text(world.commands.forbidden) in denied
