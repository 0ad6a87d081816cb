"""6. The owner never approves for the agent; one person counts once, whatever groups they are in."""

from sallyport.client import ControlPlaneError
from tests.support.world import (
    APPROVER,
    GUARDED,
    OWNER,
    SECOND,
    World,
    decide,
    open_review,
    push_policy,
    reviews,
    sending,
)

TWO = "approvers: [dba], expires: 1h"


def attempt(world: World, review: str, person: str, choice: str = "approve") -> str:
    """What the control plane says to that person's decision."""
    try:
        return str(decide(world, review, choice, person=person))
    except ControlPlaneError as error:
        return str(error)


def test_the_owner_changes_nothing(world: World) -> None:
    """In the approvers' group and signed in, the owner is still refused; another person then decides."""
    count = world.counter()
    with world.connect(GUARDED) as agent, sending(agent, world.commands.increment) as answer:
        review = open_review(world)
        said = attempt(world, review, OWNER)
        assert [one["id"] for one in reviews(world)] == [review], said
        assert world.counter() == count
        decide(world, review, person=APPROVER)
    assert not answer[0].refused
    assert world.counter() == count + 1


def test_one_person_counts_once(world: World) -> None:
    """With a quorum of two, the same person twice is one; a second person completes it."""
    policy = world.stack.admin().get("/v1/policies/active")["text"]
    push_policy(world, policy.replace(TWO, "approvers: [dba], quorum: 2, expires: 1h"))
    count = world.counter()
    try:
        with world.connect(GUARDED) as agent, sending(agent, world.commands.increment) as answer:
            review = open_review(world)
            decide(world, review, person=APPROVER)
            attempt(world, review, APPROVER)
            assert [one["id"] for one in reviews(world)] == [review]
            assert world.counter() == count
            decide(world, review, person=SECOND)
        assert not answer[0].refused, answer[0].text
        assert world.counter() == count + 1
    finally:
        push_policy(world, policy)
