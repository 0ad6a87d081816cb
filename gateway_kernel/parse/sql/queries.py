"""What flows through queries: the select list, FROM, joins, subqueries, WITH and set operations.

The order of output columns is PostgreSQL's own (parse_target.c, parse_clause.c). `relations` says what a relation brings; `changes` adds
the statements that write.
"""

from collections.abc import Iterable, Iterator

from postgast import pg_query_pb2 as pg

from gateway_kernel.parse.sql.expressions import FROM, SELECT_LIST, parts
from gateway_kernel.parse.sql.naming import output_name
from gateway_kernel.parse.sql.relations import RelationTracer
from gateway_kernel.parse.sql.scope import Cte, Item, Scope, join, strings
from gateway_kernel.parse.sql.taint import (
    Field,
    Fields,
    Taint,
    UntraceableError,
    joined,
    merged,
    renamed,
)

ROUNDS = 32
"""Passes after which a recursive query must have settled; each adds at least one column's taint."""

_ONE_COLUMN = frozenset(
    {
        "generate_series", "generate_subscripts", "regexp_split_to_table", "string_to_table", "json_object_keys",
        "jsonb_object_keys", "now", "current_setting", "version", "pg_backend_pid", "current_schemas", "to_json", "to_jsonb",
        "row_to_json", "upper", "lower", "length", "count", "concat", "format", "md5", "abs",
    }
)  # fmt: skip
"""Built-in functions whose result in FROM is one column named after them."""

_COLUMNS = {
    "json_each": ("key", "value"),
    "jsonb_each": ("key", "value"),
    "json_each_text": ("key", "value"),
    "jsonb_each_text": ("key", "value"),
    "json_array_elements": ("value",),
    "jsonb_array_elements": ("value",),
    "json_array_elements_text": ("value",),
    "jsonb_array_elements_text": ("value",),
    "aclexplode": ("grantor", "grantee", "privilege_type", "is_grantable"),
    "pg_get_keywords": ("word", "catcode", "barelabel", "catdesc", "baredesc"),
}


