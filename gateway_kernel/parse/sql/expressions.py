"""What flows through SQL expressions: a bare reference keeps its column's taint, anything computed from it is refused or hidden whole.

This layer knows expressions only; `queries` adds FROM and SELECT, `changes` INSERT and its kin. An expression node that is not on the
list here is not traced: `UntraceableError`. In `owning` mode, inside views and generated columns, filters are their owner's choice and
nothing is refused; what is computed is hidden whole.
"""

from collections.abc import Iterable, Iterator
from typing import NoReturn

from google.protobuf.message import Message
from postgast import pg_query_pb2 as pg

from gateway_kernel.parse.sql.callables import is_opaque, is_own_code, opaque_function, opaque_operator, reads_content
from gateway_kernel.parse.sql.catalogue import Catalogue, Unanswered
from gateway_kernel.parse.sql.naming import output_name
from gateway_kernel.parse.sql.scope import Scope, strings
from gateway_kernel.parse.sql.taint import (
    Field,
    Fields,
    LeakError,
    Masks,
    Taint,
    UnresolvedError,
    UntraceableError,
    joined,
    whole_row,
)

SELECT_LIST = "the select list"
RETURNING = "RETURNING"
FROM = "a function in FROM"
WHERE = "WHERE"
_SEEN = frozenset({SELECT_LIST, RETURNING, FROM})
"""Places whose value can still be hidden, so that an opaque one need not be refused there."""

_LEAVES = frozenset(
    {
        "a_const",
        "param_ref",
        "sqlvalue_function",
        "set_to_default",
        "current_of_expr",
        "merge_support_func",
        "type_name",
    }
) | {"string", "integer", "float", "boolean", "bit_string"}

_COMPUTED = frozenset(
    {
        "a_array_expr", "a_expr", "a_indices", "bool_expr", "boolean_test", "case_expr", "case_when", "coalesce_expr",
        "collate_clause", "func_call", "grouping_func", "grouping_set", "json_agg_constructor", "json_argument",
        "json_array_agg", "json_array_constructor", "json_array_query_constructor", "json_behavior", "json_format",
        "json_func_expr", "json_is_predicate", "json_key_value", "json_object_agg", "json_object_constructor", "json_output",
        "json_parse_expr", "json_returning", "json_scalar_expr", "json_serialize_expr", "json_table_path_spec",
        "json_value_expr", "list", "min_max_expr", "multi_assign_ref", "named_arg_expr", "range_table_func_col", "res_target",
        "row_expr", "sort_by", "type_cast", "window_def", "xml_expr", "xml_serialize", "json_table_column", "index_elem",
    }
)  # fmt: skip

_NO_OPERATOR = frozenset({pg.AEXPR_BETWEEN, pg.AEXPR_BETWEEN_SYM, pg.AEXPR_NOT_BETWEEN, pg.AEXPR_NOT_BETWEEN_SYM})


