"""The recording of one worker: chains each session's events, keeps secrets out of them, and hands the lines to the
spool.

After a crash `recover` closes what was open, honestly. What cannot be written now but is already true (an outcome,
the end of a session) is owed and written as soon as the disk takes it; until then that session's operations are
refused.
"""

from collections.abc import Callable, Mapping

import msgspec

from edge_agent import failpoints
from edge_agent.ledger import Ledger, OpenSession, after_restart
from edge_agent.logs import Log
from edge_agent.secrets import Vault
from edge_agent.spool import Spool, SpoolError
from gateway_kernel.audit import Body, Noted, SessionClosed, SessionOpened
from gateway_kernel.chain import GENESIS, Chain
from gateway_kernel.model import Instant, Parameter

log = Log(__name__)


class Unused(msgspec.Struct, frozen=True):
    """A grant that a stopped process had in hand and surely did not use: it goes back."""

    grant: str
    operation: str
    session: str


class _Owed:
    __slots__ = ("bodies", "unrecorded")

    def __init__(self) -> None:
        self.bodies: list[Body] = []
        self.unrecorded = 0


class Recorder:
    """Writes events. Every method may raise `SpoolError` only where it says so."""

    def __init__(self, spool: Spool, vault: Vault, now: Callable[[], Instant]) -> None:
        self._spool = spool
        self._vault = vault
        self._now = now
        self._ledger: Ledger = spool.found.ledger
        self._sessions = self._ledger.sessions
        self._owed: dict[str, _Owed] = {}
        self.events = 0
        spool.snapshot = self._ledger.snapshot
        spool.on_writable = self.settle

    def recover(self) -> tuple[Unused, ...]:
        """Close every session that a stopped process left open; return the grants that it surely did not use. Call once, first."""
        failpoints.reach("recover:before")
        unused: list[Unused] = []
        self._spool.begin()
        for name, session in list(self._sessions.items()):
            unused += [
                Unused(operation.grant, operation.id, name)
                for operation in session.operations.values()
                if operation.grant and operation.stage == "decided"
            ]
            ends: list[Body] = [after_restart(operation) for operation in session.operations.values()]
            self.owe(name, *ends, SessionClosed("edge restarted"))
        failpoints.reach("recover:after")
        return tuple(unused)

    def open(self, session: str, opened: SessionOpened) -> None:
        """Begin the recording of a session; raise `SpoolError` if it cannot be recorded."""
        self._sessions[session] = OpenSession(Chain(session, 0, GENESIS))
        try:
            self.record(session, opened)
        except SpoolError:
            del self._sessions[session]
            raise

    def record(self, session: str, *bodies: Body, closing: bool = False) -> None:
        """Write these events, in order, before returning; raise `SpoolError` having written none of them.

        `closing` events tell the outcome of what is in flight and may use the part of the quota kept for that.
        """
        if session in self._owed:
            self._settle_one(session)
        self._write(session, bodies, closing=closing)

    def _write(self, session: str, bodies: tuple[Body, ...], *, closing: bool) -> None:
        entry = self._sessions[session]
        if entry.repeats is not None and entry.repeats.number:
            self._spool.flush()  # nothing is chained behind a line that may be taken back
        chain, now, redacted, spool = entry.chain, self._now(), self._vault.redacted, self._spool
        sequence, head = chain.sequence, chain.head
        if failpoints.armed:
            _reach(bodies, "before")
        try:
            lines = [chain.link(redacted(body), now) for body in bodies]
            spool.append(lines, closing=closing)
        except BaseException:  # the chain stands where the last written line left it, whatever went wrong
            chain.sequence, chain.head = sequence, head
            raise
        if failpoints.armed:
            _reach(bodies, "after")
        self.events += len(lines)
        for body in bodies:
            entry.follow(body)
        if spool.due:
            spool.rotate()

    def plain(self, text: str, parameters: tuple[Parameter, ...]) -> bool:
        """True if nothing in an operation with this text and these parameters has to be hidden."""
        return self._vault.hides_nothing(text, parameters)

    def short_way(self, session: str) -> tuple[Spool, OpenSession, Mapping[str, object]]:
        """What `_repeat` writes with: the spool, the session's place in it, and what is owed (while anything is, nothing goes that way)."""
        return self._spool, self._sessions[session], self._owed

    def owe(self, session: str, *bodies: Body) -> None:
        """Write events that are true whether the disk takes them or not: now, or as soon as it does."""
        try:
            self.record(session, *bodies, closing=True)
        except SpoolError:
            self._owed.setdefault(session, _Owed()).bodies.extend(bodies)
            return
        if isinstance(bodies[-1], SessionClosed):
            del self._sessions[session]

    def refused_unrecorded(self, session: str) -> None:
        """A refusal could not be recorded: it is counted, and the count recorded when that is possible again."""
        self._owed.setdefault(session, _Owed()).unrecorded += 1

    def is_open(self, session: str) -> bool:
        """True from `open` until `SessionClosed` is recorded or owed."""
        owed = self._owed.get(session)
        return session in self._sessions and not (owed and owed.bodies and isinstance(owed.bodies[-1], SessionClosed))

    def seal(self, callback: Callable[[str], None]) -> None:
        """Call back with "" once all recorded so far survives the machine, or with the reason why it may not."""
        self._spool.seal(callback)

    def settle(self) -> None:
        """Write what is owed, as far as the disk takes it."""
        for session in list(self._owed):
            try:
                self._settle_one(session)
            except SpoolError as error:
                log.warning("events are still owed to the recording", sessions=len(self._owed), reason=str(error))
                return

    def _settle_one(self, session: str) -> None:
        owed = self._owed[session]
        bodies = owed.bodies
        if owed.unrecorded:
            gap = Noted("refusals not recorded", f"{owed.unrecorded} refusals while the recording was unavailable")
            bodies = [gap, *bodies]
        self._write(session, tuple(bodies), closing=True)
        del self._owed[session]
        if isinstance(bodies[-1], SessionClosed):
            del self._sessions[session]


def _reach(bodies: tuple[Body, ...], when: str) -> None:
    for body in bodies:
        failpoints.reach(f"record:{body.__struct_config__.tag}:{when}")
