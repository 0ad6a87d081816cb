"""From uses to effects: what the names in a text stand for, all the way down.

`Expansion` follows each name through the catalogue: views, rules, triggers, defaults, generated columns, checks, index expressions, row
security, foreign keys, partitions, foreign tables, types, casts, operators, functions. What cannot be followed is `execute`; what
has not been asked yet is a `Question`, and a text with open questions is `unknown`. One pass serves both `needs` and `facts`, so that nothing
is judged which was not also asked. docs/postgres-effects.md says the outcome in words.

Not followed, because only a superuser can put code there: event triggers, operator classes of builtin types, text search
templates, access methods, conversion functions, and the system views' own definitions, which are reads of those views by name.
"""

from collections.abc import Iterable

from postgast import pg_query_pb2 as pg

from gateway_kernel.model import Effect, EffectKind, Facts
from gateway_kernel.parse.sql.catalogue import (
    Catalogue,
    Question,
    Relation,
    Unanswered,
    parse_name,
    qualified,
)
from gateway_kernel.parse.sql.names import Names
from gateway_kernel.parse.sql.statements import walked
from gateway_kernel.parse.sql.syntax import (
    Bound,
    Call,
    Change,
    ColumnUse,
    Definition,
    Direct,
    Field,
    Mention,
    Operate,
    Read,
    Touch,
    Unknown,
    Use,
    Walk,
    varies,
)
from gateway_kernel.parse.sql.tree import UnparsedError, parsed

READ, WRITE, DELETE, EXECUTE = EffectKind.READ, EffectKind.WRITE, EffectKind.DELETE, EffectKind.EXECUTE
SESSION, SCHEMA, PRIVILEGE = EffectKind.SESSION, EffectKind.SCHEMA, EffectKind.PRIVILEGE

MAX_DEPTH = 32
"""Views within views, cascades within cascades: beyond it nobody reads along, and the operation is refused."""

UNKNOWN_NAME = "Nothing is known of the prepared statement or cursor"
"""How the problem of an EXECUTE or FETCH begins whose name nobody gave."""

QUIET = frozenset(
    "set:" + name
    for name in (
        "application_name", "client_min_messages", "datestyle", "extra_float_digits", "idle_in_transaction_session_timeout",
        "intervalstyle", "jit", "lock_timeout", "statement_timeout", "timezone",
    )
)  # fmt: skip
"""Session effects that change no name's meaning."""

HOUSEKEEPING = QUIET | {
    "discard:all",
    "discard:plans",
    "discard:sequences",
    "discard:temp",
    "pg_advisory_unlock_all",
    "reset:all",
    "unlisten:*",
}
"""What drivers and poolers do by themselves, as objects of session effects: the shipped policies allow these by name."""

_ENDS_TRANSACTION = frozenset(
    ("COMMIT", "ROLLBACK", "ROLLBACK TO")
)  # with it end SET LOCAL, temporary tables, uncommitted DDL


def is_barrier(facts: Facts) -> bool:
    """True if names may mean something else after this: judge nothing behind it before the server has answered it."""
    verbs = getattr(facts.family, "verbs", ())
    return changes_names(facts.effects) or any(verb in _ENDS_TRANSACTION for verb in verbs)


def changes_names(effects: Iterable[Effect]) -> bool:
    """True if one of these effects may change what a name means, or to what it leads."""
    return any(
        effect.kind in (EXECUTE, SCHEMA, PRIVILEGE) or (effect.kind is SESSION and effect.object not in QUIET)
        for effect in effects
    )


def needs(text: str, known: Catalogue, statement: str = "") -> tuple[Question, ...]:
    """Return what must be asked before `text` can be judged; ask, then call again, until nothing is returned.

    `statement` is what the context says under that key. Text that cannot be read needs nothing: it is refused as it is.
    """
    expansion = Expansion(known, statement)
    expansion.text(text)
    return tuple(expansion.missing)


