"""What a parse tree says by itself: which names it uses, and how. No catalogue, so no name is resolved here.

`Walk.visit` goes through every node of a tree, by an allow-list: a node class that is not known here is `Unknown`, so a grammar that grows
cannot slip by. Its product is a list of `Use`; `effects` finds out what those names stand for. The handlers of statements are in
`statements`, those of expressions and clauses here.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from google.protobuf.message import Message
from postgast import pg_query_pb2 as pg

from gateway_kernel.model import Effect

type Scope = frozenset[str]
"""Names of the common table expressions that hide relations here."""


class Read(msgspec.Struct, frozen=True):
    """Rows of this relation are read."""

    schema: str
    name: str


class Change(msgspec.Struct, frozen=True):
    """Rows of this relation are changed: i(nsert), u(pdate), d(elete), t(runcate), x (truncate cascade), or l(ocked)."""

    schema: str
    name: str
    event: str


class Touch(msgspec.Struct, frozen=True):
    """`effect.kind` happens to this relation as a whole; its resolved name becomes the object."""

    schema: str
    name: str
    effect: Effect


class Call(msgspec.Struct, frozen=True):
    """A function is called. `arguments` is -1 where their number is not what is written; `literals` has None for what is no string."""

    schema: str
    name: str
    arguments: int = -1
    literals: tuple[str | None, ...] = ()


class Operate(msgspec.Struct, frozen=True):
    """An operator is used, by name or because the grammar implies it."""

    schema: str
    name: str


class Mention(msgspec.Struct, frozen=True):
    """A type is named: something is cast to it, or defined of it."""

    schema: str
    name: str


class Field(msgspec.Struct, frozen=True):
    """`qualifier.name`: a column, or a function of one row called as if it were one. `qualifier` is "" if it is an expression."""

    qualifier: str
    name: str


class ColumnUse(msgspec.Struct, frozen=True):
    """A column by name; `*` for all of them."""

    qualifier: str
    name: str


class Direct(msgspec.Struct, frozen=True):
    """An effect that is certain from the grammar alone."""

    effect: Effect


class Definition(msgspec.Struct, frozen=True):
    """The stored query of this materialised view, or the index expressions of this relation, are run."""

    schema: str
    name: str
    part: str


class Bound(msgspec.Struct, frozen=True):
    """The statement or portal of this name is used: its text comes with the context."""

    name: str


class Unknown(msgspec.Struct, frozen=True):
    """Something that this reader does not know. The operation is refused."""

    problem: str


type Use = Read | Change | Touch | Call | Operate | Mention | Field | ColumnUse | Direct | Definition | Bound | Unknown

type Handler = Callable[["Walk", Any, Scope], None]


class Walk:
    """Collects the uses of one statement or expression.

    `aliases` maps each name that qualifies columns to the relations it stands for; names in `derived` (also) stand for something that is no
    relation. `constants` makes it collect only calls that need no row: what planning alone may already run.
    """

    def __init__(self, *, constants: bool = False) -> None:
        self.uses: dict[Use, None] = {}
        self.aliases: dict[str, set[tuple[str, str]]] = {}
        self.derived: set[str] = set()
        self.verbs: list[str] = []
        self.unfiltered = False
        self.constants = constants

    def visit(self, node: Message, scope: Scope = frozenset()) -> None:
        """Collect from `node` and everything under it."""
        if isinstance(node, pg.Node):
            kind = node.WhichOneof("node")
            if kind is None:  # an absent list item, such as the argument of DISTINCT without ON
                return
            node = getattr(node, kind)
        name = node.DESCRIPTOR.name
        handler = HANDLERS.get(name)
        if handler is not None:
            handler(self, node, scope)
        elif name in TRANSPARENT:
            self.children(node, scope)
        else:
            self.use(Unknown(f"It contains {name}, which this gateway does not know."))

    def children(self, node: Message, scope: Scope, without: tuple[str, ...] = ()) -> None:
        """Collect from all parts of `node` except the fields named in `without`."""
        for field, value in node.ListFields():
            if field.message_type is None or field.name in without:
                continue
            if field.is_repeated:
                self.all(value, scope)
            else:
                self.visit(value, scope)

    def all(self, nodes: Iterable[Message], scope: Scope) -> None:
        for node in nodes:
            self.visit(node, scope)

    def use(self, use: Use) -> None:
        self.uses[use] = None

    def effect(self, effect: Effect) -> None:
        self.uses[Direct(effect)] = None

    def named(self, relation: pg.RangeVar) -> None:
        """Remember by which name the columns of `relation` are qualified."""
        alias = relation.alias.aliasname or relation.relname
        if relation.alias.colnames:  # its columns have other names here
            self.derived.add(alias)
        self.aliases.setdefault(alias, set()).add((relation.schemaname, relation.relname))

    def extended(self, clause: pg.WithClause, scope: Scope) -> Scope:
        """Collect from a WITH clause; return the scope in which its names hide relations."""
        expressions = [node.common_table_expr for node in clause.ctes]
        if clause.recursive:
            scope |= {expression.ctename for expression in expressions}
        for expression in expressions:
            self.children(expression, scope)
            scope |= {expression.ctename}
            self.derived.add(expression.ctename)
        return scope


def strings(nodes: Iterable[pg.Node]) -> list[str]:
    """The parts of a dotted name."""
    return [node.string.sval for node in nodes if node.WhichOneof("node") == "string"]


def last_two(nodes: Iterable[pg.Node]) -> tuple[str, str]:
    """(schema, name) of a dotted name; a database part is dropped: the server accepts only its own."""
    parts = strings(nodes)
    if not parts:
        return "", ""
    return (parts[-2] if len(parts) > 1 else "", parts[-1])


def literal(node: pg.Node) -> str | None:
    """The string that `node` is, through casts that leave it as it is; None if it is anything else."""
    while node.WhichOneof("node") == "type_cast":
        kind = node.type_cast.type_name
        if kind.typmods or kind.array_bounds or last_two(kind.names)[1] not in ("text", "varchar", "name", "regclass"):
            return None
        node = node.type_cast.arg
    if node.WhichOneof("node") == "a_const" and node.a_const.WhichOneof("val") == "sval":
        return node.a_const.sval.sval
    return None


def varies(node: Message) -> bool:
    """True if the value of `node` depends on a row, a parameter or a query."""
    if node.DESCRIPTOR.name in ("ColumnRef", "ParamRef", "SubLink", "CurrentOfExpr"):
        return True
    for field, value in node.ListFields():
        if field.message_type is None:
            continue
        if any(varies(item) for item in value) if field.is_repeated else varies(value):
            return True
    return False


def relations_in(nodes: Iterable[pg.Node], scope: Scope) -> list[pg.RangeVar]:
    """Every real relation in a FROM clause, joins and subqueries included."""
    found: list[pg.RangeVar] = []

    def gather(message: Message) -> None:
        if isinstance(message, pg.RangeVar):
            if message.schemaname or message.relname not in scope:
                found.append(message)
            return
        for field, value in message.ListFields():
            if field.message_type is not None:
                for item in value if field.is_repeated else (value,):
                    gather(item)

    for node in nodes:
        gather(node)
    return found


def _range_var(walk: Walk, node: pg.RangeVar, scope: Scope) -> None:
    if not node.schemaname and node.relname in scope:
        walk.derived.add(node.alias.aliasname or node.relname)
        return
    walk.named(node)
    walk.use(Read(node.schemaname, node.relname))


def _derived(walk: Walk, node: Any, scope: Scope) -> None:
    if node.HasField("alias"):
        walk.derived.add(node.alias.aliasname)
    walk.children(node, scope)


def _join(walk: Walk, node: pg.JoinExpr, scope: Scope) -> None:
    if node.using_clause or node.is_natural:
        walk.use(Operate("", "="))
    for alias in (node.alias, node.join_using_alias):
        if alias.aliasname:
            walk.derived.add(alias.aliasname)
    walk.children(node, scope, without=("using_clause",))
    for column in strings(node.using_clause):
        walk.use(ColumnUse("", column))


def _sample(walk: Walk, node: pg.RangeTableSample, scope: Scope) -> None:
    schema, name = last_two(node.method)
    walk.use(Call(schema, name, 1))
    walk.children(node, scope, without=("method",))


def _function_call(walk: Walk, node: pg.FuncCall, scope: Scope) -> None:
    schema, name = last_two(node.funcname)
    if not (walk.constants and varies(node)):
        count = -1 if node.func_variadic else len(node.args) + (len(node.agg_order) if node.agg_within_group else 0)
        walk.use(Call(schema, name, count, tuple(literal(argument) for argument in node.args)))
    walk.children(node, scope, without=("funcname",))


_IMPLIED: dict[int, tuple[str, ...]] = {
    pg.AEXPR_BETWEEN: (">=", "<="),
    pg.AEXPR_NOT_BETWEEN: ("<", ">"),
    pg.AEXPR_BETWEEN_SYM: (">=", "<="),
    pg.AEXPR_NOT_BETWEEN_SYM: ("<", ">"),
}
_WRITTEN = frozenset((
    pg.AEXPR_OP, pg.AEXPR_OP_ANY, pg.AEXPR_OP_ALL, pg.AEXPR_DISTINCT, pg.AEXPR_NOT_DISTINCT, pg.AEXPR_NULLIF,
    pg.AEXPR_IN, pg.AEXPR_LIKE, pg.AEXPR_ILIKE, pg.AEXPR_SIMILAR,
))  # fmt: skip


def _operator_expression(walk: Walk, node: pg.A_Expr, scope: Scope) -> None:
    if node.kind not in _WRITTEN and node.kind not in _IMPLIED:
        walk.use(Unknown(f"It contains an operator expression of kind {node.kind}, which this gateway does not know."))
    if not (walk.constants and varies(node)):
        schema, name = last_two(node.name)
        for operator in _IMPLIED.get(node.kind, (name,)):
            walk.use(Operate(schema, operator))
    walk.children(node, scope, without=("name",))


def _sublink(walk: Walk, node: pg.SubLink, scope: Scope) -> None:
    if node.sub_link_type in (pg.ANY_SUBLINK, pg.ALL_SUBLINK):
        walk.use(Operate(*(last_two(node.oper_name) if node.oper_name else ("", "="))))
    walk.children(node, scope, without=("oper_name",))


def _case(walk: Walk, node: pg.CaseExpr, scope: Scope) -> None:
    if node.HasField("arg"):
        walk.use(Operate("", "="))
    walk.children(node, scope)


def _sort(walk: Walk, node: pg.SortBy, scope: Scope) -> None:
    if node.use_op:
        walk.use(Operate(*last_two(node.use_op)))
    walk.children(node, scope, without=("use_op",))


def _type_name(walk: Walk, node: pg.TypeName, scope: Scope) -> None:
    parts = strings(node.names)
    if node.pct_type:  # schema.table.column%TYPE
        parts = parts[:-1]
    schema, name = (parts[-2] if len(parts) > 1 else "", parts[-1]) if parts else ("", "")
    if schema != "pg_catalog":
        walk.use(Mention(schema, name))
    walk.children(node, scope, without=("names",))


def _column(walk: Walk, node: pg.ColumnRef, scope: Scope) -> None:
    parts = [field.string.sval if field.WhichOneof("node") == "string" else "*" for field in node.fields]
    qualifier = parts[-2] if len(parts) > 1 else ""
    walk.use(ColumnUse(qualifier, parts[-1]))
    if qualifier and parts[-1] != "*":
        walk.use(Field(qualifier, parts[-1]))


def _indirection(walk: Walk, node: pg.A_Indirection, scope: Scope) -> None:
    for field in strings(node.indirection):
        walk.use(Field("", field))
    walk.children(node, scope)


def _default_element(walk: Walk, node: pg.DefElem, scope: Scope) -> None:
    """Options: their values are words, numbers and type names; words are not column references there."""
    walk.children(node, scope)


HANDLERS: dict[str, Handler] = {
    "RangeVar": _range_var,
    "RangeSubselect": _derived,
    "RangeFunction": _derived,
    "RangeTableFunc": _derived,
    "JsonTable": _derived,
    "JoinExpr": _join,
    "RangeTableSample": _sample,
    "FuncCall": _function_call,
    "A_Expr": _operator_expression,
    "SubLink": _sublink,
    "CaseExpr": _case,
    "SortBy": _sort,
    "TypeName": _type_name,
    "ColumnRef": _column,
    "A_Indirection": _indirection,
    "DefElem": _default_element,
}
"""Node class -> its handler. `statements` adds those of statements."""

TRANSPARENT = frozenset(
    """
    A_ArrayExpr A_Const A_Indices A_Star AccessPriv Alias AlterTableCmd ATAlterConstraint BitString BoolExpr Boolean BooleanTest CTECycleClause
    CTESearchClause CaseWhen CoalesceExpr CollateClause ColumnDef Constraint CreateOpClassItem CurrentOfExpr Float FunctionParameter
    GroupingFunc GroupingSet IndexElem InferClause Integer JsonAggConstructor JsonArgument JsonArrayAgg JsonArrayConstructor
    JsonArrayQueryConstructor JsonBehavior JsonFormat JsonFuncExpr JsonIsPredicate JsonKeyValue JsonObjectAgg JsonObjectConstructor
    JsonOutput JsonParseExpr JsonReturning JsonScalarExpr JsonSerializeExpr JsonTableColumn JsonTablePathSpec JsonValueExpr List MergeSupportFunc
    MinMaxExpr MultiAssignRef NamedArgExpr NullTest ObjectWithArgs ParamRef PartitionBoundSpec PartitionCmd PartitionElem
    PartitionRangeDatum PartitionSpec PublicationObjSpec PublicationTable RangeTableFuncCol ReplicaIdentityStmt ResTarget ReturnStmt
    ReturningClause ReturningOption RoleSpec RowExpr SQLValueFunction SetToDefault StatsElem String TableLikeClause TriggerTransition TypeCast
    VacuumRelation WindowDef XmlExpr XmlSerialize
    """.split()  # noqa: SIM905  (a list to be read)
)
"""Node classes of the raw grammar that add nothing to their parts. Those that only a planner makes are not here: unknown."""
