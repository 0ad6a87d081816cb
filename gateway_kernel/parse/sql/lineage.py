"""What column masks mean for a PostgreSQL operation: refused, or a strategy for each column that comes back.

Each statement of the text is traced from the relations it reads to the columns it returns (`queries`, `expressions`), through views,
WITH, set operations and joins. A masked column may come back bare, and is hidden there; where its content would flow anywhere else the
operation is refused, by the mask's rule, unless the mask's `filter` permits it. docs/masking-sql.md has the whole table.

The catalogue and the texts behind statement and cursor names travel in the context; nothing is asked here. What cannot be traced is
refused; where only the result is unknown, all of it is withheld. It masks nothing itself.
"""

import msgspec
from postgast import pg_query_pb2 as pg

from gateway_kernel.model import Json, Operation
from gateway_kernel.parse import NO_MASK, MaskPlan
from gateway_kernel.parse.sql.catalogue import Catalogue, Relation
from gateway_kernel.parse.sql.changes import relations_in
from gateway_kernel.parse.sql.definitions import DefinitionTracer, changes_meaning
from gateway_kernel.parse.sql.scope import Item, Scope, strings
from gateway_kernel.parse.sql.taint import Fields, LeakError, Masks, Taint, UntraceableError, joined
from gateway_kernel.parse.sql.tree import UnparsedError, parsed
from gateway_kernel.verdict import ColumnMask, Strategy

type Output = tuple[Strategy | None, ...] | None
"""The strategy of each column of one result; None: withhold all of it."""

REMEMBERED = 2048
"""Plans kept. Tracing takes a millisecond, and a driver sends the same text again and again."""

CLEAR: tuple[Strategy | None, ...] = (None,)
_SHOW_ALL = 3  # name, setting, description


def plan(operation: Operation, masks: tuple[ColumnMask, ...]) -> MaskPlan:
    """Return what `masks` mean for `operation`; `NO_MASK` if nothing masked is involved.

    `outputs` are in the order of the statements that return rows; a COPY TO STDOUT counts as one.
    """
    if not masks:
        return NO_MASK
    rule = masks[0].rule
    try:
        tree = parsed(operation.text)
        tracer = Tracer(Catalogue(operation.context.get("catalogue")), Masks(masks), operation.context)
        outputs = tracer.statements([raw.stmt for raw in tree.stmts])
    except LeakError as error:
        return MaskPlan(refusal=str(error), rule=error.rule, sensitive=True)
    except UntraceableError as error:
        return MaskPlan(
            refusal=f"Masked columns cannot be traced through this statement: {error}.", rule=rule, sensitive=True
        )
    except msgspec.ValidationError as error:
        return MaskPlan(refusal=f"A catalogue fact is malformed: {error}.", rule=rule, sensitive=True)
    except UnparsedError as error:
        return MaskPlan(refusal=str(error), rule=rule, sensitive=True)
    except RecursionError:
        return MaskPlan(
            refusal="The statement is nested too deeply to trace its masked columns.", rule=rule, sensitive=True
        )
    return MaskPlan(sensitive=True, outputs=tuple(outputs)) if tracer.sensitive else NO_MASK


class Plans:
    """Remembers what masks meant for a text in a context: parameters do not change it. Oldest forgotten first."""

    def __init__(self) -> None:
        self._plans: dict[tuple[str, str, tuple[ColumnMask, ...]], tuple[Json, MaskPlan]] = {}

    def plan(self, operation: Operation, masks: tuple[ColumnMask, ...]) -> MaskPlan:
        """Return what `plan` returns."""
        catalogue = operation.context.get("catalogue")
        key = (operation.text, str(operation.context.get("statement", "")), masks)
        known = self._plans.get(key)
        if known is not None and (known[0] is catalogue or known[0] == catalogue):
            return known[1]
        decided = plan(operation, masks)
        if len(self._plans) >= REMEMBERED:
            del self._plans[next(iter(self._plans))]
        self._plans[key] = (catalogue, decided)
        return decided


