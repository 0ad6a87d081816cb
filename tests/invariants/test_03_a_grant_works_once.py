"""3. A grant works once, for one digest, one agent, one resource, until it expires; across edges, replicas and restarts."""

from concurrent.futures import ThreadPoolExecutor

from gateway_kernel.audit import Decided
from sallyport.client import ControlPlane, ControlPlaneError
from sallyport.stack import EDGE
from tests.support.world import (
    GUARDED,
    Answer,
    World,
    bodies,
    decide,
    eventually,
    open_review,
    recordings,
    reviews,
    sending,
)


def test_two_waiters_of_one_review_run_it_once(world: World) -> None:
    """The same command twice at the same time joins one review; one waiter uses the grant, the other is told the outcome."""
    count = world.counter()
    with world.connect(GUARDED) as one, world.connect(GUARDED) as two:
        with sending(one, world.commands.increment) as first, sending(two, world.commands.increment) as second:
            review = open_review(world)
            eventually(lambda: _waiters(world, review) >= 2, "both wait")
            assert len(reviews(world)) == 1
            decide(world, review)
        answers = [first[0], second[0]]
    assert world.counter() == count + 1
    assert sorted(answer.refused for answer in answers) == [False, True]
    assert "completed" in next(answer.text for answer in answers if answer.refused)


def _waiters(world: World, review: str) -> int:
    """How many operations the edge recorded as pending so far."""
    text = world.stack.home / "edge"
    return sum(
        line.count(b'"type":"pending"')
        for path in text.rglob("spool/**/*")
        if path.is_file()
        for line in [path.read_bytes()]
    )


def test_the_control_plane_gives_a_grant_to_one_operation(world: World) -> None:
    """Claims of one hundred operations at once: exactly one is told that it is theirs, and is told so again."""
    with world.connect(GUARDED) as agent, sending(agent, world.commands.increment) as answer:
        decide(world, open_review(world))
    assert not answer[0].refused
    grant = next(body for recording in recordings(world) for body in bodies(recording, Decided) if body.grant)
    edge = ControlPlane(world.stack.url, (world.stack.keys / "edge").read_text().strip())
    owner = grant.operation.id

    def claim(operation: str) -> bool:
        body = {"operation": operation, "session": "s"}
        try:
            return edge.post(f"/v1/edges/{EDGE}/grants/{grant.grant}/consume", body)["ours"]
        except ControlPlaneError:
            return False

    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(claim, [f"intruder-{n}" for n in range(100)]))
    assert not any(told)
    assert claim(owner)


def test_the_same_command_again_needs_a_new_approval(world: World) -> None:
    """A used grant opens nothing; the new review says what it is identical to."""
    with world.connect(GUARDED) as agent:
        with sending(agent, world.commands.increment) as first:
            decide(world, open_review(world))
        assert not first[0].refused
        count = world.counter()
        with sending(agent, world.commands.increment) as again:
            review = open_review(world)
            shown = world.stack.person("ann@example.com").get(f"/v1/reviews/{review}")
            decide(world, review, "deny")
    assert isinstance(again[0], Answer)
    assert again[0].refused
    assert shown["identical_to"]
    assert world.counter() == count
