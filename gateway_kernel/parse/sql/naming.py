"""The name that PostgreSQL gives an output column which has none (parse_target.c, FigureColnameInternal)."""

from collections.abc import Iterable

from postgast import pg_query_pb2 as pg

UNNAMED = "?column?"

_FIXED = {
    "coalesce_expr": "coalesce",
    "a_array_expr": "array",
    "row_expr": "row",
    "grouping_func": "grouping",
    "merge_support_func": "merge_action",
}
_VARIES = ("json", "xml")  # their names differ between the server's versions


def output_name(node: pg.Node) -> str:
    """Return the name, "" where it is not sure."""
    return _figure(node)[0] or ("" if (node.WhichOneof("node") or "").startswith(_VARIES) else UNNAMED)


def _figure(node: pg.Node) -> tuple[str, int]:
    """Return the name and its strength: 2 is a good name, 1 a poor one, 0 none."""
    kind = node.WhichOneof("node") or ""
    match kind:
        case "column_ref":
            return _last(node.column_ref.fields), 2
        case "func_call":
            return _last(node.func_call.funcname), 2
        case "a_indirection":
            name = _last(node.a_indirection.indirection)
            return (name, 2) if name else _figure(node.a_indirection.arg)
        case "collate_clause":
            return _figure(node.collate_clause.arg)
        case "type_cast":
            name, strength = _figure(node.type_cast.arg)
            return (name, strength) if strength > 1 else (_last(node.type_cast.type_name.names), 1)
        case "case_expr":
            name, strength = _figure(node.case_expr.defresult)
            return (name, strength) if strength > 1 else ("case", 1)
        case "a_expr" if node.a_expr.kind == pg.AEXPR_NULLIF:
            return "nullif", 2
        case "min_max_expr":
            return ("greatest" if node.min_max_expr.op == pg.IS_GREATEST else "least"), 2
        case "sqlvalue_function":
            name = pg.SQLValueFunctionOp.Name(node.sqlvalue_function.op).removeprefix("SVFOP_").lower()
            return name.removesuffix("_n"), 2
        case "sub_link":
            return _sublink(node.sub_link)
        case _ if kind in _FIXED:
            return _FIXED[kind], 2
        case _:
            return "", 0


def _sublink(link: pg.SubLink) -> tuple[str, int]:
    match link.sub_link_type:
        case pg.EXISTS_SUBLINK:
            return "exists", 2
        case pg.ARRAY_SUBLINK:
            return "array", 2
        case pg.EXPR_SUBLINK:
            select = link.subselect.select_stmt
            while select.op != pg.SETOP_NONE:
                select = select.larg
            if select.values_lists:
                return "column1", 2
            if not select.target_list:
                return "", 0
            target = select.target_list[0].res_target
            return target.name or output_name(target.val), 2
        case _:
            return "", 0


def _last(nodes: Iterable[pg.Node]) -> str:
    """Return the last plain string in a list of nodes, "" if the list has none."""
    for node in reversed(list(nodes)):
        if node.WhichOneof("node") == "string":
            return node.string.sval
    return ""
