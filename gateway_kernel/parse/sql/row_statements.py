"""Statements that read or change rows, and statements about such statements: what each uses, by the tree alone."""

from collections.abc import Iterable

from postgast import pg_query_pb2 as pg

from gateway_kernel.model import Effect, EffectKind
from gateway_kernel.parse.sql.catalogue import qualified
from gateway_kernel.parse.sql.syntax import (
    Bound,
    Change,
    ColumnUse,
    Direct,
    Read,
    Scope,
    Touch,
    Use,
    Walk,
    relations_in,
    strings,
    varies,
)

READ, WRITE, DELETE, SCHEMA = EffectKind.READ, EffectKind.WRITE, EffectKind.DELETE, EffectKind.SCHEMA
EXECUTE, TRANSFER = EffectKind.EXECUTE, EffectKind.TRANSFER


def _filtered(where: pg.Node, present: bool) -> bool:
    """A WHERE that depends on nothing, such as WHERE true, filters nothing."""
    return present and varies(where)


def select(walk: Walk, node: pg.SelectStmt, scope: Scope) -> None:
    if node.HasField("with_clause"):
        scope = walk.extended(node.with_clause, scope)
    if node.locking_clause:
        sources = relations_in(node.from_clause, scope)
        for clause in node.locking_clause:
            names = {item.range_var.relname for item in clause.locking_clause.locked_rels}
            named = [source for source in sources if (source.alias.aliasname or source.relname) in names]
            for relation in named if names and len(named) >= len(names) else sources:
                walk.use(Change(relation.schemaname, relation.relname, "l"))
    walk.children(node, scope, without=("with_clause", "locking_clause"))


def into(walk: Walk, node: pg.IntoClause, scope: Scope) -> None:
    for kind in (SCHEMA, WRITE):
        walk.use(Touch(node.rel.schemaname, node.rel.relname, Effect(kind)))
    walk.children(node, scope, without=("rel", "col_names"))


def _target(walk: Walk, relation: pg.RangeVar, event: str, *, returning: bool = False) -> None:
    walk.named(relation)
    if returning:
        walk.use(Read(relation.schemaname, relation.relname))
    walk.use(Change(relation.schemaname, relation.relname, event))


def _columns(walk: Walk, relation: pg.RangeVar, targets: Iterable[pg.Node]) -> None:
    qualifier = relation.alias.aliasname or relation.relname
    for target in targets:
        walk.use(ColumnUse(qualifier, target.res_target.name))


def insert(walk: Walk, node: pg.InsertStmt, scope: Scope) -> None:
    if node.HasField("with_clause"):
        scope = walk.extended(node.with_clause, scope)
    _target(walk, node.relation, "i", returning=node.HasField("returning_clause"))
    _columns(walk, node.relation, node.cols)
    if not node.cols:
        walk.use(ColumnUse(node.relation.alias.aliasname or node.relation.relname, "*"))
    if node.HasField("on_conflict_clause"):
        conflict = node.on_conflict_clause
        if conflict.action == pg.ONCONFLICT_UPDATE:
            _target(walk, node.relation, "u")
            _columns(walk, node.relation, conflict.target_list)
        walk.aliases.setdefault("excluded", set()).add((node.relation.schemaname, node.relation.relname))
        walk.children(conflict, scope)
    walk.children(node, scope, without=("with_clause", "relation", "on_conflict_clause"))


def update(walk: Walk, node: pg.UpdateStmt, scope: Scope) -> None:
    if node.HasField("with_clause"):
        scope = walk.extended(node.with_clause, scope)
    _target(walk, node.relation, "u", returning=node.HasField("returning_clause"))
    _columns(walk, node.relation, node.target_list)
    walk.unfiltered |= not _filtered(node.where_clause, node.HasField("where_clause"))
    walk.children(node, scope, without=("with_clause", "relation"))


def delete(walk: Walk, node: pg.DeleteStmt, scope: Scope) -> None:
    if node.HasField("with_clause"):
        scope = walk.extended(node.with_clause, scope)
    _target(walk, node.relation, "d", returning=node.HasField("returning_clause"))
    walk.unfiltered |= not _filtered(node.where_clause, node.HasField("where_clause"))
    walk.children(node, scope, without=("with_clause", "relation"))


_MERGE_EVENTS = {pg.CMD_INSERT: "i", pg.CMD_UPDATE: "u", pg.CMD_DELETE: "d"}


