"""7. Edge and control plane give the same verdict for the same operation, context and policy."""

from gateway_kernel.audit import Decided, Noted
from tests.support.world import GUARDED, World, bodies, decide, open_review, recordings, sending


def test_the_control_plane_reaches_the_edges_verdict(world: World) -> None:
    """Same rules in the review and in the recording, and no alert about a difference."""
    with world.connect(GUARDED) as agent, sending(agent, world.commands.increment) as answer:
        review = open_review(world)
        shown = world.stack.person("ann@example.com").get(f"/v1/reviews/{review}")
        decide(world, review)
    assert not answer[0].refused, answer[0].text
    decided = [body for recording in recordings(world) for body in bodies(recording, Decided) if body.review == review]
    assert [list(body.verdict.rules) for body in decided] == [shown["rules"]]
    assert not shown["alert"]
    assert not [note for recording in recordings(world) for note in bodies(recording, Noted) if "mismatch" in note.what]
