"""8. A restart, anywhere, at any moment, loses no record and no pending review, sends nothing twice, and tells the outcome honestly.

The edge's worker and the control plane are killed at every failpoint of an allowed change, a refusal and a review, and started again: the
worker by its supervisor, the control plane by the test. Upstream is `n = n + 1`: what the recordings say must agree with what the counter
shows. `not_sent` means n, `completed` means n + 1, and `unknown` may only be said of an operation whose `sending` was recorded and whose
outcome was not.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Generator

import pytest

from edge_agent.failpoints import POINTS, parse
from function_app.failpoints import NAMES
from gateway_kernel.audit import Decided, Finished, Outcome, Pending, Sending
from gateway_kernel.verdict import Decision
from sallyport.client import ControlPlaneError
from tests.support.world import (
    FREE,
    GUARDED,
    LIMIT,
    Answer,
    World,
    arm,
    bodies,
    decide,
    eventually,
    kill_workers,
    reached,
    recordings,
    reviews,
    revive,
)

ELSEWHERE = (
    "withdraw:",  # an agent cancels: tests/edge_agent/protocols and test_kills
    "release:",  # a grant is given back after a kill: tests/edge_agent/test_kills
    "record:prepared",  # only where a protocol prepares
    "record:noted",  # what these three commands do not cause
)
AT_THE_START = ("recover:", "spool:rotate:")
"""Passed by a worker that starts behind one that was killed."""

ONCE = [point for point in POINTS if not point.startswith(ELSEWHERE)]
AGAIN = [
    f"{point}:2"
    for point in ONCE
    if point.startswith(("record:decided", "record:sending", "record:finished", "forward:", "outcome:", "seal:"))
]
"""The second visit is that of the reviewed change (of `decided`: the first is the refusal)."""

BETWEEN = {"record:sending:after", "forward:before", "forward:after", "outcome:before", "record:finished:before"}
"""Between a recorded `sending` and a recorded outcome: here `unknown` is the truth, and must be said."""
ANY_TIME = ("seal:", "ship:", "spool:", "bundle:", "decisions:", "settled:")
"""Passed by what runs beside the operations, so that one may be on its way upstream."""

NOT_IN_A_REVIEW = ("withdraw", "release", "link", "settle_denied", "sweep")
"""Each has its place in tests/function_app/test_crash.py."""
CONTROL_POINTS = sorted(name for name in NAMES if not any(word in name for word in NOT_IN_A_REVIEW))


@contextlib.contextmanager
def approving(world: World) -> Generator[None]:
    """A person approves whatever is asked, as soon as it is asked; while the control plane is down the person tries again."""
    done = threading.Event()

    def approve() -> None:
        while not done.wait(0.02):
            with contextlib.suppress(ControlPlaneError):
                for review in reviews(world):
                    decide(world, review["id"])

    approver = threading.Thread(target=approve, daemon=True)
    approver.start()
    try:
        yield
    finally:
        done.set()
        approver.join(LIMIT)


def attempt(world: World, resource: str, *commands: str) -> list[Answer]:
    """Connect, again and again while nobody listens, and send each command once."""

    def sent() -> list[Answer]:
        try:
            with world.connect(resource) as agent:
                return [agent.send(command) for command in commands]
        except ConnectionError:
            return []

    return eventually(sent, "the edge accepts a session")


def work(world: World) -> None:
    """One allowed change, one refused command, one reviewed change."""
    attempt(world, FREE, world.commands.increment, world.commands.forbidden)
    attempt(world, GUARDED, world.commands.increment)


def told(world: World) -> Counter[Outcome]:
    """The outcomes of all changes that the recordings tell, after every recording was found whole."""
    outcomes: Counter[Outcome] = Counter()
    for recording in recordings(world):
        sent = {body.id for body in bodies(recording, Sending)}
        finished = {body.id: body.outcome for body in bodies(recording, Finished)}
        decided = bodies(recording, Decided)
        refused = {body.operation.id for body in decided if body.verdict.decision is Decision.DENY}
        pending = {body.operation.id: body.operation for body in bodies(recording, Pending)}
        assert sent <= finished.keys(), "every operation that was being sent has an outcome"
        assert pending.keys() <= finished.keys() | refused, (
            "every review that was asked for has an end in the recording"
        )
        texts = {name: operation.text for name, operation in pending.items()}
        texts |= {body.id: body.operation.text for body in bodies(recording, Sending) if body.operation is not None}
        changes = {name for name, text in texts.items() if world.commands.marks["increment"] in text}
        outcomes.update(outcome for name, outcome in finished.items() if name in changes)
        unknown = {name for name, outcome in finished.items() if outcome is Outcome.UNKNOWN}
        assert unknown <= sent, "`unknown` is said only of what was being sent"
    return outcomes


def agree(world: World, before: int) -> Counter[Outcome]:
    """What the recordings tell is what the counter shows, and nothing was sent twice."""
    outcomes = told(world)
    added = world.counter() - before
    completed, unknown = outcomes[Outcome.COMPLETED], outcomes[Outcome.UNKNOWN]
    assert completed <= added <= completed + unknown, f"{added} changes took effect, told: {dict(outcomes)}"
    ran = [text for text in world.journal() if world.commands.marks["increment"] in text]
    assert len(ran) == added, "nothing was sent twice"
    return outcomes


def goes_on(world: World) -> None:
    """A reviewed change goes through, once; an approval that the kill left unused serves for it."""
    count = world.counter()

    def changed() -> bool:
        (answer,) = attempt(world, GUARDED, world.commands.increment)
        return not answer.refused and not answer.lost

    eventually(changed, "a reviewed change goes through after the restart")
    assert world.counter() == count + 1


@pytest.mark.parametrize("point", [*ONCE, *AGAIN])
def test_the_edge_dies_and_comes_back(world: World, point: str) -> None:
    """Killed at the point, started again by its supervisor: the truth is in the recordings, and work goes on."""
    before = world.counter()
    arm(world, "edge", point)
    with approving(world):
        work(world)
        if point.startswith(AT_THE_START):
            kill_workers(world)
        reached(world, "edge")
        outcomes = agree(world, before)
        goes_on(world)
    if not point.startswith(ANY_TIME):
        assert outcomes[Outcome.UNKNOWN] == (parse(point)[0] in BETWEEN)
    assert outcomes[Outcome.UNKNOWN] <= 1
    agree(world, before)


@pytest.mark.parametrize("point", CONTROL_POINTS)
def test_the_control_plane_dies_and_comes_back(world: World, point: str) -> None:
    """The edge rides it out; no review and no decision is lost, nothing is sent twice."""
    before = world.counter()
    arm(world, "control-plane", point)
    agent = threading.Thread(target=attempt, args=(world, GUARDED, world.commands.increment), daemon=True)
    with approving(world):
        agent.start()
        control = world.stack.control
        assert control is not None
        assert control.process.wait(LIMIT) == -9
        reached(world, "control-plane")
        revive(world)
        agent.join(LIMIT)
        assert not agent.is_alive()
        goes_on(world)
    assert not agree(world, before)[Outcome.UNKNOWN]
    assert not reviews(world)
