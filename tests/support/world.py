"""A whole Sallyport on this machine around one real upstream, seen through one protocol.

The tests of `tests/invariants` are written against `World` and run for every protocol in `WORLDS`: adding a protocol adds a
world, not tests. What tries to get round the rules has its own, smaller view of the same: `tests/bypass/attacked.py`.
"""

import contextlib
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from gateway_kernel.audit import AuditEvent, expanded, read, verify
from sallyport.client import ControlPlaneError
from sallyport.stack import Part, Stack

AGENT, OWNER, APPROVER, SECOND = "worker-bot", "owner@example.com", "ann@example.com", "bob@example.com"
FREE, GUARDED = "free", "guarded"
"""Two resources over the same upstream: on `free` changes are allowed, on `guarded` they are reviewed."""

LIMIT = 30.0  # seconds for anything a test waits for


class Answer(msgspec.Struct, frozen=True):
    """What the agent got: text of everything it could read, and whether it was a refusal, an error, or a lost connection."""

    text: str
    refused: bool = False
    lost: bool = False


class Connection(Protocol):
    """An agent's conversation with one resource."""

    def send(self, command: str) -> Answer:
        """Run one of the world's commands and wait for its answer."""
        ...


class Commands(msgspec.Struct, frozen=True):
    """The same intents in every protocol. `increment` adds 1 to the upstream's counter; `canary` reads what is masked."""

    look: str
    increment: str
    forbidden: str
    unreadable: str
    oversized: str
    canary: str
    with_secret: str
    secret: str
    marks: dict[str, str]


class World(Protocol):
    """One protocol with a real upstream behind a running stack."""

    protocol: str
    commands: Commands
    stack: Stack
    canaries: tuple[str, ...]
    injected: str

    def connect(self, resource: str, *, key: str = "") -> AbstractContextManager[Connection]:
        """Connect as the agent (with another key if given)."""
        ...

    def counter(self) -> int:
        """The upstream's counter, read directly."""
        ...

    def journal(self) -> list[str]:
        """What the upstream itself says it was asked to do, oldest first, since `fresh`."""
        ...

    def start_edge(self, settings: str = "", *, upstream: int = 0, control: str = "") -> None:
        """(Re)start the edge on the same addresses and data.

        These lines are added to its edge.yaml; the upstream is reached through another port, the control plane through another URL.
        """
        ...

    def fresh(self) -> None:
        """Begin a test: both programs run as they should, no review is open, and what happened before is not looked at."""
        ...

    def padded(self, command: str, size: int) -> str:
        """The same command, made about `size` bytes longer by what does not count."""
        ...

    def text(self, command: str) -> str:
        """The text under which the command is judged, shown and recorded, and that the journal holds if it ran."""
        ...

    def opened(self, connection: Connection) -> None:
        """Wait until the connection's session is open, recorded and shipped; nothing of a test is sent for it."""
        ...

    since: int
    """Sessions opened before this instant are not looked at."""
    kills: int
    """How often the edge's workers were killed; the supervisor pauses longer each time."""


PATIENCE = 3  # kills after which the edge is started anew instead of waiting for its supervisor
FAILPOINTS = ("edge", "control-plane")
"""The two programs that can be told to die, each by a file in the stack's home."""


def failpoint(world: World, program: str) -> Path:
    """The file that names the point at which this program is to die; the program removes it right before."""
    return world.stack.home / f"failpoint-{program}"


def arm(world: World, program: str, point: str) -> None:
    """From now on the program dies at this point, once."""
    file = failpoint(world, program)
    beside = file.with_suffix(".new")
    beside.write_text(point)
    beside.replace(file)


def reached(world: World, program: str) -> None:
    """Wait until the program died at the point it was told."""
    file = failpoint(world, program)
    eventually(lambda: not file.exists(), f"{program} reaches its point")
    if program == "edge":
        world.kills += 1


def workers(world: World) -> list[int]:
    """The process ids of the edge's workers."""
    edge = world.stack.edge
    assert edge is not None
    return [
        int(number) for number in Path(f"/proc/{edge.process.pid}/task/{edge.process.pid}/children").read_text().split()
    ]


