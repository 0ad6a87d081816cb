"""What the gate must know before it can judge a text, asked in-band: on the session's own connection, in its transaction.

Only there are its temporary tables, its uncommitted definitions and its search path visible. Questions go as named statements and
portals of ours, so that the client's unnamed ones stand. What was learnt is kept until an operation may have changed it, and for a few
seconds at most, because other sessions change things too (`answers`).
"""

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from edge_agent.protocols.postgres import catalogue as questions
from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.postgres.answers import Answers
from edge_agent.protocols.postgres.expect import Expect
from edge_agent.protocols.postgres.names import Cursor, Statement, agree, declared, query_of
from edge_agent.protocols.postgres.states import FAILED, FREE, IDLE, LOOKUP
from gateway_kernel.model import EffectKind, Facts, Instant, Json, Operation
from gateway_kernel.parse.sql.catalogue import Question
from gateway_kernel.parse.sql.postgres import READER
from gateway_kernel.parse.sql.shape import Shapes
from gateway_kernel.parse.sql.statements import walked
from gateway_kernel.parse.sql.syntax import Bound
from gateway_kernel.parse.sql.tree import UnparsedError, parsed

if TYPE_CHECKING:
    from edge_agent.protocols.postgres.run import Run
    from edge_agent.protocols.postgres.session import PostgresSession

MAX_ROUNDS = 24  # of questions for one text; views of views of views
MAX_TEMPLATES = 1000

_OURS = b"_sallyport"
_MAY_BE_READ_ONLY = frozenset(("BEGIN", "START", "START TRANSACTION", "SET"))
_FETCHES = frozenset(("FETCH", "MOVE"))
_ANALYSE_AGAIN = b"DISCARD PLANS"
"""The server analyses every prepared statement anew before it runs again, under the names that hold then. It is harmless anywhere."""

_NAMING_WORDS = ("execute", "fetch", "move")
_CONTEXT = b"""/* sallyport context */ SELECT pg_catalog.json_build_object(
 'role', current_user, 'database', pg_catalog.current_database(),
 'search_path', pg_catalog.to_json(pg_catalog.current_schemas(true)),
 'server_version', pg_catalog.current_setting('server_version_num')::pg_catalog.int4 operator(pg_catalog./) 10000,
 'read_only', pg_catalog.current_setting('transaction_read_only'))::pg_catalog.text"""
_NAMES = b"""/* sallyport names */ SELECT pg_catalog.json_build_object(
 'statements', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(name, statement, from_sql))
                FROM pg_catalog.pg_prepared_statements WHERE name NOT LIKE '\\\\_sallyport%'),
 'cursors', (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(name, statement))
             FROM pg_catalog.pg_cursors WHERE name NOT LIKE '\\\\_sallyport%'))::pg_catalog.text"""

type Template = tuple[dict[str, Json], Facts]