def merge(walk: Walk, node: pg.MergeStmt, scope: Scope) -> None:
    if node.HasField("with_clause"):
        scope = walk.extended(node.with_clause, scope)
    walk.named(node.relation)
    walk.use(Read(node.relation.schemaname, node.relation.relname))
    for clause in node.merge_when_clauses:
        when = clause.merge_when_clause
        if when.command_type in _MERGE_EVENTS:
            _target(walk, node.relation, _MERGE_EVENTS[when.command_type])
        _columns(walk, node.relation, when.target_list)
        walk.children(when, scope)
    walk.children(node, scope, without=("with_clause", "relation", "merge_when_clauses"))


def truncate(walk: Walk, node: pg.TruncateStmt, scope: Scope) -> None:
    for item in node.relations:
        event = "x" if node.behavior == pg.DROP_CASCADE else "t"
        _target(walk, item.range_var, event)
    walk.unfiltered = True


def copy(walk: Walk, node: pg.CopyStmt, scope: Scope) -> None:
    relation = node.relation
    name = qualified(relation.schemaname, relation.relname) if node.HasField("relation") else ""
    if node.HasField("relation"):
        columns = strings(node.attlist) or ["*"]
        walk.named(relation)
        for column in columns:
            walk.use(ColumnUse(relation.relname, column))
        if node.is_from:
            walk.use(Change(relation.schemaname, relation.relname, "i"))
            walk.use(Touch(relation.schemaname, relation.relname, Effect(TRANSFER)))
        else:
            walk.use(Read(relation.schemaname, relation.relname))
            walk.use(Touch(relation.schemaname, relation.relname, Effect(TRANSFER)))
    else:
        walk.effect(Effect(TRANSFER, name))
    if node.is_program:
        walk.effect(Effect(EXECUTE, "program", via="COPY"))
    elif node.filename:
        walk.effect(Effect(EXECUTE, "server file", via="COPY"))
    walk.children(node, scope, without=("relation", "attlist"))


_SHARED_LOCK = 1  # AccessShareLock: what a SELECT takes


def lock(walk: Walk, node: pg.LockStmt, scope: Scope) -> None:
    for item in node.relations:
        relation = item.range_var
        kind = READ if node.mode == _SHARED_LOCK else WRITE
        walk.use(Touch(relation.schemaname, relation.relname, Effect(kind, via="lock")))


_ONLY_WHEN_RUN = frozenset((WRITE, DELETE, SCHEMA, TRANSFER))


def _analyses(options: Iterable[pg.Node]) -> bool:
    """True unless EXPLAIN certainly does not run its statement."""
    for option in options:
        element = option.def_elem
        if element.defname.lower() == "analyze":
            said = element.arg.WhichOneof("node")
            if said == "string" and element.arg.string.sval.lower() in ("false", "off", "0", "no"):
                continue
            if said == "integer" and element.arg.integer.ival == 0:
                continue
            if said == "boolean" and not element.arg.boolean.boolval:
                continue
            return True
    return False


def _planned(use: Use) -> Use:
    """What is left of a use when its statement is planned and not run: functions may still be, when constants are folded."""
    match use:
        case Change(schema, name):
            return Read(schema, name)
        case Touch(schema, name, effect) if effect.kind in _ONLY_WHEN_RUN:
            return Read(schema, name)
        case Direct(effect) if effect.kind in _ONLY_WHEN_RUN:
            return Direct(Effect(READ, effect.object))
        case _:
            return use


def explain(walk: Walk, node: pg.ExplainStmt, scope: Scope) -> None:
    if _analyses(node.options):
        walk.visit(node.query, scope)
        return
    inner = Walk(constants=walk.constants)
    inner.visit(node.query, scope)
    walk.aliases.update(inner.aliases)
    walk.derived |= inner.derived
    walk.unfiltered |= inner.unfiltered
    walk.verbs += inner.verbs
    for use in inner.uses:
        walk.use(_planned(use))
    if not walk.uses:
        walk.effect(Effect(READ))


def contents(walk: Walk, node: pg.PrepareStmt | pg.CreateTableAsStmt, scope: Scope) -> None:
    """What a statement about a query uses is what the query uses: it may be prepared if it may be run."""
    walk.children(node, scope)


def execute(walk: Walk, node: pg.ExecuteStmt, scope: Scope) -> None:
    walk.use(Bound(node.name))
    walk.children(node, scope)


def fetch(walk: Walk, node: pg.FetchStmt, scope: Scope) -> None:
    walk.use(Bound(node.portalname))


def cursor(walk: Walk, node: pg.DeclareCursorStmt, scope: Scope) -> None:
    walk.visit(node.query, scope)