class Tracer(DefinitionTracer):
    """Traces the statements of one operation, in order."""

    def __init__(self, catalogue: Catalogue, masks: Masks, context: dict[str, Json]) -> None:
        super().__init__(catalogue, masks)
        self._names: dict[str, pg.Node] = {}
        self._statement = str(context.get("statement", ""))
        self._depth = 0

    def statements(self, nodes: list[pg.Node]) -> list[Output]:
        """Return the outputs of all statements; everything is withheld where results and statements cannot be aligned."""
        outputs: list[Output] = []
        moved = False
        for node in nodes:
            if moved and any(not self._is_builtin(name) for name in relations_in(node)):
                raise UntraceableError("a statement before it changes what names mean; send them one by one")
            answered = self.statement(node)
            outputs += [None for _ in answered] if self.lost else answered
            moved = moved or changes_meaning(node)
        if self.ruled:
            return [None] * max(len(nodes), 1)
        return outputs

    def _is_builtin(self, name: pg.RangeVar) -> bool:
        answer = self.catalogue.relation(name.schemaname, name.relname)
        return isinstance(answer, Relation) and answer.builtin

    def statement(self, node: pg.Node) -> list[Output]:
        """Return the outputs of one statement: one, or none where no rows come back."""
        match node.WhichOneof("node"):
            case "select_stmt":
                fields = self.select(node.select_stmt, None)
                return [] if _selects_into(node.select_stmt) else [_output(fields)]
            case "insert_stmt" | "update_stmt" | "delete_stmt" | "merge_stmt" as kind:
                fields = self.query(node, None)
                return [_output(fields)] if getattr(node, kind).returning_clause.exprs else []
            case "copy_stmt":
                return self._copy(node.copy_stmt)
            case "explain_stmt":
                return self._explain(node.explain_stmt)
            case "create_table_as_stmt":
                self._create_as(node.create_table_as_stmt.query)
                return []
            case "variable_show_stmt":
                return [CLEAR * _SHOW_ALL if node.variable_show_stmt.name == "all" else CLEAR]
            case "call_stmt":
                self.sensitive = True  # a procedure hands its OUT parameters back as a row
                self.check(node.call_stmt.funccall.args, Scope(), "the arguments of a procedure")
                return [None]
            case "declare_cursor_stmt" | "prepare_stmt" | "fetch_stmt" | "execute_stmt":
                return self._by_name(node)
            case _:
                self.definition(node)
                return []

    def _copy(self, copy: pg.CopyStmt) -> list[Output]:
        if copy.is_from:
            self._target(copy.relation, "insert_stmt")
            return []
        whole = copy.HasField("relation")
        fields = self._copied(copy.relation, strings(copy.attlist)) if whole else self.query(copy.query, None)
        if copy.filename or copy.is_program:
            self.written(fields, "COPY to a file")
            return []
        return [_output(fields)]

    def _copied(self, name: pg.RangeVar, names: list[str]) -> Fields:
        """COPY of a table leaves out generated columns unless it names columns, which it may then not be."""
        relation = self.relation(name)
        if relation is None:
            return (self.lose(name.relname),)
        fields = self.columns(relation)
        if names:
            item = Item(relation.name, fields, relation=relation)
            chosen = [item.column(name) for name in names]
            return tuple(self.lose(relation.name) if field is None else self.touch(field) for field in chosen)
        generated = {column.name for column in relation.columns if column.generated}
        return tuple(self.touch(field) for field in fields if field.name not in generated)

    def _explain(self, explain: pg.ExplainStmt) -> list[Output]:
        """Estimates and filters in a plan tell content [ran], so a statement that uses a masked column is not explained."""
        self.touched = None
        self.statement(explain.query)
        self.forbid(self.touched, "EXPLAIN")
        return [CLEAR]

    def _create_as(self, query: pg.Node) -> None:
        if query.WhichOneof("node") != "execute_stmt":
            self.written(self.query(query, None), "CREATE TABLE AS or a materialised view")
        elif any(strategies is None or any(strategies) for strategies in self.statement(query)):
            self.forbid(self._everything(), "the source of CREATE TABLE AS")

    def _everything(self) -> Taint | None:
        return joined((self.touched, self.masks.content("a masked column")))

    def _by_name(self, node: pg.Node) -> list[Output]:
        """Statements and cursors have texts behind their names, in this text or in the context."""
        match node.WhichOneof("node"):
            case "declare_cursor_stmt":
                self._names[node.declare_cursor_stmt.portalname] = node.declare_cursor_stmt.query
                self.statement(node.declare_cursor_stmt.query)
                return []
            case "prepare_stmt":
                self._names[node.prepare_stmt.name] = node.prepare_stmt.query
                self.statement(node.prepare_stmt.query)
                return []
            case "fetch_stmt":
                outputs = self._known(node.fetch_stmt.portalname)
                return [] if node.fetch_stmt.ismove else outputs
            case _:
                self.check(node.execute_stmt.params, Scope(), "a parameter")
                return self._known(node.execute_stmt.name)

    def _known(self, name: str) -> list[Output]:
        """Trace the text behind a name: made by this text, or told by the context, which speaks of one name only."""
        node = self._names.get(name) or _behind(self._statement)
        if node is None or self._depth:
            raise UntraceableError(f"the text behind the name {name} is not known")
        self._depth += 1
        try:
            return self.statement(node)
        finally:
            self._depth -= 1


def _behind(text: str) -> pg.Node | None:
    """Return the query that a name stands for; the server keeps the text with its DECLARE or PREPARE."""
    statements = parsed(text).stmts
    if len(statements) != 1:
        return None
    node = statements[0].stmt
    match node.WhichOneof("node"):
        case "declare_cursor_stmt":
            return node.declare_cursor_stmt.query
        case "prepare_stmt":
            return node.prepare_stmt.query
        case _:
            return node


def _output(fields: Fields) -> Output:
    if any(field.many for field in fields):
        return None
    return tuple(None if field.taint is None else field.taint.strategy for field in fields)


def _selects_into(select: pg.SelectStmt) -> bool:
    while select.op != pg.SETOP_NONE:
        select = select.larg
    return select.HasField("into_clause")
