"""A whole Sallyport on this machine around one real upstream, seen through one protocol.

The tests of `tests/invariants`, `tests/kill` and `tests/bypass` are written against `World` and run for every
protocol in `WORLDS`: adding a protocol adds a world, not tests.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from gateway_kernel.audit import AuditEvent, read, verify
from sallyport.stack import Stack

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
        """What the upstream itself says it was asked to do, oldest first."""
        ...

    def start_edge(self, **environment: str) -> None:
        """(Re)start the edge on the same addresses and data."""
        ...


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
    """All recordings, each verified; with `closed`, once every session has ended and arrived."""
    admin = world.stack.admin()

    def sessions() -> list[dict[str, Any]] | None:
        found = admin.get("/v1/sessions", limit=200)["sessions"]
        return found if not closed or (found and all(session["ended"] for session in found)) else None

    return [_recording(world, session["id"]) for session in eventually(sessions, "every session ended and arrived")]


def _recording(world: World, session: str) -> Recording:
    lines = tuple(world.stack.admin().lines(f"/v1/sessions/{session}/events"))
    verify(session, lines)
    return Recording(session, lines, tuple(map(read, lines)))


def bodies[T](recording: Recording, kind: type[T]) -> list[T]:
    """The events of one kind."""
    return [event.body for event in recording.events if isinstance(event.body, kind)]


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
    stack.start_control_plane(**settings)
    stack.push_policy(policy)
    stack.add_agent(AGENT, owners=[OWNER])
    for person in (SECOND, OWNER, APPROVER):
        stack.add_person(person)
    stack.register_edge(resources)
    return stack
