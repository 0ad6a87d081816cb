"""A PostgreSQL session: the client's messages in order, each judged before it goes upstream, and the truth about the transaction.

Messages are handled one after the other until something has to be awaited: people (`HELD`), the server's ReadyForQuery after Sync or Query
(`READY`), an operation that may change what later texts mean (`BARRIER`), or facts asked in-band (`LOOKUP`). What the server
owes is in `backend`, how an operation is put on the wire in `carry`, what is known of the catalogue in `lookup`.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_agent.gateway import Gateway, LimitReachedError
from edge_agent.protocols.postgres import carry, copying, masking, refusal
from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.postgres.backend import Backend
from edge_agent.protocols.postgres.codec import Message
from edge_agent.protocols.postgres.expect import Expect
from edge_agent.protocols.postgres.lookup import Lookup
from edge_agent.protocols.postgres.messages import ProtocolViolationError
from edge_agent.protocols.postgres.names import Statement, Statements
from edge_agent.protocols.postgres.run import Run, parameters
from edge_agent.protocols.postgres.states import BARRIER, FAILED, FREE, HELD, IDLE, IN_TRANSACTION, INPUT, LOOKUP, READY
from edge_agent.protocols.postgres.turns import turns
from gateway_kernel.audit import Noted, Outcome, Prepared, operation_record, verdict_record
from gateway_kernel.commands import Refuse
from gateway_kernel.judge import UNREADABLE
from gateway_kernel.model import EffectKind, Operation, Parameter, Session
from gateway_kernel.verdict import Verdict

if TYPE_CHECKING:
    from edge_agent.protocols.postgres.frontend import Frontend

MAX_WAITING_INPUT = 4 * m.MiB  # bytes of client messages that wait their turn; then the client is not read any more

ABORT = m.parse(b"_sallyport_abort", b"refused by the gateway, so this transaction must end")
"""Not SQL on purpose: an error that the server raises itself is the one sure way to abort what was already sent."""


class PostgresSession:
    """One agent's connection to one resource."""

    def __init__(self, gateway: Gateway, kernel: Session, frontend: "Frontend", database: str) -> None:
        self.gateway = gateway
        self.kernel = kernel
        self.frontend = frontend
        self.backend: Backend
        self.statements = Statements()
        self.portals: dict[bytes, Run] = {}
        self.lookup = Lookup(self, database)
        self.inbox: deque[Message] = deque()
        self.waiting_input = 0
        self.blocked = FREE
        self.on_input: Callable[[], None] | None = None
        self.status = IDLE
        self.in_block = False  # inside BEGIN, as far as the messages sent so far tell
        self.sent = False  # something of this segment went upstream
        self.failed = False  # this segment failed: messages are dropped until Sync
        self.read_only = False  # this segment's implicit transaction was made read only
        self.sensitive = False  # a masked relation is involved in this transaction
        self.current: Run | None = None
        self.runs: list[Run] = []
        self.copy: Run | None = None
        self.spool: copying.CopyInput | None = None
        self.preceding = carry.Chain()
        self.masks = masking.Masks(gateway)
        self.turns = turns(self, gateway.repeats(kernel))
        self.draining = False
        self.closed = False
        self._pumping = False
        self._outbox: list[bytes] = []
        self._asides: list[bytes] = []
        self._handlers: dict[int, Callable[[bytes], None]] = {
            m.QUERY: self._query,
            m.PARSE: self._parse,
            m.BIND: self._bind,
            m.DESCRIBE: self._describe,
            m.EXECUTE: self._execute,
            m.CLOSE: self._close,
            m.SYNC: self._sync,
            m.FLUSH: self._flush,
            m.FUNCTION_CALL: self._function_call,
        }

    @property
    def hold(self) -> float:
        """Longest wait for people now: shorter where locks are held upstream."""
        busy = self.sent or self.status != IDLE
        return self.gateway.hold_in_transaction if busy else self.gateway.hold

    # The client's messages

    def resting(self) -> bool:
        """True if nothing is under way on either side, and all that a text could mean is known."""
        under_way = (
            self.blocked or self.sent or self.failed or self.in_block or self.sensitive or self.read_only or self.draining
            or self.closed or self._pumping or self.inbox or self.runs or self.portals or self.preceding
            or self._outbox or self._asides or self.current or self.copy or self.spool or self.on_input
        )  # fmt: skip
        if under_way or self.status != IDLE:
            return False
        return self.lookup.whole and self.backend.resting and not self.frontend.codec.pending

    def receive(self, messages: list[Message]) -> None:
        self.turns.unfold()
        for kind, raw in messages:
            self.inbox.append((kind, raw))
            self.waiting_input += len(raw)
        if self.on_input is not None:
            act, self.on_input = self.on_input, None
            act()
        self.pump()
        if self.waiting_input > MAX_WAITING_INPUT:
            self.frontend.pause("input", True)

    def pump(self) -> None:
        """Handle messages until something has to be awaited."""
        if self._pumping or self.closed:
            return
        self._pumping = True
        try:
            while self.inbox and not self.closed:
                kind, raw = self.inbox[0]
                if self.copy is not None or self.spool is not None:
                    self._take()
                    copying.message(self, kind, raw)
                elif self.blocked:
                    break
                else:
                    self._take()
                    self._handle(kind, raw)
        except ProtocolViolationError as error:
            self.client_broke(str(error))
        except LimitReachedError as error:  # no policy, or no recording: nothing more can be judged here
            self.to_client(refusal.fatal(refusal.SYSTEM_ERROR, str(error)))
            self.frontend.close(str(error))
        finally:
            self._pumping = False
        self.flush()

    def _take(self) -> None:
        self.waiting_input -= len(self.inbox.popleft()[1])
        if self.waiting_input <= MAX_WAITING_INPUT // 2:
            self.frontend.pause("input", False)

    def put_back(self, kind: int, raw: bytes) -> None:
        """This message has to wait for a lookup: it is handled again afterwards."""
        self.inbox.appendleft((kind, raw))
        self.waiting_input += len(raw)

    def _handle(self, kind: int, raw: bytes) -> None:
        if self.failed and kind != m.SYNC:
            return  # the server would skip it as well
        if not raw:
            self._note("oversize", f"message {chr(kind)!r} was longer than {m.MAX_STATEMENT} bytes and was refused")
            error = refusal.error(refusal.PROGRAM_LIMIT_EXCEEDED, "the message is larger than the gateway can judge")
            self.refuse_with(error, query=kind == m.QUERY)
            return
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(raw)
        elif kind not in (m.COPY_DATA, m.COPY_DONE, m.COPY_FAIL):  # those the server ignores outside of COPY, too
            raise ProtocolViolationError(f"message {chr(kind)!r} has no place here")

    def _query(self, raw: bytes) -> None:
        text = self._text(m.read_query(raw), query=True)
        if text is None:
            return
        operation = self._operation(text, raw, m.QUERY)
        if operation is None:
            return
        if operation.facts.has(EffectKind.TRANSFER) and copying.spools(self, operation, raw):
            return
        self.admit(Run(self, operation, raw))

    def _parse(self, raw: bytes) -> None:
        parsed = m.read_parse(raw)
        text = self._text(parsed.text, query=False)
        if text is None:
            return
        operation = self._operation(text, raw, m.PARSE)
        if operation is None:
            return
        judgement = self.gateway.judge_only(operation, self.kernel)
        verdict = judgement.verdict
        self.gateway.record(self.kernel, Prepared(operation_record(operation), verdict_record(verdict)))
        if verdict.denies and not self._observed(verdict):
            self.refuse_with(refusal.refused(Refuse(operation, verdict)), query=False)
            return
        statement = Statement(text, judgement.operation.text, parsed.types, meaning=operation.context.get("catalogue"))
        before = self.statements.get(parsed.name)
        self.turns.forget(parsed.name)
        self.statements.put(parsed.name, statement)

        def answered(ok: bool, _: bytes) -> None:
            if not ok:
                self.statements.unconfirmed(parsed.name, statement, before)

        same = statement.upstream == text
        sensitive = Run(self, operation, b"")
        sensitive.sensitive = judgement.mask.sensitive
        self.send(
            raw if same else m.parse(parsed.name, statement.upstream.encode(), parsed.types),
            Expect(m.PARSE, sensitive, done=answered),
        )

    def _observed(self, verdict: Verdict) -> bool:
        return self.kernel.mode == "observe" and verdict.rules != (UNREADABLE,)

    def _bind(self, raw: bytes) -> None:
        bound = m.read_bind(raw)
        if not self.lookup.current():
            self.put_back(m.BIND, raw)
            return
        statement = self.statements.get(bound.statement)
        if statement is None:
            self._unknown("prepared statement", bound.statement, refusal.INVALID_STATEMENT_NAME)
            return
        operation = self._operation(statement.text, raw, m.BIND, bound, statement)
        if operation is None:
            return
        if operation.facts.has(EffectKind.TRANSFER) and copying.needs_spool(self, operation):
            text = "COPY FROM STDIN that waits for a review must be sent as a simple query"
            self.refuse_with(refusal.error(refusal.FEATURE_NOT_SUPPORTED, text), query=False)
            return
        self.admit(Run(self, operation, raw, bound))

    def _describe(self, raw: bytes) -> None:
        kind, name = m.read_target(raw)
        if kind == b"P":
            self._describe_portal(name, raw)
            return
        if not self.lookup.current():
            self.put_back(m.DESCRIBE, raw)
            return
        statement = self.statements.get(name)
        if statement is None:
            self._unknown("prepared statement", name, refusal.INVALID_STATEMENT_NAME)
            return
        expect = Expect(m.DESCRIBE)

        def answered(ok: bool, _: bytes) -> None:
            if ok and expect.rows:
                statement.types = m.read_parameter_description(expect.rows[0])

        expect.done = answered
        self.send(raw, expect)

    def _describe_portal(self, name: bytes, raw: bytes) -> None:
        """A cursor of SQL's DECLARE is a portal, too: its columns may be asked, its rows come with FETCH alone."""
        run = self.portals.get(name)
        if run is not None:
            self.send(raw, Expect(m.DESCRIBE, run))
        elif not self.lookup.current():
            self.put_back(m.DESCRIBE, raw)
        elif self.lookup.declares(name):
            self.send(raw, Expect(m.DESCRIBE))
        else:
            self._unknown("portal", name, refusal.INVALID_CURSOR_NAME)

    def _execute(self, raw: bytes) -> None:
        portal, max_rows = m.read_execute(raw)
        run = self.portals.get(portal)
        if run is None:
            self._unknown("portal", portal, refusal.INVALID_CURSOR_NAME)
            return
        carry.execute(self, run, raw, max_rows)

    def _close(self, raw: bytes) -> None:
        kind, name = m.read_target(raw)
        if kind == b"S":
            self.statements.drop(name)
            self.turns.forget(name)
        else:
            self.portals.pop(name, None)
        self.send(raw, Expect(m.CLOSE))

    def _sync(self, raw: bytes) -> None:
        self.send(raw, Expect(m.SYNC))
        self.blocked = READY

    def _flush(self, raw: bytes) -> None:
        if self.sent:
            self._outbox.append(raw)

    def _function_call(self, raw: bytes) -> None:
        self._note("function-call", "the function-call message was refused")
        error = refusal.error(
            refusal.INSUFFICIENT_PRIVILEGE,
            "refused by rule function-call",
            detail="The function-call message names a function by number and cannot be judged.",
            hint="Call the function with SELECT.",
        )
        self.refuse_with(error, query=True)

    # Operations

    def _text(self, text: bytes, *, query: bool) -> str | None:
        try:
            return text.decode()
        except UnicodeDecodeError:
            self._note("not-utf-8", "a statement that is not valid UTF-8 was refused")
            error = refusal.error(refusal.CHARACTER_NOT_IN_REPERTOIRE, "the statement is not valid UTF-8")
            self.refuse_with(error, query=query)
            return None

    def _operation(
        self, text: str, raw: bytes, kind: int, bound: m.Bind | None = None, statement: Statement | None = None
    ) -> Operation | None:
        """The operation that this message means; None if it was refused, or waits for a lookup and comes again."""
        template = self.lookup.template(text, statement)
        if template is None:
            self.put_back(kind, raw)
            return None
        context, facts = template
        if self.status == FAILED and not facts.only(EffectKind.TRANSACTION):
            self._only_the_end(kind)
            return None
        if self.preceding:
            context = {**context, "preceding": self.preceding.digest()}
        values: tuple[Parameter, ...] = ()
        if bound is not None and bound.values:
            values = parameters(bound, statement.types if statement is not None else ())
        operation = Operation(
            self.next_id(),
            "postgres",
            text,
            values,
            context,
            "",
            len(raw),
            facts,
        )
        self.turns.operations += 1
        return operation

    def next_id(self) -> str:
        """The id of the next operation."""
        return f"{self.kernel.id}-{self.turns.operations + 1}"

    def _only_the_end(self, kind: int) -> None:
        """What the server says of everything but the end of a failed transaction, and without asking it."""
        text = "current transaction is aborted, commands ignored until end of transaction block"
        self.refuse_with(refusal.error(refusal.IN_FAILED_TRANSACTION, text), query=kind == m.QUERY)

    def admit(self, run: Run) -> None:
        """Hand the operation to the gate; if it does not answer at once, everything behind it waits."""
        self.current = run
        run.handle = self.gateway.admit(run.operation, self.kernel, run)
        if not run.settled:
            self.blocked = HELD
            if self.sent:  # what came before it is answered meanwhile
                self.send_raw(m.FLUSH_MESSAGE)

    def carry_out(self, run: Run) -> None:
        """The gate said yes."""
        if self.blocked == HELD:
            self.blocked = FREE
        self.runs.append(run)
        if run.sensitive:
            self.sensitive = True
        (carry.bind if run.bound is not None else carry.query)(self, run)
        self.current = None
        self.pump()

    def refused(self, run: Run, refused: Refuse) -> None:
        """The gate said no."""
        if self.blocked == HELD:
            self.blocked = FREE
        self.current = None
        self.refuse_with(refusal.refused(refused), query=run.bound is None)
        self.pump()

    def refuse_with(self, error: bytes, *, query: bool) -> None:
        """Answer with this error, and make it true: what went upstream in this transaction is aborted there first.

        `query` means that the refused message would have brought its own ReadyForQuery; the server is asked for one, so that it
        carries the true status. Otherwise messages are dropped until the client's Sync.
        """
        if self.sent or self.status == IN_TRANSACTION:
            self.send(ABORT, Expect(m.PARSE, instead=error))
        else:
            self.to_client(error)
        self.failed = True
        if query:
            self._sync(m.SYNC_MESSAGE)
        if not self._pumping:
            self.flush()

    def drop_query(self) -> None:
        """The Query at the head of the inbox is answered already, by an error: only its ReadyForQuery is missing."""
        self._take()
        self._sync(m.SYNC_MESSAGE)

    def _unknown(self, what: str, name: bytes, code: str) -> None:
        shown = name.decode(errors="replace")
        text = f'{what} "{shown}" does not exist' if name else f"unnamed {what} does not exist"
        self.refuse_with(refusal.error(code, text), query=False)

    def _note(self, what: str, detail: str) -> None:
        self.gateway.record(self.kernel, Noted(what, detail))

    # The wires

    def send(self, raw: bytes, expect: Expect) -> None:
        """Queue a message for the server, and what it owes for it. One write carries all that a turn produced."""
        self._outbox.append(raw)
        self.backend.owed.append(expect)
        self.sent = True

    def send_raw(self, raw: bytes) -> None:
        """Queue a message that has no answer of its own (Flush, copy data)."""
        self._outbox.append(raw)

    def flush(self) -> None:
        if self._outbox and not self.closed:
            self.backend.transport.write(b"".join(self._outbox) if len(self._outbox) > 1 else self._outbox[0])
            self._outbox.clear()

    def to_client(self, data: bytes) -> None:
        if not self.closed:
            self.frontend.write(data)

    def waiting(self, review: str, url: str) -> None:
        """Tell the client that people are asked; between messages, never inside one."""
        if self.backend.within_message:
            self._asides.append(refusal.waiting(review, url))
        else:
            self.to_client(refusal.waiting(review, url))

    def pause_client(self, paused: bool) -> None:
        self.frontend.pause("server", paused)

    # What the server says (called by `backend`)

    def after_answers(self) -> None:
        if self._asides and not self.backend.within_message:
            self.to_client(b"".join(self._asides))
            self._asides.clear()
        if self.draining and self._idle():
            self.frontend.goodbye()  # behind the answer, which the client has by now
            return
        self.pump()

    def _idle(self) -> bool:
        """True if nothing of this session is under way upstream, not even a transaction."""
        return self.status == IDLE and not self.sent and not self.backend.owed

    def described(self, run: Run, raw: bytes) -> None:
        self.masks.describe(run, raw)

    def notification(self, raw: bytes) -> bytes | None:
        return self.masks.notification(raw)

    def copying(self, run: Run, raw: bytes) -> bool:
        return copying.begins(self, run, raw)

    def copied(self, run: Run) -> None:
        copying.ends(run)

    def exceeded(self, run: Run) -> bytes:
        return carry.exceeded(self, run)

    def segment_failed(self, first: Expect, skipped: list[Expect], raw: bytes) -> None:
        """The server reported an error in the extended protocol, and skips everything until Sync."""
        self.failed = True
        self.copy = None
        for expect in skipped:
            if expect.run is not None and expect is not first and not expect.run.executed:
                expect.run.error = expect.run.error or "skipped"
            if expect.done is not None:
                expect.done(False, raw)
        run = self.current
        if self.blocked == HELD and run is not None:
            run.settled = True
            self.current = None
            if run.handle is not None:
                run.handle.abandon()
        if self.blocked in (HELD, BARRIER, LOOKUP, INPUT):
            self.blocked = FREE
            self.on_input = None

    def ready(self, status: int, head: Expect) -> None:
        """ReadyForQuery. It ends the client's segment unless it answers something of ours."""
        self.status = status
        if head.ready if head.kind == m.QUERY else head.shown:
            self._segment_ends()

    def _segment_ends(self) -> None:
        rolled_back = self.failed and self.status == IDLE
        alone = self.runs[0] if len(self.runs) == 1 and not self.in_block else None
        self.settle(rolled_back=rolled_back)
        self.failed = self.sent = self.read_only = False
        self.blocked = FREE
        self.copy = None
        self.in_block = self.status != IDLE
        if self.status == IDLE:
            self.portals.clear()
            self.preceding.clear()
            self.sensitive = False
            self.lookup.transaction_ended()
            if alone is not None:
                self.turns.learn(alone)

    def settle(self, *, rolled_back: bool = False, lost: bool = False) -> None:
        """Tell the gate the outcome of every operation whose end is known now."""
        still: list[Run] = []
        for run in self.runs:
            if run.suspended and self.status != IDLE and not lost:
                still.append(run)
                continue
            self.lookup.ran(run)
            if run.error == "skipped":
                run.finish(Outcome.NOT_SENT, "skipped by the server after an earlier error")
            elif run.error:
                run.finish(Outcome.FAILED)
            elif lost:
                run.finish(Outcome.UNKNOWN, "the connection was lost before the server had answered")
            elif rolled_back:
                run.finish(Outcome.FAILED, "rolled back with its transaction")
            elif run.exceeded:
                run.finish(Outcome.FAILED, "rolled back: it changed more rows than were approved")
            else:
                run.finish(Outcome.COMPLETED, "" if run.executed else "bound, not executed")
        self.runs = still

    # Ends

    def cancel(self) -> None:
        """A CancelRequest reached this session: what waits for people ends with 57014, what runs is cancelled by the server."""
        self.turns.unfold()
        run = self.current
        if self.blocked == HELD and run is not None and not run.settled:
            run.settled = True
            self.current = None
            self.blocked = FREE
            if run.handle is not None:
                run.handle.withdraw()
            error = refusal.error(refusal.QUERY_CANCELED, "canceling statement due to user request")
            self.refuse_with(error, query=run.bound is None)
            self.pump()
        elif self.backend.owed:
            self.frontend.cancel_upstream()

    def drain(self) -> None:
        """Finish what is in flight, tell what is held, and go."""
        self.turns.unfold()
        self.draining = True
        if self.blocked == HELD or self._idle():
            self.frontend.goodbye()

    def leaves_something(self) -> bool:
        """True if the server is still at work on something whose outcome is not known."""
        self.turns.unfold()
        return any(run.done is not None for run in self.runs) and bool(self.backend.owed)

    def client_gone(self) -> None:
        """Nobody reads any more: what waits for people ends here, what runs may end."""
        self.turns.unfold()
        self.inbox.clear()
        run, self.current = self.current, None
        if run is not None and not run.settled:
            run.settled = True
            if run.handle is not None:
                run.handle.abandon()
        self.draining = True
        if not self.backend.transport.is_closing():
            self.backend.transport.resume_reading()

    def client_broke(self, text: str) -> None:
        self.to_client(refusal.fatal(refusal.PROTOCOL_VIOLATION, text))
        self._note("protocol-violation", f"client: {text}")
        self.frontend.close("the client broke the protocol")

    def server_broke(self, text: str) -> None:
        self.to_client(refusal.fatal(refusal.PROTOCOL_VIOLATION, f"the gateway ends the session: {text}"))
        self._note("protocol-violation", f"server: {text}")
        self.frontend.close("the server broke the protocol or left the pinned settings")

    def server_lost(self, error: Exception | None) -> None:
        self.turns.unfold()
        if not self.closed:
            if self.backend.owed or self.status != IDLE:
                self.to_client(refusal.fatal(refusal.CONNECTION_FAILURE, "the server closed the connection"))
            self.frontend.close(f"the server closed the connection{f': {error}' if error else ''}")

    def end(self) -> None:
        """Close the books: held waiters leave their reviews standing, unanswered operations are unknown."""
        if self.closed:
            return
        self.turns.unfold()
        run, self.current = self.current, None
        if run is not None and not run.settled:
            run.settled = True
            if run.handle is not None:
                run.handle.abandon()
        if self.spool is not None:
            self.spool.discard()
        self.settle(lost=True)
        self.closed = True
