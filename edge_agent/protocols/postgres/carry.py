"""How an operation that may run is put on the wire: as it came, or inside what its obligations need around it.

`read_only` and an approved number of rows need a transaction that can be ended by us. Outside of one, a Query is wrapped in BEGIN and
COMMIT, and a portal runs in the segment's implicit transaction, made read only before Bind (planning alone can run code). Inside the
client's own, a savepoint is set before and rolled back to behind, since READ ONLY can never be undone there. The wrapper's answers are
never shown, the status byte always is the server's.
"""

import hashlib
from typing import TYPE_CHECKING

import msgspec

from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.postgres import refusal
from edge_agent.protocols.postgres.expect import Expect
from edge_agent.protocols.postgres.states import BARRIER, FREE, IDLE, IN_TRANSACTION, INPUT, READY
from gateway_kernel.audit import Outcome
from gateway_kernel.model import EffectKind, Operation

if TYPE_CHECKING:
    from edge_agent.protocols.postgres.run import Run
    from edge_agent.protocols.postgres.session import PostgresSession

_OURS = b"_sallyport"
_MAKE_READ_ONLY = b"SELECT pg_catalog.set_config('transaction_read_only', 'on', true)"
_SAVEPOINT = b"SAVEPOINT _sallyport"
_ROLLBACK_TO = b"ROLLBACK TO SAVEPOINT _sallyport"
_RELEASE = b"RELEASE SAVEPOINT _sallyport"
_BEGINS = frozenset(("BEGIN", "START", "START TRANSACTION"))
_ENDS = frozenset(("COMMIT", "END", "ROLLBACK", "ABORT", "PREPARE TRANSACTION", "COMMIT PREPARED", "ROLLBACK PREPARED"))
_KEEPS_CURSOR = frozenset(("DECLARE",))


class Chain:
    """What ran before in the same transaction, as one digest: an approval is for an operation in its place."""

    __slots__ = ("_digest", "_new")

    def __init__(self) -> None:
        self._digest = ""
        self._new: list[Operation] = []

    def __bool__(self) -> bool:
        return bool(self._digest or self._new)

    def add(self, operation: Operation) -> None:
        self._new.append(operation)

    def clear(self) -> None:
        self._digest = ""
        self._new.clear()

    def digest(self) -> list[str]:
        """What goes into the context: one hex SHA-256, over the digest before and the text, parameters and streamed input of each."""
        for operation in self._new:
            link = hashlib.sha256(self._digest.encode())
            link.update(msgspec.json.encode((operation.text, operation.parameters, operation.body_digest)))
            self._digest = link.hexdigest()
        self._new.clear()
        return [self._digest]


def _refuse(session: "PostgresSession", run: "Run", text: str, hint: str = "") -> None:
    """What was allowed cannot be carried out as it must be: nothing is sent."""
    session.runs.remove(run)
    run.finish(Outcome.NOT_SENT, text)
    session.refuse_with(refusal.error(refusal.FEATURE_NOT_SUPPORTED, text, hint=hint), query=run.bound is None)


def _read_only(run: "Run") -> bool:
    return run.operation.context.get("read_only") is True


# Simple protocol


def query(session: "PostgresSession", run: "Run") -> None:
    """Send a Query and wait for its ReadyForQuery."""
    operation = run.operation
    limited = run.max_rows is not None and operation.facts.has(EffectKind.WRITE, EffectKind.DELETE)
    if limited and operation.facts.has(EffectKind.TRANSACTION):
        _refuse(session, run, "a text that ends its own transaction cannot be held to the approved number of rows")
        return
    protected = _read_only(run)
    if session.sent and (protected or limited):
        _refuse(session, run, "a simple query that must be wrapped cannot stand behind messages without a Sync")
        return
    if not limited:
        run.max_rows = None
    judged = operation.text.encode()
    raw = text = run.raw if run.raw[5:-1] == judged else m.query(judged)
    session.preceding.add(operation)
    run.forwarded = True
    session.blocked = READY
    if session.status == IDLE and (protected or limited):
        begin = b"BEGIN READ ONLY" if protected else b"BEGIN"
        session.send(
            m.query(begin),
            Expect(m.QUERY, shown=False, ready=False, done=lambda _, raw: _begun(session, run, raw, text)),
        )
    elif session.status == IN_TRANSACTION and protected and not session.lookup.transaction_read_only:
        if any(verb in _KEEPS_CURSOR for verb in run.verbs):
            run.forwarded = False
            session.blocked = FREE
            _refuse(
                session,
                run,
                "a cursor cannot be declared read only inside a transaction that may write",
                "Start the transaction with BEGIN READ ONLY.",
            )
            return
        opening = _SAVEPOINT + b"; SET LOCAL transaction_read_only = on"
        session.send(m.query(opening), Expect(m.QUERY, shown=False, ready=False))
        session.send(raw, Expect(m.QUERY, run, ready=False, done=lambda _, raw: _end_savepoint(session, run, raw)))
    elif limited:
        session.send(raw, Expect(m.QUERY, run, ready=False, done=lambda _, raw: _end_limited(session, run, raw)))
    else:
        session.send(raw, Expect(m.QUERY, run))
    run.barrier = True