class QueryTracer(RelationTracer):
    """Traces queries of one operation."""

    def query(self, node: pg.Node, parent: Scope | None) -> Fields:
        """Return the columns of a query, in order."""
        kind = node.WhichOneof("node")
        if kind != "select_stmt":
            raise UntraceableError(f"a query of kind {kind} is not known here")
        return self.select(node.select_stmt, parent)

    def select(self, select: pg.SelectStmt, parent: Scope | None) -> Fields:
        """Return the columns of SELECT, VALUES or a set operation."""
        scope = Scope(parent)
        self.define(select.with_clause, scope)
        if select.op != pg.SETOP_NONE:
            fields = self._combined(select, scope)
        elif select.values_lists:
            fields = self._values(select, scope)
        else:
            fields = self._plain(select, scope)
        for key in select.sort_clause:
            self._key(key.sort_by.node, fields, scope, "ORDER BY")
        self.check((select.limit_count, select.limit_offset), scope, "LIMIT")
        return fields

    def _plain(self, select: pg.SelectStmt, scope: Scope) -> Fields:
        self.bring(select.from_clause, scope)
        self.condition(select.where_clause, scope)
        fields = self.targets(select.target_list, scope, SELECT_LIST)
        for key in select.group_clause:
            self._group_key(key, fields, scope)
        self.check((select.having_clause,), scope, "HAVING")
        self.check(_parts_of(select.window_clause), scope, "WINDOW")
        for key in select.distinct_clause:
            if key.WhichOneof("node") is None:
                self.forbid(joined(field.taint for field in fields), "DISTINCT")
            else:
                self._key(key, fields, scope, "DISTINCT ON")
        if select.HasField("into_clause"):
            self.written(fields, "SELECT INTO")
        return fields

    def written(self, fields: Fields, what: str) -> None:
        """Refuse to copy masked columns anywhere: the copy would not be masked."""
        self.forbid(joined(field.taint for field in fields), f"the source of {what}")

    def _values(self, select: pg.SelectStmt, scope: Scope) -> Fields:
        rows = [self.targets(row.list.items, scope, SELECT_LIST) for row in select.values_lists]
        width = max(len(row) for row in rows)
        columns = [[row[position] for row in rows if position < len(row)] for position in range(width)]
        return tuple(merged(f"column{position + 1}", column) for position, column in enumerate(columns))

    def _combined(self, select: pg.SelectStmt, scope: Scope) -> Fields:
        left, right = self.select(select.larg, scope), self.select(select.rarg, scope)
        if select.op != pg.SETOP_UNION or not select.all:
            name = pg.SetOperation.Name(select.op).removeprefix("SETOP_")
            self.forbid(joined(field.taint for field in (*left, *right)), name)
        if len(left) != len(right) and not any(field.many for field in (*left, *right)):
            left = (*left, self.lose("a set operation of arms that differ in width"))
        return _zipped(left, right)

    def _key(self, node: pg.Node, fields: Fields, scope: Scope, place: str) -> None:
        """Trace a sort key: a position, else an output name, else an expression over the input."""
        if node.WhichOneof("node") == "a_const" and node.a_const.WhichOneof("val") == "ival":
            self.forbid(_at(fields, node.a_const.ival.ival), place)
            return
        name = _single_name(node)
        chosen = [field for field in fields if name and field.name == name]
        if chosen:
            self.forbid(joined(field.taint for field in chosen), place)
        else:
            self.check((node,), scope, place)

    def _group_key(self, node: pg.Node, fields: Fields, scope: Scope) -> None:
        """Trace a GROUP BY key: an input column of this level comes before an output name."""
        if node.WhichOneof("node") == "grouping_set":
            for part in node.grouping_set.content:
                self._group_key(part, fields, scope)
            return
        name = _single_name(node)
        if name and Scope(None, scope.items).column(name) is not None:
            self.check((node,), scope, "GROUP BY")
        else:
            self._key(node, fields, scope, "GROUP BY")

    # -- the select list

    def targets(self, nodes: Iterable[pg.Node], scope: Scope, place: str) -> Fields:
        """Return the columns of a select list, a RETURNING list or a row of VALUES, stars expanded."""
        fields: list[Field] = []
        for node in nodes:
            target = node.res_target if node.WhichOneof("node") == "res_target" else None
            value = node if target is None else target.val
            expanded = self._expanded(value, scope, place)
            if expanded is not None:
                fields += [self.touch(field) for field in expanded]
                continue
            field = self.value(value, scope, place)
            fields.append(field.named((target.name if target is not None else "") or output_name(value)))
        return tuple(fields)

    def _expanded(self, node: pg.Node, scope: Scope, place: str) -> Fields | None:
        """Return the columns of `*`, `t.*` or `(x).*`; None if the node is no star."""
        if node.WhichOneof("node") == "column_ref":
            last = node.column_ref.fields[-1]
            if last.WhichOneof("node") != "a_star":
                return None
            return self.star(strings(node.column_ref.fields[:-1]), scope)
        if (
            node.WhichOneof("node") == "a_indirection"
            and node.a_indirection.indirection[-1].WhichOneof("node") == "a_star"
        ):
            field = self.value(node, scope, place)
            return field.row if field.row is not None else (field,)
        return None

    # -- FROM

    def bring(self, nodes: Iterable[pg.Node], scope: Scope) -> None:
        """Add what a FROM clause names to `scope`, each item seeing those before it where it is LATERAL."""
        for node in nodes:
            scope.items = [*scope.items, *self._item(node, scope, scope.items)]

    def _item(self, node: pg.Node, scope: Scope, siblings: list[Item]) -> list[Item]:
        match node.WhichOneof("node"):
            case "range_var":
                return [self.named_item(node.range_var, scope)]
            case "range_subselect":
                return [self._subselect(node.range_subselect, scope, siblings)]
            case "join_expr":
                return self._join(node.join_expr, scope, siblings)
            case "range_function":
                return [self._function(node.range_function, scope.beside(siblings))]
            case "range_table_sample":
                sample = node.range_table_sample
                self.check((*sample.args, sample.repeatable), scope.beside(siblings), "TABLESAMPLE")
                return self._item(sample.relation, scope, siblings)
            case "range_table_func":
                table = node.range_table_func
                names = [column.range_table_func_col.colname for column in table.columns]
                return [self._document(table, names, scope.beside(siblings))]
            case "json_table":
                names = _json_columns(node.json_table.columns)
                return [self._document(node.json_table, names, scope.beside(siblings))]
            case kind:
                raise UntraceableError(f"a FROM item of kind {kind} is not known here")

    def named_item(self, name: pg.RangeVar, scope: Scope | None) -> Item:
        """Return what a relation's name brings: a WITH query where there is one, else the relation."""
        aliased = name.HasField("alias")
        alias = name.alias.aliasname if aliased else name.relname
        cte = scope.cte(name.relname) if scope is not None and not name.schemaname else None
        if cte is not None:
            return Item(alias, renamed(self._cte_fields(cte), strings(name.alias.colnames)), aliased=aliased)
        relation = self.relation(name)
        fields = self.columns(relation) if relation is not None else (self.lose(name.relname),)
        return Item(alias, renamed(fields, strings(name.alias.colnames)), relation=relation, aliased=aliased)

    def _subselect(self, source: pg.RangeSubselect, scope: Scope, siblings: list[Item]) -> Item:
        fields = self.query(source.subquery, scope.beside(siblings if source.lateral else []))
        named = source.HasField("alias")
        return Item(source.alias.aliasname, renamed(fields, strings(source.alias.colnames)), name_visible=named)

    def _join(self, node: pg.JoinExpr, scope: Scope, siblings: list[Item]) -> list[Item]:
        left = self._item(node.larg, scope, siblings)
        right = self._item(node.rarg, scope, [*siblings, *left])
        self.check((node.quals,), scope.beside([*left, *right]), "JOIN ON")
        items, compared = join(node, left, right)
        self.forbid(compared, "NATURAL JOIN" if node.is_natural else "JOIN USING")
        return items

    def _function(self, source: pg.RangeFunction, scope: Scope) -> Item:
        alias = source.alias.aliasname
        fields: list[Field] = []
        for entry in source.functions:
            call, *definitions = entry.list.items
            taint = self.operand(call, scope, FROM)
            own = [item for definition in definitions for item in definition.list.items]
            columns = [item.column_def.colname for item in (own or source.coldeflist)]
            fields += _function_columns(call, alias if len(source.functions) == 1 else "", columns, taint)
        if source.ordinality:
            fields.append(Field("ordinality"))
        name = alias or output_name(source.functions[0].list.items[0])
        return Item(name, renamed(tuple(fields), strings(source.alias.colnames)))

    def _document(self, source: pg.RangeTableFunc | pg.JsonTable, names: list[str], scope: Scope) -> Item:
        """XMLTABLE and JSON_TABLE: each column may hold any part of the document."""
        taint = joined([self.operand(part, scope, FROM) for part in parts(source)])
        fields = tuple(Field(name, taint) for name in names)
        alias = source.alias.aliasname or ("xmltable" if isinstance(source, pg.RangeTableFunc) else "json_table")
        return Item(alias, renamed(fields, strings(source.alias.colnames)))

    # -- WITH

    def define(self, clause: pg.WithClause, scope: Scope) -> None:
        """Add the WITH queries to `scope` and trace each, used or not."""
        for node in clause.ctes:
            definition = node.common_table_expr
            seen = Scope(scope.parent, [], scope.ctes if clause.recursive else dict(scope.ctes))
            scope.ctes[definition.ctename] = Cte(definition.ctename, definition.ctequery, definition, seen)
        for node in clause.ctes:
            self._cte_fields(scope.ctes[node.common_table_expr.ctename])

    def _cte_fields(self, cte: Cte) -> Fields:
        if cte.fields is not None:
            return cte.fields
        if cte.busy:
            raise UntraceableError(f"WITH query {cte.name} refers to itself in a way that is not known here")
        cte.busy = True
        names = strings(cte.definition.aliascolnames)
        select = cte.query.select_stmt
        if cte.name in cte.scope.ctes and select.op != pg.SETOP_NONE:
            seed = pg.SelectStmt()
            seed.CopyFrom(select.larg)
            if select.HasField("with_clause") and not seed.HasField("with_clause"):
                seed.with_clause.CopyFrom(select.with_clause)
            cte.fields = renamed(self.select(seed, cte.scope), names)
        for _ in range(ROUNDS):
            fields = renamed(self.query(cte.query, cte.scope), names)
            settled, cte.fields = fields == cte.fields or cte.fields is None, fields
            if settled:
                cte.fields = (*fields, *self._marks(cte.definition, fields))
                return cte.fields
        raise UntraceableError(f"WITH query {cte.name} did not settle")

    def _marks(self, definition: pg.CommonTableExpr, fields: Fields) -> list[Field]:
        """Return the columns that SEARCH and CYCLE add."""
        search, cycle = definition.search_clause, definition.cycle_clause
        for names, place in ((strings(search.search_col_list), "SEARCH"), (strings(cycle.cycle_col_list), "CYCLE")):
            if names:
                self.forbid(joined(field.taint for field in fields if field.name in names or not field.name), place)
        added = (search.search_seq_column, cycle.cycle_mark_column, cycle.cycle_path_column)
        compared = joined(field.taint for field in fields)  # a path holds the compared columns
        return [Field(name, None if compared is None else compared.whole()) for name in added if name]


