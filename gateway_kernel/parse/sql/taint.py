"""What a value carries: which masked columns flowed into it, and how it must be hidden.

`Masks` answers which columns of a relation are masked; `Taint` is that answer as it travels through a statement; a `Field` is one named
column of a query with its taint. Combination is here and nowhere else, and always to the stricter side. Nothing is parsed here.
"""

import re
from collections.abc import Iterable

import msgspec

from gateway_kernel.errors import SallyportError
from gateway_kernel.parse.sql.catalogue import Relation, parse_name
from gateway_kernel.verdict import FILTERS, ColumnMask, Filter, Strategy, stricter_strategy

STATISTICS = frozenset(
    {
        "pg_statistic",
        "pg_statistic_ext_data",
        "pg_stats",
        "pg_stats_ext",
        "pg_stats_ext_exprs",
        "pg_largeobject",
    }
)
"""Relations of the server that hold samples or content of other relations."""

_PART = re.compile(r'"(?:[^"]|"")*"|[^."]+')


class LeakError(SallyportError):
    """A statement would use a masked column in a way that tells its content."""

    def __init__(self, rule: str, sentence: str) -> None:
        super().__init__(sentence)
        self.rule = rule


class UnresolvedError(SallyportError):
    """A name that the server does not know either: the statement would fail upstream."""


class UntraceableError(SallyportError):
    """Something this tracer does not know, or an answer that the catalogue lacks."""


class Taint(msgspec.Struct, frozen=True):
    """`strategy` hides the value; `filter` and `rule` are of the strictest mask; `columns` are what flowed in, for the refusal.

    `opaque` is true if nothing masked was seen, but a function of unknown content may have read it.
    """

    strategy: Strategy
    filter: Filter
    rule: str
    columns: tuple[str, ...]
    opaque: bool = False

    def whole(self) -> "Taint":
        """Return the taint of something computed: what `partial`, `hash` or `token` keeps would tell the computation."""
        return msgspec.structs.replace(self, strategy=stricter_strategy(self.strategy, "redact"))

    def with_(self, other: "Taint") -> "Taint":
        """Return both: the stricter strategy and the stricter filter."""
        lead = self if FILTERS.index(self.filter) <= FILTERS.index(other.filter) else other
        return Taint(
            strategy=stricter_strategy(self.strategy, other.strategy),
            filter=lead.filter,
            rule=lead.rule,
            columns=tuple(dict.fromkeys((*self.columns, *other.columns))),
            opaque=self.opaque and other.opaque,
        )


def joined(taints: Iterable[Taint | None]) -> Taint | None:
    """Return everything that any of these carries; None if none carries anything."""
    whole: Taint | None = None
    for taint in taints:
        if taint is not None:
            whole = taint if whole is None else whole.with_(taint)
    return whole


class Field(msgspec.Struct, frozen=True):
    """One column of a query or a relation. `name` is "" where it is not known, so that it may be any.

    `row` holds the columns of a value that is a row. `many` is true if it stands for a number of columns that nobody knows.
    """

    name: str = ""
    taint: Taint | None = None
    row: tuple["Field", ...] | None = None
    many: bool = False

    def named(self, name: str) -> "Field":
        return self if name == self.name else msgspec.structs.replace(self, name=name)


type Fields = tuple[Field, ...]


def whole_row(name: str, fields: Fields) -> Field:
    """Return the value that a table's name stands for: hidden whole if any of its columns is masked."""
    taint = joined(field.taint for field in fields)
    return Field(name, None if taint is None else taint.whole(), row=fields)


def merged(name: str, fields: Iterable[Field]) -> Field:
    """Return one field that may be any of these."""
    fields = tuple(fields)
    if len(fields) == 1:
        return fields[0].named(name)
    return Field(name, joined(field.taint for field in fields), many=any(field.many for field in fields))


def renamed(fields: Fields, names: Iterable[str]) -> Fields:
    """Return `fields` with the first ones renamed, as a column alias list does. Past a `many` field no position is sure."""
    out = list(fields)
    for position, name in enumerate(names):
        if position < len(out) and not out[position].many:
            out[position] = out[position].named(name)
        else:
            rest = [field for field in fields if field.many] or list(fields[position:])
            out.append(Field(name, joined(field.taint for field in rest)))
    return tuple(out)


class Masks:
    """The column masks of one verdict. Names compare without case, so that no spelling escapes."""

    def __init__(self, masks: tuple[ColumnMask, ...]) -> None:
        self._patterns: list[tuple[tuple[str, str, str], ColumnMask]] = [
            (_pattern(text), mask) for mask in masks for text in mask.columns
        ]
        every = [Taint(mask.strategy, mask.filter, mask.rule, ()) for mask in masks]
        self._any = joined(every)

    def column(self, relation: Relation, column: str) -> Taint | None:
        """Return what masks this column, named by the relation itself or by any parent or child that shares its rows."""
        names = [(relation.schema.lower(), relation.name.lower())]
        for label in (*relation.parents, *relation.children):
            schema, name = parse_name(label)
            names.append((schema.lower(), name.lower()))
        found = [
            Taint(mask.strategy, mask.filter, mask.rule, (f"{relation.name}.{column}",))
            for (schema, table, name), mask in self._patterns
            if name in {"*", column.lower()} and any(_is(schema, table, owner, relation.builtin) for owner in names)
        ]
        return joined(found)

    def touches(self, schema: str, table: str) -> bool:
        """True if some mask names a column of this table (or of every table)."""
        return any(_is(s, t, (schema.lower(), table.lower()), builtin=False) for (s, t, _), _ in self._patterns)

    def in_schema(self, schema: str) -> Taint | None:
        """Return what some mask finds by the name of this schema."""
        named = any(owner == schema.lower() for (owner, _, _), _ in self._patterns)
        return self.content(f"what is masked in {schema}") if named else None

    def content(self, what: str, *, opaque: bool = False) -> Taint | None:
        """Return the taint of something that may hold any masked column: hidden whole, by the strictest mask there is."""
        if self._any is None:
            return None
        return msgspec.structs.replace(self._any.whole(), columns=(what,), opaque=opaque)


def _pattern(text: str) -> tuple[str, str, str]:
    """Split `column`, `table.column` or `schema.table.column` into three lower-case parts, `*` where one is missing."""
    parts: list[str] = [part.strip('"').replace('""', '"').lower() for part in _PART.findall(text)]
    padded = ["*", "*", *parts][-3:]
    return padded[0], padded[1], padded[2]


def _is(schema: str, table: str, owner: tuple[str, str], builtin: bool) -> bool:
    """True if a pattern means this table. The server's own relations are meant only by name: `*.name` is not about pg_settings."""
    return schema in {"*", owner[0]} and (table == owner[1] or (table == "*" and not builtin))
