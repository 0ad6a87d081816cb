"""Rewrites of SQL text: a row limit, another statement, a read-only mark.

The text is changed by changing PostgreSQL's own parse tree and deparsing it, and is handed out only if parsing it again gives
the changed tree. What does not survive that is refused with `UnrewritableError`; nothing half rewritten is ever returned.

`limit` caps what a SELECT, VALUES, TABLE, `COPY (query) TO STDOUT`, DECLARE CURSOR or PREPARE hands to the client. It leaves
alone what returns no rows of a query (SELECT INTO, CREATE TABLE AS, EXPLAIN) and the rows that RETURNING gives back, because
those have already been changed. `read_only` changes no text: the engine opens the transaction, and the mark in the context
puts that into the digest. This module judges nothing and knows no catalogue.
"""

from collections.abc import Callable

import msgspec
import postgast
from google.protobuf.message import Message
from postgast import pg_query_pb2 as pg

from gateway_kernel.errors import UnrewritableError
from gateway_kernel.model import EffectKind, Operation
from gateway_kernel.parse.sql.tree import UnparsedError, parsed
from gateway_kernel.verdict import Rewrite

READ_ONLY = "read_only"
"""Key of `Operation.context`: true if the operation must run in a READ ONLY transaction."""

WRAPPER = "limited"
"""Alias of the subselect around a query that cannot take a second limit of its own."""

_PLACES = frozenset(
    {
        "location",
        "stmt_location",
        "stmt_len",
        "name_location",
        "list_start",
        "list_end",
        "rexpr_list_start",
        "rexpr_list_end",
    }
)
"""Fields that say where in the text a node stood: the only ones in which a round trip may differ."""

_LEAST = pg.IS_LEAST


def rewrite(operation: Operation, change: Rewrite, read: Callable[[Operation], Operation]) -> Operation:
    """Return `operation` as `change` wants it, with facts derived again by `read`; the same object if nothing changes.

    `replace` comes first and must fit the parameters that are already bound; `limit` then applies to the new text. The mark
    `read_only` is set only where every effect of the final text is a read. Raises `UnrewritableError` with the reason.
    """
    text = operation.text
    if change.replace is not None and change.replace != text:
        text = _replaced(operation, change.replace)
    if change.limit is not None:
        text = limited(text, change.limit, str(operation.context.get("statement", "")))

    final = operation
    if text != operation.text:
        grown = len(text.encode()) - len(operation.text.encode())
        final = read(msgspec.structs.replace(operation, text=text, size=max(operation.size + grown, 0)))
    if change.read_only and final.facts.only(EffectKind.READ) and final.context.get(READ_ONLY) is not True:
        final = read(msgspec.structs.replace(final, context={**final.context, READ_ONLY: True}))
    return final


def limited(text: str, limit: int, behind: str = "") -> str:
    """Return `text` with at most `limit` rows from each statement that hands rows of a query out; `text` itself if none does.

    `behind` is the text of the prepared statement or cursor that an EXECUTE or FETCH in `text` names: it must be limited already.
    """
    tree = _parse(text, "the statement")
    changed = False
    made = {raw.stmt.prepare_stmt.name or raw.stmt.declare_cursor_stmt.portalname for raw in tree.stmts}
    for raw in tree.stmts:
        _check_name(raw.stmt, made, behind, limit)
        changed = _limit_statement(raw.stmt, limit) or changed
    return _deparse(tree) if changed else text


def _replaced(operation: Operation, text: str) -> str:
    """Check that `text` can run in place of `operation`, with the parameters and the input that it has."""
    if operation.body_digest:
        raise UnrewritableError(
            "the operation streams input (COPY FROM STDIN), which another statement cannot take over"
        )
    tree = _parse(text, "the policy's replacement")
    if len(tree.stmts) != 1:
        raise UnrewritableError(
            f"the policy's replacement holds {len(tree.stmts)} statements; it must hold exactly one"
        )
    needed, given = _highest_parameter(tree), len(operation.parameters)
    if needed > given:
        given = max(given, _highest_parameter(_parse(operation.text, "the statement")))
    if needed > given:
        raise UnrewritableError(f"the policy's replacement uses ${needed}, but the statement has {given} parameters")
    return text


def _parse(text: str, what: str) -> pg.ParseResult:
    """Return the tree of `text`, of which nobody else has a copy."""
    tree = pg.ParseResult()
    try:
        tree.CopyFrom(parsed(text))
    except UnparsedError as error:
        raise UnrewritableError(f"{what} cannot be read: {error}") from error
    return tree


def _deparse(tree: pg.ParseResult) -> str:
    """The text of `tree`, proven to mean `tree`."""
    try:
        text = postgast.deparse(tree)
    except postgast.PgQueryError as error:
        raise UnrewritableError(f"the limited statement cannot be written back as SQL: {error}") from error
    if _without_places(_parse(text, "the limited statement")) != _without_places(tree):
        raise UnrewritableError("the limited statement, written back as SQL, reads differently: send a simpler one")
    return text


def _without_places(tree: pg.ParseResult) -> pg.ParseResult:
    """A copy of `tree` that no longer says where in a text it stood."""
    bare = pg.ParseResult()
    bare.CopyFrom(tree)
    waiting: list[Message] = [bare]
    while waiting:
        node = waiting.pop()
        for field, value in node.ListFields():
            if field.name in _PLACES:
                node.ClearField(field.name)
            elif field.message_type is not None:
                waiting.extend(value if field.is_repeated else (value,))
    return bare


def _highest_parameter(tree: Message) -> int:
    highest, waiting = 0, [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, pg.ParamRef):
            highest = max(highest, node.number)
        for field, value in node.ListFields():
            if field.message_type is not None:
                waiting.extend(value if field.is_repeated else (value,))
    return highest