class ExpressionTracer:
    """Traces one operation.

    `sensitive`: a masked relation is involved. `touched`: a masked column is used, by the text itself. `lost`: a name means nothing, so
    the statement fails upstream; the rest of it is traced all the same, in case it does not.
    """

    def __init__(self, catalogue: Catalogue, masks: Masks) -> None:
        self.catalogue = catalogue
        self.masks = masks
        self.owning = False
        self.sensitive = False
        self.touched: Taint | None = None
        self.lost = False

    def query(self, node: pg.Node, parent: Scope | None) -> Fields:
        """Return the columns of a query that stands inside an expression."""
        raise NotImplementedError

    def lose(self, name: str) -> Field:
        """Note that a name means nothing here, and go on. In an owner's definition, which the server has accepted, that is our gap."""
        if self.owning:
            raise UnresolvedError(name)
        self.lost = self.sensitive = True
        return Field(many=True)

    def forbid(self, taint: Taint | None, place: str) -> None:
        """Refuse a tainted value in a place where it tells its content, unless its mask lets it."""
        if taint is not None and not self.owning and taint.filter != "allow":
            _leak(taint, place)

    def touch(self, field: Field) -> Field:
        """Note that the text uses this column."""
        if field.taint is not None and not self.owning and not field.taint.opaque:
            self.touched = joined((self.touched, field.taint))
        return field

    def value(self, node: pg.Node, scope: Scope, place: str) -> Field:
        """Return what an expression is: a bare column, row or field keeps its taint as it is."""
        match node.WhichOneof("node"):
            case "column_ref":
                return self.touch(self._reference(node.column_ref, scope, place))
            case "a_indirection":
                return self.touch(self._selection(node.a_indirection, scope, place))
            case _:
                return Field(output_name(node), self._computed(node, scope, place))

    def operand(self, node: pg.Node, scope: Scope, place: str) -> Taint | None:
        """Return the taint of an expression that something else is computed from."""
        return self.value(node, scope, place).taint

    def condition(self, node: pg.Node, scope: Scope) -> None:
        """Trace a WHERE clause: equality with given values is allowed where the mask says so."""
        if node.WhichOneof("node") == "bool_expr":
            for argument in node.bool_expr.args:
                self.condition(argument, scope)
        elif node.WhichOneof("node") and not self._permitted_equality(node, scope):
            self.forbid(self.operand(node, scope, WHERE), WHERE)

    def check(self, nodes: Iterable[pg.Node], scope: Scope, place: str) -> None:
        """Trace expressions whose values never reach the client but steer what does."""
        for node in nodes:
            if node.WhichOneof("node"):
                self.forbid(self.operand(node, scope, place), place)

    def _through(self, taints: Iterable[Taint | None], place: str) -> Taint | None:
        """Return the taint of what is computed from these; refuse it where a mask does."""
        taint = joined(taints)
        if taint is None:
            return None
        if not (taint.opaque and place in _SEEN):
            self.forbid(taint, f"an expression in {place}")
        return taint.whole()

    # -- computed values

    def _computed(self, node: pg.Node, scope: Scope, place: str) -> Taint | None:
        kind = node.WhichOneof("node")
        match kind:
            case None:
                return None
            case "sub_link":
                return self._sublink(node.sub_link, scope, place)
            case "null_test" if node.null_test.arg.WhichOneof("node") in {"column_ref", "a_indirection"}:
                taint = self.value(node.null_test.arg, scope, place).taint
                return taint if taint is not None and taint.opaque else None
            case "null_test":
                return self._through([self.operand(node.null_test.arg, scope, place)], place)
            case _ if kind in _LEAVES:
                return None
            case _ if kind in _COMPUTED:
                taints = [self.operand(part, scope, place) for part in parts(getattr(node, kind))]
                return self._through([*taints, self._own(node)], place)
            case _:
                raise UntraceableError(f"an expression of kind {kind} is not known here")

    def _own(self, node: pg.Node) -> Taint | None:
        """Return what the function, operator or type itself may bring in."""
        match node.WhichOneof("node"):
            case "func_call":
                call = node.func_call
                ordered = len(call.agg_order) if call.agg_within_group else 0
                return self.called(strings(call.funcname), len(call.args) + ordered)
            case "a_expr" if node.a_expr.kind not in _NO_OPERATOR:
                return self._operator([part for part in strings(node.a_expr.name) if part])
            case "type_cast":
                return self._cast(strings(node.type_cast.type_name.names))
            case _:
                return None

    def called(self, names: list[str], arguments: int) -> Taint | None:
        """Return the taint of a function's result beyond that of its arguments."""
        schema, name = (names[-2], names[-1]) if len(names) > 1 else ("", names[-1])
        if reads_content(schema, name):
            self.sensitive = True
            taint = self.masks.content(f"what {name}() reads")
            self.forbid(taint, "a function that reads relations")
            return taint
        if opaque_function(self.catalogue, schema, name, arguments):
            return self.opaque(f"the result of {name}()")
        return None

    def opaque(self, what: str) -> Taint | None:
        """Return the taint of something that nobody has read, and that may hold any masked column."""
        self.sensitive = True
        return self.masks.content(what, opaque=True)

    def _operator(self, names: list[str]) -> Taint | None:
        schema, name = (names[-2], names[-1]) if len(names) > 1 else ("", names[-1] if names else "")
        if name and opaque_operator(self.catalogue, schema, name):
            return self.opaque(f"the result of operator {name}")
        return None

    def _cast(self, names: list[str]) -> Taint | None:
        if not names:
            return None
        answer = self.catalogue.type(names[-2] if len(names) > 1 else "", names[-1])
        if answer is None or isinstance(answer, Unanswered) or not is_own_code(answer.callables):
            return None
        return self.opaque(f"a cast to {answer.name}")

    def _sublink(self, link: pg.SubLink, scope: Scope, place: str) -> Taint | None:
        fields = self.query(link.subselect, scope)
        if link.sub_link_type == pg.EXISTS_SUBLINK:
            return None
        taints = [field.taint for field in fields]
        if link.HasField("testexpr"):
            taints.append(self.operand(link.testexpr, scope, place))
            taints.append(self._operator(strings(link.oper_name) or ["="]))
        return self._through(taints, f"{place}, from a subquery" if place not in _SEEN else place)

    def _permitted_equality(self, node: pg.Node, scope: Scope) -> bool:
        """True for `column = value` and `column IN (values)` where the column's mask says `filter: equality`."""
        expression = node.a_expr
        if expression.kind not in {pg.AEXPR_OP, pg.AEXPR_IN} or strings(expression.name) != ["="]:
            return False
        pairs = [(expression.lexpr, expression.rexpr)]
        if expression.kind == pg.AEXPR_OP:
            pairs.append((expression.rexpr, expression.lexpr))
        for column, given in pairs:
            if column.WhichOneof("node") in {"column_ref", "a_indirection"} and _is_given(given):
                taint = self.value(column, scope, WHERE).taint
                return taint is not None and taint.filter == "equality" and self._operator(["="]) is None
        return False

    # -- references

    def _reference(self, reference: pg.ColumnRef, scope: Scope, place: str) -> Field:
        names = strings(field for field in reference.fields if field.WhichOneof("node") == "string")
        if len(names) < len(reference.fields):  # f(t.*): the whole row
            return whole_row("", self.star(names, scope))
        if len(names) == 1:
            column = scope.column(names[0])
            if column is not None:
                return column
            item = scope.item(names[0])
            if item is not None:
                return item.row()
            return self.lose(names[0])
        item = scope.item(names[-2], names[-3] if len(names) > 2 else "")
        if item is None:
            return self.lose(names[-2])
        column = item.column(names[-1])
        return column if column is not None else self._called_on(item.row(), names[-1], place)

    def star(self, names: list[str], scope: Scope) -> Fields:
        """Return what `*` or `t.*` means."""
        if not names:
            return scope.star()
        item = scope.item(names[-1], names[-2] if len(names) > 1 else "")
        return (self.lose(names[-1]),) if item is None else item.fields

    def _called_on(self, row: Field, name: str, place: str) -> Field:
        """`t.name` and `(x).name` call the function `name` where there is no such column."""
        candidates = self.catalogue.candidates("function", "", name)
        if candidates == ():
            return self.lose(name)
        own = self.opaque(f"the result of {name}()") if is_opaque(candidates, 1) else None
        return Field(name, self._through([row.taint, own], place))

    def _selection(self, indirection: pg.A_Indirection, scope: Scope, place: str) -> Field:
        """Return `(x).field`, `x[i]` and chains of them."""
        current = self.value(indirection.arg, scope, place)
        for step in indirection.indirection:
            match step.WhichOneof("node"):
                case "string":
                    current = self._field(current, step.string.sval, place)
                case "a_star":
                    current = Field("", current.taint, row=current.row, many=True)
                case _:
                    taints = [current.taint, *(self.operand(part, scope, place) for part in parts(step.a_indices))]
                    current = Field(current.name, self._through(taints, place))
        return current

    def _field(self, value: Field, name: str, place: str) -> Field:
        if value.row is None:  # a composite of another type: the whole value's taint, and perhaps a function's
            known = self.catalogue.candidates("function", "", name)
            own = (
                self.opaque(f"the result of {name}()")
                if not isinstance(known, Unanswered) and is_opaque(known, 1)
                else None
            )
            return Field(name, self._through([value.taint, own], place))
        found = [field for field in value.row if field.name == name] or [field for field in value.row if not field.name]
        if not found:
            return self._called_on(value, name, place)
        return Field(name, joined(field.taint for field in found), row=found[0].row if len(found) == 1 else None)


def parts(message: Message) -> Iterator[pg.Node]:
    """Yield the nodes right below a message, whatever it wraps them in."""
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        for child in value if descriptor.is_repeated else (value,):
            if isinstance(child, pg.Node):
                yield child
            else:
                yield from parts(child)


def _is_given(node: pg.Node) -> bool:
    """True for a constant, a parameter, a cast of one, or a list of them."""
    match node.WhichOneof("node"):
        case "a_const" | "param_ref":
            return True
        case "type_cast":
            return _is_given(node.type_cast.arg)
        case "list":
            return all(_is_given(item) for item in node.list.items)
        case _:
            return False


def _leak(taint: Taint, place: str) -> NoReturn:
    columns = ", ".join(taint.columns)
    if taint.opaque:
        raise LeakError(
            taint.rule,
            f"{columns} may hold masked columns, and it stands in {place}, where it cannot be hidden. Leave it out, or move it to "
            f"the select list.",
        )
    raise LeakError(
        taint.rule,
        f"{columns} is masked, and it stands in {place}, which would tell its content. Select the column bare or leave it out; "
        f"the mask's owner can permit more with `filter: equality` or `filter: allow`.",
    )
