"""8. A restart, anywhere, at any moment, loses no record and no pending review, sends nothing twice, and tells the outcome honestly.

The edge and the control plane are killed at every failpoint of a change and of a review, and started again. Upstream is `n = n + 1`: what the
recordings say must agree with what the counter shows. `not_sent` means n, `completed` means n + 1, and `unknown` may only be said of an operation
whose `sending` was recorded and whose outcome was not.
"""

import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from edge_agent.failpoints import POINTS
from function_app.failpoints import NAMES
from gateway_kernel.audit import Decided, Finished, Outcome, Pending, Sending
from gateway_kernel.verdict import Decision
from sallyport.client import ControlPlaneError
from sallyport.local_postgres import Postgres
from tests.support.world import (
    APPROVER,
    FREE,
    GUARDED,
    Answer,
    World,
    bodies,
    decide,
    eventually,
    recordings,
    reviews,
)
from tests.support.worlds import WORLDS

BETWEEN = {
    "forward:before",
    "forward:after",
    "outcome:before",
    "record:finished:before",
    "record:finished:after",
    "record:sending:after",
}
"""Points between a recorded `sending` and a recorded outcome: here, and only here, `unknown` is honest."""

NOT_ON_THIS_PATH = {
    "withdraw:before", "withdraw:after", "release:before", "release:after", "spool:rotate:before", "spool:rotate:after",
    "recover:before", "recover:after", "record:prepared:before", "record:prepared:after", "record:noted:before", "record:noted:after",
}  # fmt: skip
"""Not reached by an allowed change, a reviewed change and a refusal; each has its own test in tests/edge_agent."""

EDGE_POINTS = [point for point in POINTS if point not in NOT_ON_THIS_PATH]
CONTROL_POINTS = sorted(
    name
    for name in NAMES
    if not any(word in name for word in ("withdraw", "release", "link", "settle_denied", "notifier", "sweep"))
)


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest, postgres: Postgres, tmp_path: object) -> Iterator[World]:
    """A fresh world for each kill; the test starts the edge."""
    with WORLDS[request.param](tmp_path, postgres, start=False) as found:
        yield found


def work(world: World) -> list[Answer]:
    """One allowed change, one refused command, one reviewed change that a person approves as soon as it is asked."""
    stop = threading.Event()

    def approve() -> None:
        while not stop.wait(0.05):
            try:
                for review in reviews(world):
                    decide(world, review["id"])
            except ControlPlaneError:
                continue  # the control plane is down just now: the person tries again

    approver = threading.Thread(target=approve, daemon=True)
    approver.start()
    try:
        return [
            *attempt(world, FREE, world.commands.increment, world.commands.forbidden),
            *attempt(world, GUARDED, world.commands.increment),
        ]
    finally:
        stop.set()
        approver.join(10)


def attempt(world: World, resource: str, *commands: str) -> list[Answer]:
    """Send each command once; a connection that cannot be made is an answer too."""
    try:
        with world.connect(resource) as agent:
            return [agent.send(command) for command in commands]
    except OSError as error:
        return [Answer(str(error), lost=True)]


def agree(world: World, before: int, *, unknown_allowed: bool) -> None:
    """The recordings are whole, verify, and say what the counter shows."""
    told = recordings(world)
    outcomes: Counter[Outcome] = Counter()
    for recording in told:
        sent = {body.id for body in bodies(recording, Sending)}
        finished = {body.id: body.outcome for body in bodies(recording, Finished)}
        refused = {body.operation.id for body in bodies(recording, Decided) if body.verdict.decision is Decision.DENY}
        waited = {body.operation.id for body in bodies(recording, Pending)}
        assert sent <= finished.keys(), "every operation that was being sent has an outcome"
        assert waited <= finished.keys() | refused, "every review that was asked for has an end in the recording"
        changes = {
            body.id for body in bodies(recording, Sending)
            if body.operation is None or world.commands.marks["increment"] in body.operation.text
        }  # fmt: skip
        outcomes.update(outcome for name, outcome in finished.items() if name in changes)
    added = world.counter() - before
    completed, unknown = outcomes[Outcome.COMPLETED], outcomes[Outcome.UNKNOWN]
    assert completed <= added <= completed + unknown, f"{added} changes took effect, told: {dict(outcomes)}"
    assert unknown_allowed or not unknown
    ran = [text for text in world.journal() if world.commands.marks["increment"] in text]
    assert len(ran) == added, "nothing was sent twice"


@pytest.mark.parametrize("point", EDGE_POINTS)
def test_the_edge_dies_and_comes_back(world: World, point: str) -> None:
    """Killed at the point, started again: the truth is in the recordings, and work goes on."""
    before = world.counter()
    world.start_edge(SALLYPORT_FAILPOINT=point)
    work(world)
    edge = world.stack.edge
    assert edge is not None
    if not point.startswith(("ship", "spool:cursor", "bundle", "record:session_closed")):
        assert edge.process.wait(20) == -9, f"{point} was never reached"
    edge.stop()
    world.start_edge()
    agree(world, before, unknown_allowed=point in BETWEEN)
    goes_on(world)


@pytest.mark.parametrize("point", CONTROL_POINTS)
def test_the_control_plane_dies_and_comes_back(world: World, point: str) -> None:
    """The edge rides it out; no review and no decision is lost, nothing is sent twice."""
    world.stack.restart_control_plane(SALLYPORT_FAILPOINT=point)
    before = world.counter()
    world.start_edge()
    reviver = threading.Thread(target=revive, args=(world,), daemon=True)
    reviver.start()
    work(world)
    reviver.join(30)
    goes_on(world)
    edge = world.stack.edge
    assert edge is not None
    agree(world, before, unknown_allowed=False)


def revive(world: World) -> None:
    """Start the control plane again when it has died, without the failpoint; give up after a while."""
    control = world.stack.control
    assert control is not None
    try:
        control.process.wait(15)
    except TimeoutError:
        return
    world.stack.restart_control_plane()


def goes_on(world: World) -> None:
    """After the restart a reviewed change still goes through, once."""
    count = world.counter()

    def changed() -> bool:
        answers = work_once(world)
        return any(not answer.refused and not answer.lost for answer in answers)

    eventually(changed, "a reviewed change goes through after the restart")
    assert world.counter() == count + 1


def work_once(world: World) -> list[Answer]:
    """One reviewed change, approved."""
    found: list[Answer] = []
    thread = threading.Thread(
        target=lambda: found.extend(attempt(world, GUARDED, world.commands.increment)), daemon=True
    )
    thread.start()
    while thread.is_alive():
        for review in reviews(world):
            decide(world, review["id"], person=APPROVER)
        thread.join(0.05)
    return found
