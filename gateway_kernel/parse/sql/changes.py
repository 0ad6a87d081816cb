"""What flows through INSERT, UPDATE, DELETE and MERGE: given values may be written into masked columns, masked columns may not be copied.

The rows that RETURNING hands out are traced like a select list; `old` and `new` are PostgreSQL 18's. Rules of the target are text of
its owner that runs instead of, or beside, the statement: where one involves a masked relation the statement is refused.
"""

from collections.abc import Iterable

from google.protobuf.message import Message
from postgast import pg_query_pb2 as pg

from gateway_kernel.parse.sql.catalogue import Relation, parse_name
from gateway_kernel.parse.sql.expressions import RETURNING, parts
from gateway_kernel.parse.sql.queries import QueryTracer
from gateway_kernel.parse.sql.scope import Item, Scope
from gateway_kernel.parse.sql.taint import (
    Field,
    Fields,
    Taint,
    UntraceableError,
    joined,
)
from gateway_kernel.parse.sql.tree import UnparsedError, parsed

_EVENTS = {"insert_stmt": "i", "update_stmt": "u", "delete_stmt": "d", "merge_stmt": ""}
"""The rules that a statement fires; tables with rules take neither MERGE nor ON CONFLICT."""


class ChangeTracer(QueryTracer):
    """Traces statements that write. `ruled` is true once a rule of the target may have changed what comes back."""

    ruled = False

    def query(self, node: pg.Node, parent: Scope | None) -> Fields:
        """Return the columns of a query, or of what RETURNING gives back."""
        match node.WhichOneof("node"):
            case "insert_stmt":
                return self._insert(node.insert_stmt, parent)
            case "update_stmt":
                return self._update(node.update_stmt, parent)
            case "delete_stmt":
                return self._delete(node.delete_stmt, parent)
            case "merge_stmt":
                return self._merge(node.merge_stmt, parent)
            case _:
                return super().query(node, parent)

    def _target(self, name: pg.RangeVar, kind: str) -> Item:
        """Return the relation that is written. A name in WITH is never meant here."""
        item = self.named_item(name, None)
        if item.relation is not None:
            self._note(item.relation, _EVENTS[kind])
        return item

    def _note(self, relation: Relation, event: str) -> None:
        """Look at what else the server does when it writes here: its errors and rules may speak of masked columns."""
        linked = (*relation.foreign, *(f"{link.schema}.{link.table}" for link in relation.references))
        if relation.triggers or any(self.masks.touches(*parse_name(label)) for label in linked):
            self.sensitive = True
        for rule in relation.rules:
            if rule.event == event:
                self.ruled = True
                taint = self.involved(parsed_rule(rule.text))
                self.forbid(taint, f"rule {rule.name} of {relation.name}")

    def involved(self, tree: Message) -> Taint | None:
        """Return what is masked in any relation that is named anywhere below `tree`."""
        taints: list[Taint | None] = []
        for name in relations_in(tree):
            relation = self.relation(name)
            if relation is not None:  # else a WITH query, or old and new of a rule
                taints += [field.taint for field in self.columns(relation)]
        return joined(taints)

    def _insert(self, insert: pg.InsertStmt, parent: Scope | None) -> Fields:
        scope = Scope(parent)
        self.define(insert.with_clause, scope)
        target = self._target(insert.relation, "insert_stmt")
        self._assign(insert.cols, scope)
        if insert.HasField("select_stmt"):
            self.written(self.query(insert.select_stmt, scope), "INSERT")
        if insert.HasField("on_conflict_clause"):
            self._conflict(insert.on_conflict_clause, scope, target)
        return self._returning(insert.returning_clause, scope.beside([target]), target)

    def _conflict(self, clause: pg.OnConflictClause, scope: Scope, target: Item) -> None:
        """`excluded` is the row that the agent itself proposed, so it carries nothing."""
        own = scope.beside([target])
        for element in clause.infer.index_elems:
            column = own.column(element.index_elem.name) if element.index_elem.name else None
            taint = None if column is None else column.taint
            if taint is None or taint.filter != "equality":  # whether a given value is there: an equality
                self.forbid(taint, "ON CONFLICT")
            self.check((element.index_elem.expr,), own, "ON CONFLICT")
        self.check((clause.infer.where_clause,), own, "ON CONFLICT")
        proposed = Item("excluded", tuple(Field(field.name) for field in target.fields), columns_visible=False)
        both = scope.beside([target, proposed])
        self._assign(clause.target_list, both)
        self.condition(clause.where_clause, both)

    def _update(self, update: pg.UpdateStmt, parent: Scope | None) -> Fields:
        scope = Scope(parent)
        self.define(update.with_clause, scope)
        target = self._target(update.relation, "update_stmt")
        self.bring(update.from_clause, scope)
        scope.items = [target, *scope.items]
        self._assign(update.target_list, scope)
        self.condition(update.where_clause, scope)
        return self._returning(update.returning_clause, scope, target)

    def _assign(self, targets: Iterable[pg.Node], scope: Scope) -> None:
        values = [target.res_target.val for target in targets]
        indexes = [
            part for target in targets for step in target.res_target.indirection for part in parts(step.a_indices)
        ]
        self.check((*values, *indexes), scope, "the source of a write")

    def _delete(self, delete: pg.DeleteStmt, parent: Scope | None) -> Fields:
        scope = Scope(parent)
        self.define(delete.with_clause, scope)
        target = self._target(delete.relation, "delete_stmt")
        self.bring(delete.using_clause, scope)
        scope.items = [target, *scope.items]
        self.condition(delete.where_clause, scope)
        return self._returning(delete.returning_clause, scope, target)

    def _merge(self, merge: pg.MergeStmt, parent: Scope | None) -> Fields:
        scope = Scope(parent)
        self.define(merge.with_clause, scope)
        target = self._target(merge.relation, "merge_stmt")
        self.bring([merge.source_relation], scope)
        scope.items = [*scope.items, target]  # RETURNING * gives the source first
        self.check((merge.join_condition,), scope, "MERGE ON")
        for node in merge.merge_when_clauses:
            clause = node.merge_when_clause
            self.check((clause.condition,), scope, "MERGE WHEN")
            self._assign(clause.target_list, scope)
            self.check(clause.values, scope, "the source of a write")
        return self._returning(merge.returning_clause, scope, target)

    def _returning(self, clause: pg.ReturningClause, scope: Scope, target: Item) -> Fields:
        names = {"old": "old", "new": "new"}
        for option in clause.options:
            version = "old" if option.returning_option.option == pg.RETURNING_OPTION_OLD else "new"
            names[version] = option.returning_option.value
        versions = [
            Item(name, target.fields, relation=target.relation, aliased=True, columns_visible=False)
            for name in names.values()
            if all(item.name != name for item in scope.items)
        ]
        return self.targets(clause.exprs, scope.beside([*scope.items, *versions]), RETURNING)


def relations_in(tree: Message) -> list[pg.RangeVar]:
    """Return every relation name anywhere below `tree`."""
    names: list[pg.RangeVar] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, pg.RangeVar):
            names.append(node)
        for descriptor, value in node.ListFields():
            if descriptor.message_type is not None:
                waiting.extend(value if descriptor.is_repeated else (value,))
    return names


def parsed_rule(text: str) -> Message:
    """Return the tree of a rule. One that cannot be parsed cannot be traced."""
    try:
        return parsed(text.rstrip("; \n"))
    except UnparsedError as error:
        raise UntraceableError(f"a rule cannot be parsed: {error}") from error