def _begun(session: "PostgresSession", run: "Run", ready: bytes, text: bytes) -> None:
    """BEGIN was answered: only inside its transaction may the text run. A cancel may have hit BEGIN; its error is shown then."""
    if ready[5] == IN_TRANSACTION:
        session.send(text, Expect(m.QUERY, run, ready=False, done=lambda _, raw: _end_wrapper(session, run, raw)))
    else:
        run.error = run.error or refusal.QUERY_CANCELED
        session.send(m.SYNC_MESSAGE, Expect(m.SYNC))
    session.flush()


def _end_wrapper(session: "PostgresSession", run: "Run", ready: bytes) -> None:
    """COMMIT, or ROLLBACK where the statement failed or changed too much; its ReadyForQuery is the client's."""
    good = not run.exceeded and ready[5] == IN_TRANSACTION
    if good:
        session.send(m.query(b"COMMIT"), Expect(m.QUERY, run, shown=False))
    else:
        session.send(m.query(b"ROLLBACK"), Expect(m.QUERY, shown=False))
    session.flush()


def _end_savepoint(session: "PostgresSession", run: "Run", ready: bytes) -> None:
    if ready[5] == IN_TRANSACTION:
        session.send(m.query(_ROLLBACK_TO + b"; " + _RELEASE), Expect(m.QUERY, shown=False))
    else:
        session.send(m.SYNC_MESSAGE, Expect(m.SYNC))
    session.flush()


def _end_limited(session: "PostgresSession", run: "Run", _: bytes) -> None:
    """Inside the client's transaction: too many rows abort it."""
    if run.exceeded:
        session.send(_abort(), Expect(m.PARSE, instead=b""))
    session.send(m.SYNC_MESSAGE, Expect(m.SYNC))
    session.flush()


def _abort() -> bytes:
    return m.parse(b"_sallyport_abort", b"more rows than approved, so this transaction must end")


def exceeded(session: "PostgresSession", run: "Run") -> bytes:
    """The error instead of CommandComplete; in the extended protocol the abort follows at once."""
    if run.bound is not None:
        session.failed = True
        session.send(_abort(), Expect(m.PARSE, instead=b""))
    text = f"the statement changed {run.changed} rows, the approval is for at most {run.max_rows}: rolled back"
    return refusal.error(refusal.INSUFFICIENT_PRIVILEGE, text, hint="Ask for a review again.")


# Extended protocol


def _hidden(session: "PostgresSession", text: bytes) -> None:
    """Run a statement of ours within the client's segment; neither its unnamed statement nor its portals are touched."""
    session.send(m.parse(_OURS, text), Expect(m.PARSE, shown=False))
    session.send(m.bind(m.Bind(_OURS, _OURS, (), (), ())), Expect(m.BIND, shown=False))
    session.send(m.execute(_OURS), Expect(m.EXECUTE, shown=False))
    session.send(m.close(b"P", _OURS), Expect(m.CLOSE, shown=False))
    session.send(m.close(b"S", _OURS), Expect(m.CLOSE, shown=False))


def bind(session: "PostgresSession", run: "Run") -> None:
    """Send a Bind. Its portal is the operation's from here on."""
    if not _read_only(run):
        _bind(session, run)
    elif not session.in_block:
        if not session.read_only:
            session.read_only = True
            _hidden(session, _MAKE_READ_ONLY)
        _bind(session, run)
    elif session.lookup.transaction_read_only:
        _bind(session, run)
    else:
        _bind_in_savepoint(session, run)