def _parts_of(nodes: Iterable[pg.Node]) -> Iterator[pg.Node]:
    for node in nodes:
        yield from parts(node.window_def)


def _at(fields: Fields, position: int) -> Taint | None:
    """Return the taint of the column at a position, counted from 1; of all of them where stars of unknown width stand before it."""
    if any(field.many for field in fields[:position]):
        return joined(field.taint for field in fields)
    return fields[position - 1].taint if 0 < position <= len(fields) else None


def _single_name(node: pg.Node) -> str:
    """Return the name if the node is one unqualified name, else ""."""
    if node.WhichOneof("node") != "column_ref" or len(node.column_ref.fields) != 1:
        return ""
    return node.column_ref.fields[0].string.sval


def _zipped(left: Fields, right: Fields) -> Fields:
    """Return the columns of a set operation: the names of the left arm, the taint of both."""
    if any(field.many for field in (*left, *right)):
        return (Field("", joined(field.taint for field in (*left, *right)), many=True),)
    pairs = zip(left, right, strict=True)
    return tuple(Field(one.name, joined((one.taint, two.taint)), row=_zipped_rows(one, two)) for one, two in pairs)


def _zipped_rows(one: Field, two: Field) -> Fields | None:
    if one.row is None or two.row is None or len(one.row) != len(two.row):
        return None
    return _zipped(one.row, two.row)


def _function_columns(call: pg.Node, alias: str, columns: list[str], taint: Taint | None) -> Fields:
    """Return the columns of a function in FROM; one `many` field where only the server knows them."""
    if columns:
        return tuple(Field(name, taint) for name in columns)
    name = output_name(call)
    if call.WhichOneof("node") != "func_call":
        return (Field(alias or name, taint),)
    if taint is None or not taint.opaque:
        if name in _COLUMNS:
            return tuple(Field(column, taint) for column in _COLUMNS[name])
        if name in _ONE_COLUMN:
            return (Field(alias or name, taint),)
    return (Field("", taint, many=True),)


def _json_columns(nodes: Iterable[pg.Node]) -> list[str]:
    names: list[str] = []
    for node in nodes:
        column = node.json_table_column
        names += _json_columns(column.columns) if column.coltype == pg.JTC_NESTED else [column.name]
    return names
