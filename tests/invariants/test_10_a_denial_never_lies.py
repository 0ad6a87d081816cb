"""10. A denial never lies: the agent is told no only if nothing of that command, or of the transaction it stands in, took or will take effect;
and the connection stays usable whenever the protocol allows it. (Transactions: tests/edge_agent/protocols/<name>.)"""

from tests.support.world import FREE, GUARDED, World, decide, open_review, sending


def test_a_refused_change_changed_nothing(world: World) -> None:
    """Denied by people or by policy: the counter stands, the connection lives."""
    count = world.counter()
    with world.connect(GUARDED) as agent:
        with sending(agent, world.commands.increment) as answer:
            decide(world, open_review(world), "deny", reason="no")
        assert answer[0].refused
        assert not agent.send(world.commands.look).refused
    assert world.counter() == count


def test_an_allowed_change_after_a_refusal_is_told_truly(world: World) -> None:
    """The refusal does not leak into what follows."""
    count = world.counter()
    with world.connect(FREE) as agent:
        assert agent.send(world.commands.forbidden).refused
        assert not agent.send(world.commands.increment).refused
    assert world.counter() == count + 1