@contextlib.contextmanager
def stopped(part: Part | None) -> Generator[None]:
    """The program stands still and answers nothing, its connections open; afterwards it goes on."""
    assert part is not None
    os.killpg(part.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(part.process.pid, signal.SIGCONT)


def kill_workers(world: World) -> None:
    """Kill the workers as a machine would, without any clean-up; the supervisor starts them again."""
    for number in workers(world):
        os.kill(number, signal.SIGKILL)
    world.kills += 1


def kill_edge(world: World) -> None:
    """Kill the whole edge: supervisor and workers."""
    edge = world.stack.edge
    assert edge is not None
    os.killpg(edge.process.pid, signal.SIGKILL)
    edge.process.wait(LIMIT)


def eventually[T](ask: Callable[[], T | None], what: str, limit: float = LIMIT) -> T:
    """Ask until the answer is true; fail naming `what` when the limit is over."""
    pause, deadline = threading.Event(), time.monotonic() + limit
    while True:
        if answer := ask():
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {limit:.0f} s")
        pause.wait(0.02)


def reviews(world: World, state: str = "open") -> list[dict[str, Any]]:
    """Reviews in that state, as the approver sees them."""
    return world.stack.person(APPROVER).get("/v1/reviews", state=state)["reviews"]


def open_review(world: World) -> str:
    """The id of the one open review, once it is there."""
    return eventually(lambda: reviews(world), "a review is open")[0]["id"]


def decide(
    world: World, review: str, choice: str = "approve", *, person: str = APPROVER, reason: str = ""
) -> dict[str, Any]:
    """Decide as a person; repeating it is harmless."""
    body = {"id": f"{review}-{person}-{choice}", "choice": choice, "reason": reason}
    return world.stack.person(person).post(f"/v1/reviews/{review}/decisions", body)


@contextlib.contextmanager
def sending(connection: Connection, command: str) -> Generator[list[Answer]]:
    """Send a command that will be held; on leaving, its answer is in the list."""
    answer: list[Answer] = []
    thread = threading.Thread(target=lambda: answer.append(connection.send(command)), daemon=True)
    thread.start()
    yield answer
    thread.join(LIMIT)
    assert not thread.is_alive(), f"no answer to {command!r} within {LIMIT:.0f} s"


class Recording(msgspec.Struct, frozen=True):
    """A session as the control plane keeps it: the exact lines and the events read from them. Verified."""

    session: str
    lines: tuple[bytes, ...]
    events: tuple[AuditEvent, ...]


def recordings(world: World, *, closed: bool = True) -> list[Recording]:
    """All recordings since `fresh`, each verified; with `closed`, once every session has ended and arrived."""
    admin = world.stack.admin()

    def sessions() -> list[dict[str, Any]] | None:
        found = admin.get("/v1/sessions", since=world.since, limit=200)["sessions"]
        return found if not closed or (found and all(session["ended"] for session in found)) else None

    return [_recording(world, session["id"]) for session in eventually(sessions, "every session ended and arrived")]


def _recording(world: World, session: str) -> Recording:
    lines = tuple(world.stack.admin().lines(f"/v1/sessions/{session}/events"))
    verify(session, lines)
    return Recording(session, lines, tuple(expanded(map(read, lines))))


def bodies[T](recording: Recording, kind: type[T]) -> list[T]:
    """The events of one kind."""
    return [event.body for event in recording.events if isinstance(event.body, kind)]


def kill_control_plane(world: World) -> None:
    """The control plane is gone at once."""
    control = world.stack.control
    assert control is not None
    os.killpg(control.process.pid, signal.SIGKILL)
    control.process.wait(LIMIT)


def kill(world: World) -> None:
    """End both programs at once; nobody looks at what they would still do."""
    for part in (world.stack.edge, world.stack.control):
        if part is not None and part.process.poll() is None:
            os.killpg(part.process.pid, signal.SIGKILL)
            part.process.wait(LIMIT)


def begin(world: World) -> None:
    """What `World.fresh` is in every protocol: the control plane runs, no review is open, no session of before is looked at."""
    for program in FAILPOINTS:
        failpoint(world, program).unlink(missing_ok=True)
    control = world.stack.control
    if control is None or control.process.poll() is not None:
        revive(world)
    for review in reviews(world):
        with contextlib.suppress(ControlPlaneError):  # it was settled meanwhile
            decide(world, review["id"], "deny", reason="left over")
    for review in reviews(world, "approved"):  # of a test that killed who would have used it
        with world.connect(review["resource"]) as agent:
            agent.send(review["text"])  # a text is a command that repeats it
    world.since = time.time_ns() // 1000


def push_policy(world: World, text: str) -> None:
    """Make this the active policy, and wait until the edge uses it."""
    version = world.stack.push_policy(text)["version"]
    eventually(lambda: policy_version(world) == version, f"the edge uses policy version {version}")


def policy_version(world: World) -> int:
    """The version that the edge judges by."""
    lines = metrics(world).splitlines()
    return int(float(next(line.split()[-1] for line in lines if line.startswith("sallyport_policy_version{"))))


def health(world: World) -> str:
    """What the edge's health listener tells operators."""
    with urllib.request.urlopen(f"http://{world.stack.health}/healthz", timeout=LIMIT) as reply:
        return reply.read().decode()


def metrics(world: World) -> str:
    """What the edge's health listener tells Prometheus."""
    with urllib.request.urlopen(f"http://{world.stack.health}/metrics", timeout=LIMIT) as reply:
        return reply.read().decode()


def revive(world: World) -> None:
    """Start the control plane again as it was."""
    world.stack.restart_control_plane(SALLYPORT_FAILPOINT_FILE=str(failpoint(world, "control-plane")))


POLICY = """
version: 1
default: deny
groups: {dba: [ann@example.com, bob@example.com, owner@example.com]}
rules:
- id: reads
  when: operation.effects.all(e, e.kind in ["read", "transaction"])
  then: allow
- id: changes-on-free
  when: resource.name == "free" && operation.effects.all(e, e.kind in ["read", "write", "transaction"])
  then: allow
- id: changes-need-a-person
  when: resource.name == "guarded" && operation.effects.exists(e, e.kind == "write")
  then: review
  reason: Changes on guarded need a person.
  review: {approvers: [dba], expires: 1h}
- id: hide
  when: "true"
  then: mask
  mask:
  - {columns: ["people.email", "people.ssn"], with: redact}
- {id: record, when: "true", then: record, record: {responses: full}}
"""


def prepared(home: Path, resources: list[dict[str, Any]], policy: str = POLICY, **settings: str) -> Stack:
    """A stack whose control plane runs with agent, approvers, policy and resources, and whose edge is not started."""
    stack = Stack(home)
    stack.start_control_plane(SALLYPORT_FAILPOINT_FILE=str(stack.home / "failpoint-control-plane"), **settings)
    stack.push_policy(policy)
    stack.add_agent(AGENT, owners=[OWNER])
    for person in (SECOND, OWNER, APPROVER):
        stack.add_person(person)
    stack.register_edge(resources)
    return stack