def _limit_statement(node: pg.Node, limit: int) -> bool:
    """Limit one statement in place; False if it needs no change."""
    match node.WhichOneof("node"):
        case "select_stmt":
            return _limit_select(node.select_stmt, limit)
        case "declare_cursor_stmt":
            return _limit_statement(node.declare_cursor_stmt.query, limit)
        case "prepare_stmt":
            return _limit_statement(node.prepare_stmt.query, limit)
        case "copy_stmt":
            return _limit_copy(node.copy_stmt, limit)
        case _:
            return False


def _check_name(node: pg.Node, made: set[str], behind: str, limit: int) -> None:
    """A name stands for a text that was sent before and cannot be changed now."""
    match node.WhichOneof("node"):
        case "execute_stmt":
            name = node.execute_stmt.name
        case "fetch_stmt" if not node.fetch_stmt.ismove:
            name = node.fetch_stmt.portalname
        case _:
            return
    if name not in made and (not behind or limited(behind, limit) != behind):
        raise UnrewritableError(
            f"{name} stands for a query without a limit of {limit} rows: prepare or declare it again with one"
        )


def _limit_copy(copy: pg.CopyStmt, limit: int) -> bool:
    if copy.is_from or copy.is_program or copy.filename:
        return False
    if copy.HasField("relation"):
        # COPY of a table leaves out children and generated columns, which only the catalogue knows: never guessed.
        name = copy.relation.relname
        raise UnrewritableError(
            f"COPY {name} TO STDOUT cannot be limited to {limit} rows: name a query, as in COPY (SELECT …) TO STDOUT"
        )
    return _limit_statement(copy.query, limit)


def _limit_select(select: pg.SelectStmt, limit: int) -> bool:
    if _selects_into(select):
        return False
    if select.limit_option == pg.LIMIT_OPTION_WITH_TIES:
        _wrap(select)  # ties may exceed any number given here
    elif select.HasField("limit_count"):
        return _lower_limit(select.limit_count, limit)
    select.limit_count.CopyFrom(_constant(limit))
    select.limit_option = pg.LIMIT_OPTION_COUNT
    return True


def _selects_into(select: pg.SelectStmt) -> bool:
    """INTO stands in the leftmost arm of set operations."""
    while select.op != pg.SETOP_NONE:
        select = select.larg
    return select.HasField("into_clause")


def _wrap(select: pg.SelectStmt) -> None:
    """Make `select` a subselect of itself. WITH moves outside: PostgreSQL takes data-changing CTEs only at the top."""
    inner = pg.SelectStmt()
    inner.CopyFrom(select)
    inner.ClearField("with_clause")

    outer = pg.SelectStmt(op=pg.SETOP_NONE)
    if select.HasField("with_clause"):
        outer.with_clause.CopyFrom(select.with_clause)
    star = pg.ColumnRef(fields=[pg.Node(a_star=pg.A_Star())])
    outer.target_list.append(pg.Node(res_target=pg.ResTarget(val=pg.Node(column_ref=star))))
    source = pg.RangeSubselect(subquery=pg.Node(select_stmt=inner), alias=pg.Alias(aliasname=WRAPPER))
    outer.from_clause.append(pg.Node(range_subselect=source))
    select.CopyFrom(outer)


def _lower_limit(count: pg.Node, limit: int) -> bool:
    """Make an existing LIMIT no larger than `limit`; False if it already is a smaller constant."""
    if count.WhichOneof("node") == "a_const":
        constant = count.a_const
        if constant.isnull:  # LIMIT ALL, LIMIT NULL
            count.CopyFrom(_constant(limit))
            return True
        number = _integer(constant)
        if number is not None and number <= limit:  # a negative one is PostgreSQL's to refuse
            return False
        if number is not None:
            count.CopyFrom(_constant(limit))
            return True
    if _is_lowered(count, limit):
        return False
    # The cast keeps the type that LIMIT gives to a parameter; without it LEAST would make $1 an int4.
    given = pg.TypeCast(arg=pg.Node(), type_name=_bigint())
    given.arg.CopyFrom(count)
    least = pg.MinMaxExpr(op=_LEAST, args=[pg.Node(type_cast=given), _constant(limit)])
    count.CopyFrom(pg.Node(min_max_expr=least))
    return True


def _is_lowered(count: pg.Node, limit: int) -> bool:
    """True for LEAST(…, n) with a small enough n: this rewrite's own work."""
    arguments = count.min_max_expr.args
    if count.WhichOneof("node") != "min_max_expr" or count.min_max_expr.op != _LEAST:
        return False
    numbers = [_integer(argument.a_const) for argument in arguments if argument.WhichOneof("node") == "a_const"]
    return any(number is not None and number <= limit for number in numbers)


def _integer(constant: pg.A_Const) -> int | None:
    """The whole number that a constant surely is; numbers beyond int4 come as text."""
    match constant.WhichOneof("val"):
        case "ival":
            return constant.ival.ival
        case "fval" if constant.fval.fval.isdecimal():
            return int(constant.fval.fval)
        case _:
            return None


def _constant(number: int) -> pg.Node:
    if number <= 2**31 - 1:
        return pg.Node(a_const=pg.A_Const(ival=pg.Integer(ival=number)))
    return pg.Node(a_const=pg.A_Const(fval=pg.Float(fval=str(number))))


def _bigint() -> pg.TypeName:
    names = [pg.Node(string=pg.String(sval=part)) for part in ("pg_catalog", "int8")]
    return pg.TypeName(names=names, typemod=-1)
