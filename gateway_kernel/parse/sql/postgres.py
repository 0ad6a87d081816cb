"""The reader of PostgreSQL: facts of a text by the server's own grammar, and the catalogue that came with it.

`Operation.text` is the statement or statements, `parameters` the bound values, and `context` has:

| key | type | meaning |
|---|---|---|
| `role` | str | current_user |
| `database` | str | current_database() |
| `search_path` | list of str | current_schemas(true): as resolved, implicit schemas included |
| `in_transaction` | bool | the client's own transaction block is open |
| `preceding` | list of str | digests of the operations before it in the same transaction |
| `server_version` | int | 13 to 18 |
| `catalogue` | object | answers to `effects.needs`, in the JSON form of `catalogue.Catalogue` |
| `statement` | str | EXECUTE, FETCH, MOVE, EXPLAIN EXECUTE: the text under that name; for a cursor its query |

Rewriting is `rewriting`'s, what masks mean is `lineage`'s. Nothing is asked here: a fact that is missing makes the operation unknown.
"""

import msgspec

from gateway_kernel.model import Effect, EffectKind, Facts, Json, Operation, Parameter, SqlFacts
from gateway_kernel.parse import MaskPlan
from gateway_kernel.parse.sql import declared, lineage, parameters, rewriting
from gateway_kernel.parse.sql.catalogue import Catalogue
from gateway_kernel.parse.sql.effects import Expansion
from gateway_kernel.verdict import ColumnMask, Rewrite

REMEMBERED = 4096
"""Facts kept, oldest forgotten first."""

LONGEST_REMEMBERED = 16 * 1024
"""Characters. Longer texts are read anew each time: an agent that sends only such would fill the memory."""

type _Key = tuple[Json, ...]
"""Text, statement, role, in_transaction, search_path: of a context that nobody has checked yet."""


class PostgresReader:
    """Reads, rewrites and plans masks for PostgreSQL operations. Keeps the facts of what it read lately."""

    protocol = "postgres"
    parts: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._facts: dict[_Key, tuple[Json, Facts]] = {}
        self._plans = lineage.Plans()

    def read(self, operation: Operation) -> Operation:
        """Return `operation` with its facts; the same `Facts` object for the same text in an equal context."""
        context = operation.context
        try:
            key: _Key = (
                operation.text,
                context.get("statement", ""),
                context.get("role", ""),
                context.get("in_transaction", False),
                tuple(context.get("search_path", ())),
            )
            known = self._facts.get(key)
        except TypeError:
            return _with(operation, _unreadable("The context of the operation is malformed."))
        catalogue = context.get("catalogue")
        if known is not None and (known[0] is catalogue or known[0] == catalogue):
            return _with(operation, known[1])
        facts = _derived(key, catalogue)
        if len(operation.text) > LONGEST_REMEMBERED:
            return _with(operation, facts)
        if len(self._facts) >= REMEMBERED:
            del self._facts[next(iter(self._facts))]
        self._facts.pop(key, None)
        self._facts[key] = (catalogue, facts)
        return _with(operation, facts)

    def rewrite(self, operation: Operation, rewrite: Rewrite) -> Operation:
        """Return the changed operation, with facts derived again; raise `UnrewritableError` with the reason if it cannot be."""
        return rewriting.rewrite(operation, rewrite, self.read)

    def mask(self, operation: Operation, masks: tuple[ColumnMask, ...]) -> MaskPlan:
        """Return what these column masks mean for `operation`."""
        return self._plans.plan(operation, masks)

    def part_problem(self, name: str, value: str | None) -> str:
        """A statement has no parts."""
        return ""

    def asked(self, operation: Operation, field: str) -> Json:
        """Every fact of a statement is kept."""
        raise KeyError(field)

    def declare(self, operation: Operation, tables: dict[str, tuple[str, ...]]) -> Operation:
        """Return `operation`, read, as if the server had just these tables."""
        return self.read(declared.answered(operation, tables))

    def parameter_text(self, parameter: Parameter) -> str | None:
        """Return a bound value as the server would print it."""
        return parameters.text_of(parameter)


def _with(operation: Operation, facts: Facts) -> Operation:
    return Operation(
        operation.id,
        operation.protocol,
        operation.text,
        operation.parameters,
        operation.context,
        operation.body_digest,
        operation.size,
        facts,
    )


def _unreadable(problem: str) -> Facts:
    return Facts("", (Effect(EffectKind.UNKNOWN),), SqlFacts(), complete=False, problem=problem)


def _derived(key: _Key, catalogue: Json) -> Facts:
    text, statement, role, in_transaction, search_path = key
    if not (catalogue is None or isinstance(catalogue, dict)) or not isinstance(statement, str):
        return _unreadable("The context of the operation is malformed.")
    expansion = Expansion(Catalogue(catalogue), statement)
    try:
        expansion.text(text)
    except msgspec.ValidationError as error:
        return _unreadable(f"A catalogue fact is malformed: {error}.")
    problems = list(expansion.problems)
    if expansion.missing:
        names = ", ".join(f"{question.kind} {question.key}" for question in list(expansion.missing)[:5])
        problems.append(f"What the catalogue says is missing: {names}.")
    effects = tuple(expansion.effects)
    verbs = tuple(dict.fromkeys(expansion.verbs))
    family = SqlFacts(
        statements=expansion.statements,
        verbs=verbs,
        reads=tuple(expansion.reads),
        writes=tuple(expansion.writes),
        columns=tuple(expansion.columns),
        functions=tuple(expansion.functions),
        has_where=expansion.has_where,
        role=role,
        search_path=search_path,
        in_transaction=in_transaction,
    )
    return Facts(
        verb=_verb(verbs, expansion.statements),
        effects=(*effects, Effect(EffectKind.UNKNOWN)) if problems else effects,
        family=family,
        complete=not problems,
        problem=" ".join(problems),
    )


def _verb(verbs: tuple[str, ...], statements: int) -> str:
    """The verb of a text with one statement, or with several of the same verb; `MULTIPLE` for a mixture, `EMPTY` for nothing."""
    if not verbs:
        return "EMPTY" if statements == 0 else ""
    return verbs[0] if statements == 1 or len(verbs) == 1 else "MULTIPLE"


READER = PostgresReader()
