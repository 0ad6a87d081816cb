"""2. What executes is byte for byte what was judged and approved: statement, parameters, streamed input, target, role."""

from gateway_kernel.audit import Decided, Pending
from tests.support.world import GUARDED, World, bodies, decide, eventually, open_review, recordings, reviews, sending


def test_the_upstream_ran_exactly_what_the_approver_saw(world: World) -> None:
    """The text in the review, in the recording, and in the upstream's own journal are one."""
    text = world.text(world.commands.increment)
    with world.connect(GUARDED) as agent, sending(agent, world.commands.increment) as answer:
        review = open_review(world)
        shown = world.stack.person("ann@example.com").get(f"/v1/reviews/{review}")["text"]
        decide(world, review)
    assert not answer[0].refused, answer[0].text
    assert shown == text

    def ran() -> list[str]:
        return [text for text in world.journal() if world.commands.marks["increment"] in text]

    assert eventually(ran, "the upstream's journal tells it") == [text]
    decided = [body for recording in recordings(world) for body in bodies(recording, Decided) if body.grant]
    assert [body.operation.text for body in decided] == [text]
    pending = [body for recording in recordings(world) for body in bodies(recording, Pending)]
    assert {body.operation.digest for body in decided} == {body.operation.digest for body in pending}


def test_an_approval_does_not_cover_another_command(world: World) -> None:
    """Almost the same text is another operation with its own review."""
    with world.connect(GUARDED) as agent, sending(agent, world.commands.increment) as first:
        decide(world, open_review(world))
    assert not first[0].refused
    count = world.counter()
    with world.connect(GUARDED) as agent, sending(agent, world.padded(world.commands.increment, 1)) as second:
        decide(world, open_review(world), "deny", reason="not this one")
    assert second[0].refused
    assert world.counter() == count
    assert not reviews(world)