class Lookup:
    """What one session knows of its own context, names and catalogue."""

    def __init__(self, session: "PostgresSession", database: str) -> None:
        self._session = session
        self._context: dict[str, Json] = {"database": database}
        self._known = False
        self._dirty = False  # something changed the context in this transaction: its end may change it back
        self._names_known = True
        self._cursors: dict[str, Cursor] = {}
        self._declared: dict[str, Json] = {}  # the catalogue under which each cursor was declared
        self._epoch = 0  # counts what changed the meaning of names
        self._cache = Answers()
        self._templates: dict[tuple[str, bool], Template] = {}
        shapes = Shapes()
        self.representative, self.shape = shapes.representative, shapes.shape
        self._plain: set[str] = set()  # texts that use no name of a statement or cursor
        self._rounds = 0
        self.transaction_read_only = False

    # What changes it

    def ran(self, run: "Run") -> None:
        """This operation is over, one way or the other."""
        facts = run.operation.facts
        if not facts.only(EffectKind.READ):
            self._session.turns.generation += 1
        self._cache.after(facts, in_transaction=self._session.status != IDLE or self._session.in_block)
        traits = run.traits
        if "DECLARE" in traits.verbs and not run.error:
            for name in declared(run.operation.text):
                self._declared[name] = run.operation.context.get("catalogue")
        if traits.meaning:
            self._epoch += 1
            self.forget()
            self._dirty = True
        elif self._dirty and any(verb.startswith("ROLLBACK") for verb in traits.verbs):
            self.forget()
        if traits.names:
            self._names_known = False
        if traits.barrier and not _MAY_BE_READ_ONLY.isdisjoint(traits.verbs):
            self.transaction_read_only = False
            if "READ" in run.operation.text.upper():
                self._known = False  # perhaps READ ONLY: the server says

    def forget(self) -> None:
        """Everything about meaning is asked again."""
        self._session.turns.generation += 1
        self._known = False
        self._cache.forget()
        self._templates.clear()

    def transaction_ended(self) -> None:
        self.transaction_read_only = False
        if self._cursors:  # those WITH HOLD stay
            self._cursors = {}
            self._names_known = False
        if self._dirty:
            self._dirty = False
            self.forget()

    # What it answers

    def current(self) -> bool:
        """True if context and names are known as far as they can be (a failed transaction answers nothing); else they are asked."""
        if self._session.status == FAILED or (self._known and self._names_known):
            return True
        if not self._known:
            self._ask([_CONTEXT], self._take_context)
        else:
            self._ask([_NAMES], self._take_names)
        return False

    @property
    def whole(self) -> bool:
        """True if context and names are known, so that nothing has to be asked before a text that is known."""
        return self._known and self._names_known

    def believed(self, operation: Operation) -> tuple[int, Instant] | None:
        """(generation, until when) under which this text keeps the meaning that this operation had; None if it may not."""
        text = self.representative(operation.text)
        template = self._templates.get((text, False))
        if template is None or template[0] is not operation.context or "statement" in operation.context:
            return None
        until = self._cache.until(text)
        return (self._session.turns.generation, until) if until and self.whole else None

    def declares(self, name: bytes) -> bool:
        """True if the session has a cursor of this name."""
        return name.decode(errors="replace") in self._cursors

    def template(self, text: str, bound: Statement | None = None) -> Template | None:
        """Context and facts of a text (of its shape's first text: they are the same); None if the server was asked and the message comes again.

        `bound` is the prepared statement that is to run, if it is one.
        """
        session = self._session
        askable = session.status != FAILED
        if not self.current():
            return None
        now = session.gateway.now()
        text = self.representative(text)
        behind = self._behind(text)
        statement = behind.query if isinstance(behind, Cursor) else behind.upstream if behind is not None else ""
        document, missing = self._cache.gather(text, now, statement)
        if missing and askable and self._rounds < MAX_ROUNDS:
            self._rounds += 1
            queries = [questions.statement(question) for question in missing]
            self._ask(queries, lambda answers: self._take(missing, answers))
            return None
        self._rounds = 0
        if isinstance(behind, Cursor):
            statement, document = self._opened(behind, text, document)
            behind = None
        stale = [it for it in (bound, behind) if it is not None and not it.means(document)]
        if stale and askable:
            self._ask([_ANALYSE_AGAIN], lambda _: _analysed(stale, document), valued=False)
            return None
        key = (text, session.in_block)
        found = self._templates.get(key)
        if found is not None and found[0]["catalogue"] is document and found[0].get("statement", "") == statement:
            return found
        context = {**self._context, "in_transaction": session.in_block, "catalogue": document}
        if statement:
            context["statement"] = statement
        template = (context, _shared(READER.read(Operation("", "postgres", text, (), context)).facts))
        if askable:
            if len(self._templates) >= MAX_TEMPLATES:
                self._templates.clear()
            self._templates[key] = template
        return template

    def _behind(self, text: str) -> Statement | Cursor | None:
        """What stands under the name that an EXECUTE, FETCH or MOVE uses; None if it uses none, or more than one can be meant."""
        if text in self._plain:
            return None
        lowered = text.lower()
        if not any(word in lowered for word in _NAMING_WORDS):
            if len(self._plain) >= MAX_TEMPLATES:
                self._plain.clear()
            self._plain.add(text)
            return None
        names, verbs = _names_in(text)
        if len(names) != 1 or ("EXECUTE" in verbs and verbs & _FETCHES):
            return None
        name = names.pop()
        return self._cursors.get(name) if verbs & _FETCHES else self._session.statements.get(name.encode())

    def _opened(self, cursor: Cursor, text: str, document: dict[str, Json]) -> tuple[str, dict[str, Json]]:
        """The query of a cursor and the catalogue that it was opened under: what its names meant then, it returns. "" if nobody knows."""
        if cursor.meaning is None and cursor.epoch == self._epoch:
            cursor.meaning = document
        if not isinstance(cursor.meaning, dict):
            return "", document
        if _names_in(text)[1] <= _FETCHES:
            return cursor.query, cursor.meaning
        return (cursor.query if agree(cursor.meaning, document) else ""), document

    # How it asks

    def _ask(self, queries: Sequence[bytes], take: Callable[[list[Any]], None], *, valued: bool = True) -> None:
        """Ask questions of one row with one column of JSON each (of none, unless `valued`). Everything of the client waits for the answers."""
        session = self._session
        rows = [Expect(m.EXECUTE, shown=False) for _ in queries]
        failed = False

        def broke(ok: bool, _: bytes) -> None:
            nonlocal failed
            failed = failed or not ok

        def answered(_: bool, __: bytes) -> None:
            session.blocked = FREE
            if failed:
                self._failed(alone)
            else:
                take([_only_value(row.rows) for row in rows] if valued else [])

        alone = (
            not session.sent
        )  # then the questions are a transaction of their own, and VACUUM behind them still works
        session.blocked = LOOKUP
        for text, row in zip(queries, rows, strict=True):
            row.done = broke
            session.send(m.parse(_OURS, text), Expect(m.PARSE, shown=False, done=broke))
            session.send(m.bind(m.Bind(_OURS, _OURS, (), (), ())), Expect(m.BIND, shown=False, done=broke))
            session.send(m.execute(_OURS), row)
            session.send(m.close(b"P", _OURS), Expect(m.CLOSE, shown=False))
            session.send(m.close(b"S", _OURS), Expect(m.CLOSE, shown=False, done=broke))
        if alone:
            session.send(m.SYNC_MESSAGE, Expect(m.SYNC, shown=False, done=answered))
            session.sent = False
        else:
            session.backend.owed[-1].done = answered_or(broke, answered)
            session.send_raw(m.FLUSH_MESSAGE)

    def _failed(self, alone: bool) -> None:
        """The server's error was shown to the client. What asked is dropped with its segment; a Query is owed its end."""
        session = self._session
        self._rounds = 0
        if session.inbox and session.inbox[0][0] == m.QUERY and alone:
            session.drop_query()

    def _take_context(self, answers: list[Any]) -> None:
        self._session.turns.generation += 1
        document: dict[str, Json] = msgspec.json.decode(answers[0])
        self.transaction_read_only = document.pop("read_only") == "on" and self._session.in_block
        self._context = document
        self._known = True

    def _take_names(self, answers: list[Any]) -> None:
        self._session.turns.generation += 1
        self._names_known = True
        document = msgspec.json.decode(answers[0])
        self._session.statements.agree([tuple(row) for row in document["statements"] or ()])
        cursors: list[tuple[str, str]] = document["cursors"] or []
        self._declared = {name: self._declared[name] for name, _ in cursors if name in self._declared}
        self._cursors = {name: Cursor(query_of(text), self._declared.get(name), self._epoch) for name, text in cursors}
        self._templates.clear()

    def _take(self, asked: tuple[Question, ...], answers: list[Any]) -> None:
        now = self._session.gateway.now()
        for question, answer in zip(asked, answers, strict=True):
            self._cache.absorb(question, answer, now)


