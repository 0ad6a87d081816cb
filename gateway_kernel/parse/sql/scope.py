"""Which column a name means, by PostgreSQL's own rules (parse_relation.c): levels of queries, aliases, merged join columns.

A `Scope` is one query level; it holds the items of its FROM clause and the CTEs it defines, and asks its parent for what it does
not have itself. A name that several columns answer to is an error upstream; here it is all of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from postgast import pg_query_pb2 as pg

from gateway_kernel.parse.sql.catalogue import Relation
from gateway_kernel.parse.sql.taint import Field, Fields, Taint, joined, merged, renamed, whole_row

SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "oid"})


@dataclass(slots=True)
class Item:
    """One entry of a FROM clause. `name` is "" where nothing can name it; `aliased` hides the relation's own name.

    `columns_visible` allows `x` and `*`, `name_visible` allows `t.x` and `t`: a join takes over its arms' columns, not their names.
    """

    name: str
    fields: Fields
    relation: Relation | None = None
    aliased: bool = False
    columns_visible: bool = True
    name_visible: bool = True

    def column(self, name: str) -> Field | None:
        """Return the column of this item that `name` means."""
        found = [column for column in self.fields if column.name == name]
        if not found and self.relation is not None and name in SYSTEM_COLUMNS:
            return Field(name)
        found = found or [column for column in self.fields if not column.name]
        return merged(name, found) if found else None

    def row(self) -> Field:
        return whole_row(self.name, self.fields)


@dataclass(slots=True)
class Cte:
    """A WITH query, traced when it is first used. `fields` is None until then; `busy` while its own trace asks for it."""

    name: str
    query: pg.Node
    definition: pg.CommonTableExpr
    scope: "Scope"
    fields: Fields | None = None
    busy: bool = False


@dataclass(slots=True)
class Scope:
    """One level of names. `items` are what FROM brought, in order."""

    parent: "Scope | None" = None
    items: list[Item] = field(default_factory=list["Item"])
    ctes: dict[str, Cte] = field(default_factory=dict[str, "Cte"])

    def beside(self, items: list[Item]) -> "Scope":
        """Return the same level with other items: what ON, LATERAL and functions in FROM may see."""
        return Scope(self.parent, items, self.ctes)

    def cte(self, name: str) -> Cte | None:
        """Return the nearest WITH query of this name."""
        level: Scope | None = self
        while level is not None:
            if name in level.ctes:
                return level.ctes[name]
            level = level.parent
        return None

    def column(self, name: str) -> Field | None:
        """Return what an unqualified `name` means as a column: the nearest level that has it, and any nameless column before it."""
        guesses: list[Field] = []
        level: Scope | None = self
        while level is not None:
            visible = [item for item in level.items if item.columns_visible]
            found = [column for item in visible for column in item.fields if column.name == name]
            if not found and name in SYSTEM_COLUMNS:
                found = [Field(name) for item in visible if item.relation is not None]
            if found:
                return merged(name, [*found, *guesses])
            guesses += [column for item in visible for column in item.fields if not column.name]
            level = level.parent
        return merged(name, guesses) if guesses else None

    def item(self, name: str, schema: str = "") -> Item | None:
        """Return the item that `name`, or `schema.name`, means: the nearest level that has one."""
        level: Scope | None = self
        while level is not None:
            for item in level.items:
                if item.name_visible and item.name == name and (not schema or _is_relation(item, schema, name)):
                    return item
            level = level.parent
        return None

    def star(self) -> Fields:
        """Return what `*` means here."""
        return tuple(column for item in self.items if item.columns_visible for column in item.fields)


def _is_relation(item: Item, schema: str, name: str) -> bool:
    relation = item.relation
    return relation is not None and not item.aliased and (relation.schema, relation.name) == (schema, name)


def join(node: pg.JoinExpr, left: list[Item], right: list[Item]) -> tuple[list[Item], Taint | None]:
    """Return the items of a join, and the taint of the columns that NATURAL or USING compares."""
    lefts = tuple(column for item in left if item.columns_visible for column in item.fields)
    rights = tuple(column for item in right if item.columns_visible for column in item.fields)
    names = _compared(node, lefts, rights)
    common: list[Field] = []
    for name in names:
        arms = [column for column in (*lefts, *rights) if column.name == name]
        arms = arms or [column for column in (*lefts, *rights) if not column.name]
        common.append(Field(name, joined(column.taint for column in arms)))
    compared = joined(column.taint for column in common)
    if node.is_natural:  # nameless columns may be compared as well
        compared = joined([compared, *(column.taint for column in (*lefts, *rights) if not column.name)])

    rest = [column for column in (*lefts, *rights) if column.name not in names]
    fields = (*common, *rest)
    if node.HasField("alias"):
        return [Item(node.alias.aliasname, renamed(fields, strings(node.alias.colnames)))], compared
    for item in (*left, *right):
        item.columns_visible = False
    items = [*left, *right, Item("", fields, name_visible=False)]
    if node.HasField("join_using_alias"):
        items.append(Item(node.join_using_alias.aliasname, tuple(common), columns_visible=False))
    return items, compared


def _compared(node: pg.JoinExpr, lefts: Fields, rights: Fields) -> list[str]:
    if node.is_natural:
        there = {column.name for column in rights if column.name}
        return [column.name for column in lefts if column.name in there]
    return strings(node.using_clause)


def strings(nodes: Iterable[pg.Node]) -> list[str]:
    """Return the plain strings in a list of nodes."""
    return [node.string.sval for node in nodes]
