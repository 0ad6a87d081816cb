"""Leads the operations of one worker through the gate: what must hold before anything is judged, then `gate.admit`.

On the way of an allowed read everything happens inside `Driver.admit`, without a task or a future. What becomes of one operation is
in `admitted`; the rules are not here: see `gateway_kernel.gate`.
"""

import asyncio
from collections.abc import Callable

from edge_agent.admitted import POLICY_STALE, Admitted
from edge_agent.bundle import Bundles
from edge_agent.gateway import Channel
from edge_agent.limits import Counters, Usage
from edge_agent.metrics import Counts
from edge_agent.recorder import Recorder
from edge_agent.reviews import Reviews
from gateway_kernel.audit import Finished
from gateway_kernel.gate import admit
from gateway_kernel.model import EffectKind, Instant, Operation, Session


class Driver:
    """Leads the operations of one worker through the gate."""

    def __init__(
        self,
        *,
        edge: str,
        recorder: Recorder,
        reviews: Reviews,
        bundles: Bundles,
        counters: Counters,
        counts: Counts,
        now: Callable[[], Instant],
    ) -> None:
        self.edge = edge
        self.recorder = recorder
        self.reviews = reviews
        self.bundles = bundles
        self.counters = counters
        self.counts = counts
        self.usage = Usage()
        self.now = now
        self.waiting: set[Admitted] = set()
        self.background: set[asyncio.Task[None]] = set()

    def admit(self, operation: Operation, session: Session, channel: Channel) -> Admitted:
        """Lead `operation` through the gate; see `gateway.Gateway.admit`."""
        now = self.now()
        admitted = Admitted(self, operation, session, channel)
        refused = self._refused_unjudged(operation, session, now)
        if refused is not None:
            admitted.refuse_unjudged(*refused)
            return admitted
        policy = self.bundles.policy
        assert policy is not None
        self.usage.fill(session, now)
        admitted.start(admit(operation, session, policy, now))
        return admitted

    def _refused_unjudged(self, operation: Operation, session: Session, now: Instant) -> tuple[str, str] | None:
        stale = self.bundles.policy_stale()
        if stale:
            return POLICY_STALE, stale
        # Input that is digested is not held in memory and not parsed: it has a limit of its own (`input_spool`).
        size = len(operation.text) if operation.body_digest else operation.size
        return self.counters.operate(session.agent.name, session.resource.name, size, now)

    def forwarding(self, session: Session, now: Instant) -> None:
        """Count an operation that is being sent."""
        session.operations += 1
        if self.usage.caps:
            self.usage.add(session, "operations", 1, now)
        self.counts.forwarded += 1

    def finished(self, operation: Operation, session: Session, finished: Finished, now: Instant) -> None:
        """Count the outcome of an operation that was sent, and what came back."""
        self.counts.outcomes[finished.outcome] += 1
        response = finished.response
        if response is None:
            return
        written = operation.facts.has(EffectKind.WRITE, EffectKind.DELETE)
        if written:
            session.rows_written += response.rows
        else:
            session.rows_read += response.rows
        session.bytes_read += response.bytes
        if self.usage.caps:
            self.usage.add(session, "rows_written" if written else "rows_read", response.rows, now)
            self.usage.add(session, "bytes_read", response.bytes, now)
        if response.masked:
            self.counts.masked += sum(response.masked.values())

    def drain(self) -> None:
        """Tell every agent that waits to come back later; their reviews stand."""
        for admitted in tuple(self.waiting):
            admitted.stop_waiting(
                "This edge agent is being restarted; the review stays open. Send the same operation again."
            )