def _names_in(text: str) -> tuple[set[str], set[str]]:
    """The names of statements and cursors that a text uses, and its verbs."""
    try:
        walks = [walked(raw.stmt) for raw in parsed(text).stmts]
    except UnparsedError:
        return set(), set()
    names = {use.name for walk in walks for use in walk.uses if isinstance(use, Bound)}
    return names, {verb for walk in walks for verb in walk.verbs}


def _analysed(statements: list[Statement], document: Json) -> None:
    for statement in statements:
        statement.meaning = document


_facts: dict[Facts, Facts] = {}
_REMEMBERED = 4096


def _shared(facts: Facts) -> Facts:
    """The one object for equal facts: texts that differ in a literal share what is remembered by their facts' identity, verdicts too."""
    if len(_facts) >= _REMEMBERED:
        _facts.clear()
    return _facts.setdefault(facts, facts)


def answered_or(
    broke: Callable[[bool, bytes], None], answered: Callable[[bool, bytes], None]
) -> Callable[[bool, bytes], None]:
    """The last answer of a question inside the client's segment: note a failure first, then go on."""

    def both(ok: bool, raw: bytes) -> None:
        broke(ok, raw)
        answered(ok, raw)

    return both


def _only_value(rows: list[bytes]) -> str | None:
    """The text of the one column of the one row."""
    raw = b"".join(rows)
    columns, size = struct.unpack_from("!Hi", raw, 5) if len(raw) >= 11 else (0, 0)
    if columns != 1 or max(size, 0) != len(raw) - 11:
        raise m.ProtocolViolationError(
            "the server answers a question of the gateway with something else than one value"
        )
    return None if size < 0 else raw[11:].decode()