class Expansion(Names):
    """The effects of a text, as far as `catalogue` knows. After `text`, all public attributes are filled."""

    def __init__(self, catalogue: Catalogue, statement: str = "") -> None:
        super().__init__(catalogue)
        self.verbs: list[str] = []
        self.statements = 0
        self.has_where = False
        self._statement = statement
        self._names_given: set[str] = set()
        self._moved = ""  # the first statement of the text after which names may mean something else
        self._done: set[tuple[Use, str]] = set()
        self._depth = 0

    def text(self, text: str) -> None:
        """Expand every statement of a text that somebody sent. Whatever it is, this ends and raises nothing but `ValidationError`."""
        try:
            self._statements(parsed(text))
        except UnparsedError as error:
            self.problems.append(str(error))
        except RecursionError:
            self.problems.append("The statement, or what it leads to, is nested too deeply to be judged.")

    def _statements(self, tree: pg.ParseResult) -> None:
        self.statements = len(tree.stmts)
        filtered: list[bool] = []
        for raw in tree.stmts:
            walk = walked(raw.stmt)
            before = len(self.effects)
            self._all(walk, "", listed=True)
            self._names_given |= _names_given(raw.stmt)
            self.verbs += walk.verbs
            filtered += _where(raw.stmt, walk)
            if self._moved and any(not isinstance(use, Direct | ColumnUse) for use in walk.uses):
                self._effect(EXECUTE, "", f"names used after {self._moved} in the same text")
            if changes_names(list(self.effects)[before:]) or (walk.verbs[:1] and walk.verbs[0] in _ENDS_TRANSACTION):
                self._moved = self._moved or (walk.verbs[0] if walk.verbs else "it")
        self.has_where = bool(filtered) and all(filtered)
        if not tree.stmts:
            self._effect(EffectKind.TRANSACTION, "nothing", "")
        elif not self.effects and not self.missing and not self.problems:
            self._effect(READ, "", "")  # SELECT 1: reads nothing that has a name

    def _all(self, walk: Walk, via: str, *, listed: bool) -> None:
        for use in walk.uses:
            if isinstance(use, Field):
                self._field(use, walk, via)
            elif isinstance(use, ColumnUse):
                if listed:
                    self._column(use, walk)
            elif (use, via) not in self._done:
                self._done.add((use, via))
                self._use(use, via, walk)

    def _use(self, use: Use, via: str, walk: Walk) -> None:
        match use:
            case Read(schema, name):
                self._read(schema, name, via)
            case Change(schema, name, event):
                self._change(schema, name, event, via)
            case Touch(schema, name, effect):
                self._touch(schema, name, effect, via)
            case Call():
                self._call(use, walk, via)
            case Operate(schema, name):
                self._operate(schema, name, via)
            case Mention(schema, name):
                self._mention(schema, name, via, coerced=True)
            case Direct(effect):
                self._effect(effect.kind, effect.object, effect.via or via)
            case Definition(schema, name, part):
                self._definition(schema, name, part)
            case Bound(name):
                self._bound(name)
            case Unknown(problem):
                self.problems.append(problem)
            case _:
                raise AssertionError(use)

    def _inner(
        self, text: str, via: str, relation: Relation | None = None, *, listed: bool = False, constants: bool = False
    ) -> None:
        """Expand a text of the catalogue: a query, a rule, or an expression put behind SELECT."""
        try:
            tree = parsed(text)
        except UnparsedError:
            self.problems.append(f"The definition of {via} in the catalogue cannot be read.")
            return
        if self._depth >= MAX_DEPTH:
            self.problems.append(f"Definitions are nested too deeply at {via}.")
            return
        self._depth += 1
        for raw in tree.stmts:
            walk = Walk(constants=constants)
            if relation is not None:
                for alias in (relation.name, "old", "new"):
                    walk.aliases[alias] = {(relation.schema, relation.name)}
            kind = raw.stmt.WhichOneof("node")
            if kind == "rule_stmt":
                walk.visit(raw.stmt.rule_stmt.where_clause)
                walk.all(raw.stmt.rule_stmt.actions, frozenset())
            elif kind == "create_trig_stmt":
                walk.visit(raw.stmt.create_trig_stmt.when_clause)
            else:
                walk.visit(raw.stmt)
            self._all(walk, via, listed=listed)
        self._depth -= 1

    def _expression(self, text: str, via: str, relation: Relation | None = None, *, constants: bool = False) -> None:
        if text:
            self._inner("SELECT " + text, via, relation, constants=constants)

    def _bound(self, name: str) -> None:
        if name in self._names_given and not self._moved:
            return  # this text itself gave the name, and what stands behind it was expanded there
        if name in self._names_given:
            self.problems.append(
                f"What stands behind {name!r} may mean something else after {self._moved} in the same text."
            )
            return
        if not self._statement:
            self.problems.append(f"{UNKNOWN_NAME} {name!r}.")
            return
        self._inner(self._statement, "", listed=True)

    def _read(self, schema: str, name: str, via: str) -> None:
        relation = self._relation(schema, name)
        if isinstance(relation, Unanswered):
            return
        if relation is None:  # the server will say so; should the name come to be, it is judged anew
            self._effect(READ, qualified(schema, name), via)
            self.reads[qualified(schema, name)] = None
            return
        label = relation.label
        self._effect(READ, label, via)
        self.reads[label] = None
        if relation.builtin:
            return
        self._family(READ, relation)
        for foreign in relation.foreign:
            self._effect(EXECUTE, foreign, "foreign table")
        if relation.is_view:
            self._inner(relation.definition, label, listed=True)
        elif relation.kind == "m":
            self._ask(relation.definition)
        for policy in relation.policies:
            self._expression(policy, f"row security of {label}", relation)
        for column in relation.columns:
            if column.generated == "s":
                self._ask(f"SELECT {column.default}", relation)
            if column.generated == "v":
                self._expression(column.default, f"column {column.name} of {label}", relation)
            if column.type:
                self._mention(*parse_name(column.type), f"column {column.name} of {label}", coerced=False)
        for text in (*relation.indexes, *relation.checks):  # the planner folds constant calls in them
            self._expression(text, f"an index or constraint of {label}", relation, constants=True)

    def _ask(self, text: str, relation: Relation | None = None) -> None:
        """Ask what `text` needs though it does not run: its outcome is stored, and masks are traced to where it came from."""
        stored = Expansion(self._catalogue)
        stored._depth = self._depth
        stored._inner(text, "", relation)
        self.missing.update(stored.missing)

    def _family(self, kind: EffectKind, relation: Relation) -> None:
        """What happens to a partition happens to its table, and the other way round."""
        for child in relation.children:
            self._effect(kind, child, relation.label)
        for parent in relation.parents:
            self._effect(kind, parent, f"partition {relation.label}")

    def _change(self, schema: str, name: str, event: str, via: str) -> None:
        relation = self._relation(schema, name)
        if isinstance(relation, Unanswered):
            return
        label = qualified(schema, name) if relation is None else relation.label
        kind = DELETE if event in "dtx" else WRITE
        self._effect(kind, label, via or ("row lock" if event == "l" else ""))
        self.writes[label] = None
        if relation is None:
            return
        if relation.builtin:
            self._system_change(relation)
            return
        self._family(kind, relation)
        for foreign in relation.foreign:
            self._effect(EXECUTE, foreign, "foreign table")
        if relation.is_view:
            self._view_change(relation, event)
        if event == "l":
            return
        for rule in relation.rules:
            if rule.event == event:
                self._inner(rule.text, f"rule {rule.name} on {label}", relation)
        for trigger in relation.triggers:
            if ("t" if event == "x" else event) in trigger.events:
                origin = f"trigger {trigger.name} on {label}"
                self._callable(trigger.function, Call(trigger.function.schema, trigger.function.name), origin)
                self._inner(trigger.text, origin, relation)
        self._expressions_of_change(relation, event)
        self._cascade(relation, event)

    def _system_change(self, relation: Relation) -> None:
        if relation.name == "pg_settings":
            self._effect(SESSION, "set:?", relation.label)
        else:
            for kind in (SCHEMA, PRIVILEGE, EXECUTE):
                self._effect(kind, relation.label, "system catalogue")

    def _view_change(self, view: Relation, event: str) -> None:
        """An automatically updatable view passes the change on to what its FROM names."""
        self._inner(view.definition, view.label)
        try:
            tree = parsed(view.definition)
        except UnparsedError:
            return  # said by _inner
        for item in tree.stmts[0].stmt.select_stmt.from_clause if tree.stmts else ():
            if item.WhichOneof("node") == "range_var" and self._depth < MAX_DEPTH:
                self._depth += 1
                self._change(item.range_var.schemaname, item.range_var.relname, event, view.label)
                self._depth -= 1

    def _expressions_of_change(self, relation: Relation, event: str) -> None:
        label = relation.label
        for policy in relation.policies:
            self._expression(policy, f"row security of {label}", relation)
        if event not in "iu":
            return
        for text in (*relation.checks, *relation.generated, *relation.indexes):
            self._expression(text, f"a constraint or index of {label}", relation)
        for column in relation.columns:
            origin = f"column {column.name} of {label}"
            if event == "i" or not column.generated:  # UPDATE may say SET x = DEFAULT
                self._expression(column.default, origin, relation)
            if column.type:
                self._mention(*parse_name(column.type), origin, coerced=True)

    def _cascade(self, relation: Relation, event: str) -> None:
        for reference in relation.references:
            action = reference.on_delete if event == "d" else reference.on_update if event == "u" else "a"
            onward = "x" if event == "x" else event if action == "c" else "u" if action in "nd" else ""
            use = Change(reference.schema, reference.table, onward)
            origin = f"foreign key {reference.name}"
            if not onward or (use, origin) in self._done:
                continue
            if self._depth >= MAX_DEPTH:
                self.problems.append(f"Foreign keys cascade too far at {origin}.")
                return
            self._done.add((use, origin))
            self._depth += 1
            self._change(reference.schema, reference.table, onward, origin)
            self._depth -= 1

    def _definition(self, schema: str, name: str, part: str) -> None:
        relation = self._relation(schema, name)
        if not isinstance(relation, Relation):
            return
        if part == "query":
            self._inner(relation.definition, relation.label, listed=True)
            return
        for text in (*relation.indexes, *relation.checks, *relation.generated):
            self._expression(text, f"an index or constraint of {relation.label}", relation)


def _where(statement: pg.Node, walk: Walk) -> list[bool]:
    """Whether the statement filters: one answer for its UPDATEs and DELETEs together, else one for a query, else none."""
    if {"UPDATE", "DELETE", "TRUNCATE"} & set(walk.verbs):
        return [not walk.unfiltered]
    if statement.WhichOneof("node") == "select_stmt":
        select = statement.select_stmt
        return [select.HasField("where_clause") and varies(select.where_clause)]
    return []


def _names_given(statement: pg.Node) -> set[str]:
    """The cursor or statement name that DECLARE or PREPARE gives to what later statements of the text run."""
    match statement.WhichOneof("node"):
        case "declare_cursor_stmt":
            return {statement.declare_cursor_stmt.portalname}
        case "prepare_stmt":
            return {statement.prepare_stmt.name}
        case _:
            return set()
