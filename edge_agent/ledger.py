"""Which sessions are open in a spool and how far their operations got: what a restart needs to close them honestly.

Live recording and recovery after a crash both follow events through `follow`, so they cannot disagree. No IO here.
"""

from typing import TYPE_CHECKING, Literal

import msgspec

from gateway_kernel.audit import (
    AuditEvent,
    Body,
    Decided,
    Finished,
    Outcome,
    Pending,
    Repeated,
    Sending,
    SessionClosed,
    SessionOpened,
)
from gateway_kernel.chain import GENESIS, Chain
from gateway_kernel.verdict import Decision

if TYPE_CHECKING:
    from edge_agent._repeat import Repeats

Stage = Literal["pending", "decided", "sending"]


class OpenOperation(msgspec.Struct):
    """An operation that is recorded and not closed. `grant` is there once people approved and the decision is recorded."""

    id: str
    stage: Stage
    grant: str = ""


class OpenSession:
    """A session that is open: its chain, and its operations that are not closed, by id.

    `repeats` is the session's short way, where it has one: its operation is not among `operations`.
    """

    __slots__ = ("chain", "operations", "repeats")

    def __init__(self, chain: Chain, operations: dict[str, OpenOperation] | None = None) -> None:
        self.chain = chain
        self.operations = {} if operations is None else operations
        self.repeats: Repeats | None = None

    def open_operations(self) -> tuple[OpenOperation, ...]:
        """All that are not closed."""
        if self.repeats is None or not self.repeats.number:
            return tuple(self.operations.values())
        return *self.operations.values(), OpenOperation(f"{self.chain.session}-{self.repeats.number}", "sending")

    def follow(self, body: Body) -> None:
        """Take in one event that is written."""
        operations = self.operations
        if isinstance(body, Finished):
            operations.pop(body.id, None)
        elif isinstance(body, Sending):
            known = operations.get(body.id)
            operations[body.id] = OpenOperation(body.id, "sending", known.grant if known else "")
        elif isinstance(body, Repeated):
            operations[body.id] = OpenOperation(body.id, "sending")
        elif isinstance(body, Pending):
            operations[body.operation.id] = OpenOperation(body.operation.id, "pending")
        elif isinstance(body, Decided):
            if body.verdict.decision is Decision.DENY:
                operations.pop(body.operation.id, None)
            else:
                operations[body.operation.id] = OpenOperation(body.operation.id, "decided", body.grant)


class Snapshot(msgspec.Struct, frozen=True):
    """An open session as a segment's header carries it."""

    id: str
    sequence: int
    head: str
    operations: tuple[OpenOperation, ...] = ()


class Ledger:
    """Every open session of one spool."""

    def __init__(self) -> None:
        self.sessions: dict[str, OpenSession] = {}

    def snapshot(self) -> tuple[Snapshot, ...]:
        """What a header must say so that everything before it may be deleted."""
        return tuple(
            Snapshot(name, one.chain.sequence, one.chain.head, one.open_operations())
            for name, one in self.sessions.items()
        )

    def restore(self, snapshot: tuple[Snapshot, ...]) -> None:
        """Begin where a header stands."""
        self.sessions = {
            one.id: OpenSession(Chain(one.id, one.sequence, one.head), {each.id: each for each in one.operations})
            for one in snapshot
        }

    def replay(self, event: AuditEvent, head: str) -> None:
        """Follow an event read back from the spool, whose line hashes to `head`. Lines that a header already counts change nothing."""
        session = self.sessions.get(event.session)
        if session is None:
            if not isinstance(event.body, SessionOpened):
                return
            session = self.sessions[event.session] = OpenSession(Chain(event.session, 0, GENESIS))
        if event.sequence < session.chain.sequence:
            return
        session.chain.sequence, session.chain.head = event.sequence + 1, head
        session.follow(event.body)
        if isinstance(event.body, SessionClosed):
            del self.sessions[event.session]


def after_restart(operation: OpenOperation) -> Finished:
    """The honest end of an operation whose process died: `unknown` once it was being sent, `not_sent` before."""
    if operation.stage == "sending":
        return Finished(operation.id, Outcome.UNKNOWN, "the edge stopped while it was being sent")
    if operation.stage == "decided":
        return Finished(operation.id, Outcome.NOT_SENT, "the edge stopped before it was sent")
    return Finished(operation.id, Outcome.NOT_SENT, "the edge stopped while people were being asked; the review stands")