def _bind_in_savepoint(session: "PostgresSession", run: "Run") -> None:
    """Only a portal that is run to its end in this segment can stand inside a savepoint of ours."""
    whole = _runs_whole(session, run)
    if whole is None:
        session.blocked = INPUT

        def again() -> None:
            session.blocked = FREE
            _bind_in_savepoint(session, run)

        session.on_input = again
    elif whole and not any(verb in _KEEPS_CURSOR for verb in run.verbs):
        run.savepoint = True
        _hidden(session, _SAVEPOINT)
        _hidden(session, _MAKE_READ_ONLY)
        _bind(session, run)
    else:
        _refuse(
            session,
            run,
            "a portal that is fetched in parts cannot be made read only inside a transaction that may write",
            "Start the transaction with BEGIN READ ONLY, or fetch all rows at once.",
        )


def _runs_whole(session: "PostgresSession", run: "Run") -> bool | None:
    """True if the messages behind this Bind execute its portal without a row limit, None if they are not here yet."""
    for kind, raw in session.inbox:
        if kind == m.DESCRIBE:
            continue
        return kind == m.EXECUTE and m.read_execute(raw) == (run.portal, 0)
    return None


def _bind(session: "PostgresSession", run: "Run") -> None:
    bound, operation = run.bound, run.operation
    assert bound is not None
    statement = session.statements.get(bound.statement)
    session.preceding.add(operation)
    run.forwarded = True
    if statement is not None and statement.upstream == operation.text:
        session.send(run.raw, Expect(m.BIND, run))
    else:  # another text than the one that stands upstream: prepared for this Bind alone
        session.send(
            m.parse(_OURS, operation.text.encode(), statement.types if statement else ()), _quiet(run, m.PARSE)
        )
        session.send(m.bind(msgspec.structs.replace(bound, statement=_OURS)), Expect(m.BIND, run))
        session.send(m.close(b"S", _OURS), _quiet(run, m.CLOSE))
    if session.masks.needed(run) and not _describes(session, run):
        expect = _quiet(run, m.DESCRIBE)
        session.send(m.describe(b"P", run.portal), expect)
    session.portals[run.portal] = run


def _describes(session: "PostgresSession", run: "Run") -> bool:
    """True if the client asks for the columns of this portal itself, right behind its Bind."""
    return bool(session.inbox) and session.inbox[0] == (m.DESCRIBE, m.describe(b"P", run.portal))


def _quiet(run: "Run", kind: int) -> Expect:
    return Expect(kind, run, shown=False)


def execute(session: "PostgresSession", run: "Run", raw: bytes, max_rows: int) -> None:
    """Send an Execute, and wait where nothing behind it may be judged before it is done."""
    facts = run.operation.facts
    if run.max_rows is not None and not facts.has(EffectKind.WRITE, EffectKind.DELETE):
        run.max_rows = None
    awaited = run.barrier or run.max_rows is not None
    run.suspended = False
    if awaited:
        session.blocked = BARRIER
        session.send(raw, Expect(m.EXECUTE, run, done=lambda ok, _: _passed(session, run, ok)))
        session.send_raw(m.FLUSH_MESSAGE)
    else:
        session.send(raw, Expect(m.EXECUTE, run))
    if run.savepoint:
        session.portals.pop(run.portal, None)
        _hidden(session, _ROLLBACK_TO)
        _hidden(session, _RELEASE)


def _passed(session: "PostgresSession", run: "Run", ok: bool) -> None:
    """The server answered a barrier: what it changed is known to have changed."""
    if session.blocked == BARRIER:
        session.blocked = FREE
    session.copy = None
    session.lookup.ran(run)
    if not ok:
        return
    if any(verb in _BEGINS for verb in run.verbs):
        session.in_block = True
    elif any(verb in _ENDS for verb in run.verbs) and run.tag.startswith(("COMMIT", "ROLLBACK", "PREPARE")):
        _transaction_ended(session, run)


def _transaction_ended(session: "PostgresSession", run: "Run") -> None:
    """COMMIT or ROLLBACK in the middle of a segment. ROLLBACK TO has the tag of ROLLBACK, so its text decides."""
    words = run.operation.text.upper().split()
    if "TO" in words:
        return
    session.in_block = "CHAIN" in words and "NO" not in words
    session.read_only = False
    session.settle()
    session.lookup.transaction_ended()
