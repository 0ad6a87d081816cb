"""Every statement of PostgreSQL's grammar, and what it does: one table, statement node -> (verb, handler).

A handler reads the tree alone and adds uses to the walk (`syntax`); what the names in them stand for is found out by `effects`. A statement
that is not in the table is unknown and so refused; a test holds the table against the grammar. docs/postgres-effects.md is
this table in words.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from postgast import pg_query_pb2 as pg

from gateway_kernel.model import Effect, EffectKind
from gateway_kernel.parse.sql.catalogue import qualified
from gateway_kernel.parse.sql.syntax import (
    HANDLERS,
    Bound,
    Change,
    ColumnUse,
    Definition,
    Direct,
    Handler,
    Read,
    Scope,
    Touch,
    Use,
    Walk,
    last_two,
    relations_in,
    strings,
    varies,
)

READ, WRITE, DELETE = EffectKind.READ, EffectKind.WRITE, EffectKind.DELETE
SCHEMA, PRIVILEGE, EXECUTE = EffectKind.SCHEMA, EffectKind.PRIVILEGE, EffectKind.EXECUTE
SESSION, TRANSFER, TRANSACTION = EffectKind.SESSION, EffectKind.TRANSFER, EffectKind.TRANSACTION


def _filtered(where: pg.Node, present: bool) -> bool:
    """A WHERE that depends on nothing, such as WHERE true, filters nothing."""
    return present and varies(where)


# --- queries and changes of rows ---------------------------------------------------------------------------------------------------


def _select(walk: Walk, node: pg.SelectStmt, scope: Scope) -> None:
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


def _into(walk: Walk, node: pg.IntoClause, scope: Scope) -> None:
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


def _insert(walk: Walk, node: pg.InsertStmt, scope: Scope) -> None:
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
    walk.children(node, scope, without=("with_clause", "relation", "cols", "on_conflict_clause"))


def _update(walk: Walk, node: pg.UpdateStmt, scope: Scope) -> None:
    if node.HasField("with_clause"):
        scope = walk.extended(node.with_clause, scope)
    _target(walk, node.relation, "u", returning=node.HasField("returning_clause"))
    _columns(walk, node.relation, node.target_list)
    walk.unfiltered |= not _filtered(node.where_clause, node.HasField("where_clause"))
    walk.children(node, scope, without=("with_clause", "relation"))


def _delete(walk: Walk, node: pg.DeleteStmt, scope: Scope) -> None:
    if node.HasField("with_clause"):
        scope = walk.extended(node.with_clause, scope)
    _target(walk, node.relation, "d", returning=node.HasField("returning_clause"))
    walk.unfiltered |= not _filtered(node.where_clause, node.HasField("where_clause"))
    walk.children(node, scope, without=("with_clause", "relation"))


_MERGE_EVENTS = {pg.CMD_INSERT: "i", pg.CMD_UPDATE: "u", pg.CMD_DELETE: "d"}


def _merge(walk: Walk, node: pg.MergeStmt, scope: Scope) -> None:
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


def _truncate(walk: Walk, node: pg.TruncateStmt, scope: Scope) -> None:
    for item in node.relations:
        event = "x" if node.behavior == pg.DROP_CASCADE else "t"
        _target(walk, item.range_var, event)
    walk.unfiltered = True


def _copy(walk: Walk, node: pg.CopyStmt, scope: Scope) -> None:
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


def _lock(walk: Walk, node: pg.LockStmt, scope: Scope) -> None:
    for item in node.relations:
        relation = item.range_var
        kind = READ if node.mode == _SHARED_LOCK else WRITE
        walk.use(Touch(relation.schemaname, relation.relname, Effect(kind, via="lock")))


# --- statements about statements ---------------------------------------------------------------------------------------------------

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


def _explain(walk: Walk, node: pg.ExplainStmt, scope: Scope) -> None:
    if _analyses(node.options):
        walk.visit(node.query, scope)
        return
    inner = Walk(constants=walk.constants)
    inner.visit(node.query, scope)
    walk.aliases.update(inner.aliases)
    walk.derived |= inner.derived
    walk.verbs += inner.verbs
    for use in inner.uses:
        walk.use(_planned(use))
    if not walk.uses:
        walk.effect(Effect(READ))


def _prepare(walk: Walk, node: pg.PrepareStmt, scope: Scope) -> None:
    walk.children(node, scope)


def _execute(walk: Walk, node: pg.ExecuteStmt, scope: Scope) -> None:
    walk.use(Bound(node.name))
    walk.children(node, scope)


def _fetch(walk: Walk, node: pg.FetchStmt, scope: Scope) -> None:
    walk.use(Bound(node.portalname))


def _table_as(walk: Walk, node: pg.CreateTableAsStmt, scope: Scope) -> None:
    walk.children(node, scope)


def _cursor(walk: Walk, node: pg.DeclareCursorStmt, scope: Scope) -> None:
    walk.visit(node.query, scope)


# --- the session -------------------------------------------------------------------------------------------------------------------


def _set(walk: Walk, node: pg.VariableSetStmt, scope: Scope) -> None:
    name = node.name.lower()
    match node.kind:
        case pg.VAR_RESET_ALL:
            walk.effect(Effect(SESSION, "reset:all"))
        case pg.VAR_SET_MULTI if name == "transaction":
            walk.effect(Effect(TRANSACTION, "set transaction"))
        case pg.VAR_SET_MULTI:
            walk.effect(Effect(SESSION, "set:" + name.replace(" ", "_")))
        case pg.VAR_RESET | pg.VAR_SET_DEFAULT | pg.VAR_SET_CURRENT | pg.VAR_SET_VALUE:
            transaction = name in ("transaction_isolation", "transaction_deferrable")
            walk.effect(Effect(TRANSACTION if transaction else SESSION, "set:" + name))
        case _:
            walk.effect(Effect(SESSION, "set:?"))


def _show(walk: Walk, node: pg.VariableShowStmt, scope: Scope) -> None:
    walk.effect(Effect(READ, "setting:" + node.name.lower()))


_DISCARDED = {
    pg.DISCARD_ALL: "all",
    pg.DISCARD_PLANS: "plans",
    pg.DISCARD_SEQUENCES: "sequences",
    pg.DISCARD_TEMP: "temp",
}


def _discard(walk: Walk, node: pg.DiscardStmt, scope: Scope) -> None:
    walk.effect(Effect(SESSION, "discard:" + _DISCARDED.get(node.target, "?")))


def _notify(walk: Walk, node: pg.NotifyStmt, scope: Scope) -> None:
    walk.effect(Effect(WRITE, "channel:" + node.conditionname))


def _listen(walk: Walk, node: pg.ListenStmt, scope: Scope) -> None:
    walk.effect(Effect(SESSION, "listen:" + node.conditionname))


def _unlisten(walk: Walk, node: pg.UnlistenStmt, scope: Scope) -> None:
    walk.effect(Effect(SESSION, "unlisten:" + (node.conditionname or "*")))


_TRANSACTIONS = {
    pg.TRANS_STMT_BEGIN: "BEGIN",
    pg.TRANS_STMT_START: "BEGIN",
    pg.TRANS_STMT_COMMIT: "COMMIT",
    pg.TRANS_STMT_ROLLBACK: "ROLLBACK",
    pg.TRANS_STMT_SAVEPOINT: "SAVEPOINT",
    pg.TRANS_STMT_RELEASE: "RELEASE",
    pg.TRANS_STMT_ROLLBACK_TO: "ROLLBACK TO",
    pg.TRANS_STMT_PREPARE: "PREPARE TRANSACTION",
    pg.TRANS_STMT_COMMIT_PREPARED: "COMMIT PREPARED",
    pg.TRANS_STMT_ROLLBACK_PREPARED: "ROLLBACK PREPARED",
}


def _transaction(walk: Walk, node: pg.TransactionStmt, scope: Scope) -> None:
    verb = _TRANSACTIONS.get(node.kind, "TRANSACTION")
    walk.verbs[-1] = verb
    if node.gid:  # settles, or leaves behind, what another session may settle: it is judged as the write that it is
        walk.effect(Effect(WRITE, "prepared transaction:" + node.gid))
    else:
        walk.effect(Effect(TRANSACTION, verb.lower()))


# --- definitions -------------------------------------------------------------------------------------------------------------------

_NAME_FIELDS = (
    "relation", "view", "sequence", "table", "typevar", "funcname", "defnames", "domainname", "type_name", "opfamilyname", "opclassname",
    "extname", "schemaname", "name", "fdwname", "servername", "policy_name", "subname", "pubname", "tablespacename", "trigname",
    "dictname", "cfgname", "conversion_name", "func", "opername", "object", "collname",
)  # fmt: skip


def _object(node: Any) -> tuple[str, Any]:
    """The field that names what `node` defines, and its value; ("", None) if there is none."""
    for name in _NAME_FIELDS:
        field = node.DESCRIPTOR.fields_by_name.get(name)
        if field is None:
            continue
        if field.is_repeated:
            if len(getattr(node, name)):
                return name, getattr(node, name)
        elif field.message_type is not None:
            if node.HasField(name):
                return name, getattr(node, name)
        elif getattr(node, name):
            return name, getattr(node, name)
    return "", None


def _label(value: Any) -> str:
    """What is named, as written."""
    match value:
        case str():
            return value
        case pg.Node() if value.WhichOneof("node") is None:
            return ""
        case pg.Node():
            return _label(getattr(value, value.WhichOneof("node") or ""))
        case pg.List():
            return qualified(*last_two(value.items))
        case pg.ObjectWithArgs():
            return qualified(*last_two(value.objname))
        case pg.TypeName():
            return qualified(*last_two(value.names))
        case pg.String():
            return value.sval
        case pg.RangeVar():
            return qualified(value.schemaname, value.relname)
        case _ if hasattr(value, "__len__"):
            return qualified(*last_two(value))
        case _:
            return ""


def _defines(*kinds: EffectKind) -> Handler:
    """A handler for a definition: `kinds` happen to the object that it names, and whatever it contains is used."""

    def handler(walk: Walk, node: Any, scope: Scope) -> None:
        field, value = _object(node)
        relation = value if isinstance(value, pg.RangeVar) else None
        for kind in kinds:
            if relation is not None:
                walk.use(Touch(relation.schemaname, relation.relname, Effect(kind)))
            else:
                walk.effect(Effect(kind, _label(value)))
        if relation is not None:
            walk.named(relation)
        walk.children(node, scope, without=(field,))

    return handler


_RELATION_OBJECTS = frozenset(
    (pg.OBJECT_TABLE, pg.OBJECT_VIEW, pg.OBJECT_MATVIEW, pg.OBJECT_SEQUENCE, pg.OBJECT_FOREIGN_TABLE, pg.OBJECT_INDEX)
)


def _drop(walk: Walk, node: pg.DropStmt, scope: Scope) -> None:
    for item in node.objects:
        if node.remove_type in _RELATION_OBJECTS:
            walk.use(Touch(*last_two(item.list.items), Effect(SCHEMA)))
        else:
            walk.effect(Effect(SCHEMA, _label(item)))


def _grant(walk: Walk, node: pg.GrantStmt, scope: Scope) -> None:
    for item in node.objects:
        if item.WhichOneof("node") == "range_var":
            walk.use(Touch(item.range_var.schemaname, item.range_var.relname, Effect(PRIVILEGE)))
        else:
            walk.effect(Effect(PRIVILEGE, _label(item)))
    if not node.objects:
        walk.effect(Effect(PRIVILEGE))


def _alter_table(walk: Walk, node: pg.AlterTableStmt, scope: Scope) -> None:
    relation = node.relation
    walk.named(relation)
    walk.use(Touch(relation.schemaname, relation.relname, Effect(SCHEMA)))
    for item in node.cmds:
        if item.alter_table_cmd.subtype in _PRIVILEGED_ALTERATIONS:
            walk.use(Touch(relation.schemaname, relation.relname, Effect(PRIVILEGE)))
    walk.use(Definition(relation.schemaname, relation.relname, "index"))  # a rewrite of the table computes them anew
    walk.children(node, scope, without=("relation",))


_PRIVILEGED_ALTERATIONS = frozenset(
    (
        pg.AT_ChangeOwner, pg.AT_EnableRowSecurity, pg.AT_DisableRowSecurity, pg.AT_ForceRowSecurity, pg.AT_NoForceRowSecurity,
        pg.AT_DisableTrig, pg.AT_DisableTrigAll, pg.AT_DisableTrigUser, pg.AT_DisableRule,
    )
)  # fmt: skip


def _index(walk: Walk, node: pg.IndexStmt, scope: Scope) -> None:
    walk.named(node.relation)
    walk.use(Touch(node.relation.schemaname, node.relation.relname, Effect(SCHEMA)))
    walk.children(node, scope, without=("relation",))


def _vacuum(walk: Walk, node: pg.VacuumStmt, scope: Scope) -> None:
    walk.verbs[-1] = "VACUUM" if node.is_vacuumcmd else "ANALYZE"
    for item in node.rels:
        relation = item.vacuum_relation.relation
        walk.use(Touch(relation.schemaname, relation.relname, Effect(SCHEMA, via=walk.verbs[-1].lower())))
        walk.use(Definition(relation.schemaname, relation.relname, "index"))
    if not node.rels:  # every table of the database, with the index expressions of each
        walk.effect(Effect(SCHEMA, via=walk.verbs[-1].lower()))
        walk.effect(Effect(EXECUTE, "index expressions", via=walk.verbs[-1].lower()))


def _rebuild(walk: Walk, node: Any, scope: Scope) -> None:
    """CLUSTER and REINDEX. An index's own name leads to no expression here, nor does a whole schema: then it executes."""
    tables = not isinstance(node, pg.ReindexStmt) or node.kind == pg.REINDEX_OBJECT_TABLE
    if node.HasField("relation"):
        walk.use(Touch(node.relation.schemaname, node.relation.relname, Effect(SCHEMA)))
    else:
        walk.effect(Effect(SCHEMA, getattr(node, "name", "")))
    if node.HasField("relation") and tables:
        walk.use(Definition(node.relation.schemaname, node.relation.relname, "index"))
    else:
        walk.effect(Effect(EXECUTE, "index expressions"))


def _refresh(walk: Walk, node: pg.RefreshMatViewStmt, scope: Scope) -> None:
    walk.use(Touch(node.relation.schemaname, node.relation.relname, Effect(WRITE)))
    walk.use(Definition(node.relation.schemaname, node.relation.relname, "query"))
    walk.use(Definition(node.relation.schemaname, node.relation.relname, "index"))


def _call(walk: Walk, node: pg.CallStmt, scope: Scope) -> None:
    schema, name = last_two(node.funccall.funcname)
    walk.effect(Effect(EXECUTE, qualified(schema, name), via="CALL"))
    walk.children(node.funccall, scope, without=("funcname",))


def _trigger(walk: Walk, node: pg.CreateTrigStmt, scope: Scope) -> None:
    walk.use(Touch(node.relation.schemaname, node.relation.relname, Effect(SCHEMA)))
    walk.derived |= {"old", "new"}
    walk.children(node, scope, without=("relation", "funcname", "args"))


def _rule(walk: Walk, node: pg.RuleStmt, scope: Scope) -> None:
    walk.use(Touch(node.relation.schemaname, node.relation.relname, Effect(SCHEMA)))
    walk.derived |= {"old", "new"}
    walk.children(node, scope | {"old", "new"}, without=("relation",))


def _always(*effects: Effect) -> Handler:
    """A handler for a statement whose effects do not depend on what it says, and that contains nothing which would run."""

    def handler(walk: Walk, node: Any, scope: Scope) -> None:
        for effect in effects:
            walk.effect(effect)

    return handler


class Statement(msgspec.Struct, frozen=True):
    """`verb` is what policies call it."""

    verb: str
    handler: Callable[[Walk, Any, Scope], None]


_schema = _defines(SCHEMA)
_privilege = _defines(PRIVILEGE)
_both = _defines(SCHEMA, PRIVILEGE)
_foreign = _defines(SCHEMA, EXECUTE)

STATEMENTS: dict[str, Statement] = {
    "SelectStmt": Statement("SELECT", _select),
    "InsertStmt": Statement("INSERT", _insert),
    "UpdateStmt": Statement("UPDATE", _update),
    "DeleteStmt": Statement("DELETE", _delete),
    "MergeStmt": Statement("MERGE", _merge),
    "TruncateStmt": Statement("TRUNCATE", _truncate),
    "CopyStmt": Statement("COPY", _copy),
    "LockStmt": Statement("LOCK", _lock),
    "ExplainStmt": Statement("EXPLAIN", _explain),
    "PrepareStmt": Statement("PREPARE", _prepare),
    "ExecuteStmt": Statement("EXECUTE", _execute),
    "DeallocateStmt": Statement("DEALLOCATE", _always(Effect(TRANSACTION, "deallocate"))),
    "DeclareCursorStmt": Statement("DECLARE", _cursor),
    "FetchStmt": Statement("FETCH", _fetch),
    "ClosePortalStmt": Statement("CLOSE", _always(Effect(TRANSACTION, "close"))),
    "CreateTableAsStmt": Statement("CREATE TABLE AS", _table_as),
    "RefreshMatViewStmt": Statement("REFRESH MATERIALIZED VIEW", _refresh),
    "TransactionStmt": Statement("TRANSACTION", _transaction),
    "ConstraintsSetStmt": Statement("SET CONSTRAINTS", _always(Effect(TRANSACTION, "set constraints"))),
    "VariableSetStmt": Statement("SET", _set),
    "VariableShowStmt": Statement("SHOW", _show),
    "DiscardStmt": Statement("DISCARD", _discard),
    "NotifyStmt": Statement("NOTIFY", _notify),
    "ListenStmt": Statement("LISTEN", _listen),
    "UnlistenStmt": Statement("UNLISTEN", _unlisten),
    "DoStmt": Statement("DO", _always(Effect(EXECUTE, "code block", via="DO"))),
    "CallStmt": Statement("CALL", _call),
    "LoadStmt": Statement("LOAD", _always(Effect(EXECUTE, "shared library", via="LOAD"))),
    "CheckPointStmt": Statement("CHECKPOINT", _always(Effect(EXECUTE, "checkpoint", via="CHECKPOINT"))),
    "AlterSystemStmt": Statement(
        "ALTER SYSTEM", _always(Effect(PRIVILEGE, "server configuration"), Effect(EXECUTE, "server configuration"))
    ),
    "VacuumStmt": Statement("VACUUM", _vacuum),
    "ClusterStmt": Statement("CLUSTER", _rebuild),
    "ReindexStmt": Statement("REINDEX", _rebuild),
    # tables, views, indexes, sequences
    "CreateStmt": Statement("CREATE TABLE", _schema),
    "AlterTableStmt": Statement("ALTER TABLE", _alter_table),
    "AlterTableMoveAllStmt": Statement("ALTER TABLE", _schema),
    "CreateForeignTableStmt": Statement("CREATE FOREIGN TABLE", _foreign),
    "ViewStmt": Statement("CREATE VIEW", _schema),
    "IndexStmt": Statement("CREATE INDEX", _index),
    "CreateSeqStmt": Statement("CREATE SEQUENCE", _schema),
    "AlterSeqStmt": Statement("ALTER SEQUENCE", _schema),
    "CreateStatsStmt": Statement("CREATE STATISTICS", _schema),
    "AlterStatsStmt": Statement("ALTER STATISTICS", _schema),
    "CreateSchemaStmt": Statement("CREATE SCHEMA", _schema),
    "CreateTrigStmt": Statement("CREATE TRIGGER", _trigger),
    "RuleStmt": Statement("CREATE RULE", _rule),
    "DropStmt": Statement("DROP", _drop),
    "RenameStmt": Statement("ALTER", _schema),
    "AlterObjectSchemaStmt": Statement("ALTER", _schema),
    "AlterObjectDependsStmt": Statement("ALTER", _schema),
    "AlterOwnerStmt": Statement("ALTER", _both),
    "CommentStmt": Statement("COMMENT", _schema),
    # types, functions, operators
    "CompositeTypeStmt": Statement("CREATE TYPE", _schema),
    "CreateEnumStmt": Statement("CREATE TYPE", _schema),
    "CreateRangeStmt": Statement("CREATE TYPE", _schema),
    "AlterEnumStmt": Statement("ALTER TYPE", _schema),
    "AlterTypeStmt": Statement("ALTER TYPE", _schema),
    "CreateDomainStmt": Statement("CREATE DOMAIN", _schema),
    "AlterDomainStmt": Statement("ALTER DOMAIN", _schema),
    "DefineStmt": Statement("CREATE", _schema),
    "CreateFunctionStmt": Statement("CREATE FUNCTION", _schema),
    "AlterFunctionStmt": Statement("ALTER FUNCTION", _both),
    "AlterOperatorStmt": Statement("ALTER OPERATOR", _schema),
    "CreateOpClassStmt": Statement("CREATE OPERATOR CLASS", _schema),
    "CreateOpFamilyStmt": Statement("CREATE OPERATOR FAMILY", _schema),
    "AlterOpFamilyStmt": Statement("ALTER OPERATOR FAMILY", _schema),
    "CreateCastStmt": Statement("CREATE CAST", _schema),
    "CreateTransformStmt": Statement("CREATE TRANSFORM", _schema),
    "CreateConversionStmt": Statement("CREATE CONVERSION", _schema),
    "AlterCollationStmt": Statement("ALTER COLLATION", _schema),
    "CreateAmStmt": Statement("CREATE ACCESS METHOD", _foreign),
    "CreatePLangStmt": Statement("CREATE LANGUAGE", _foreign),
    "AlterTSDictionaryStmt": Statement("ALTER TEXT SEARCH DICTIONARY", _schema),
    "AlterTSConfigurationStmt": Statement("ALTER TEXT SEARCH CONFIGURATION", _schema),
    # what code the server runs by itself, or from elsewhere
    "CreateExtensionStmt": Statement("CREATE EXTENSION", _foreign),
    "AlterExtensionStmt": Statement("ALTER EXTENSION", _foreign),
    "AlterExtensionContentsStmt": Statement("ALTER EXTENSION", _foreign),
    "CreateEventTrigStmt": Statement("CREATE EVENT TRIGGER", _foreign),
    "AlterEventTrigStmt": Statement("ALTER EVENT TRIGGER", _foreign),
    "CreateFdwStmt": Statement("CREATE FOREIGN DATA WRAPPER", _foreign),
    "AlterFdwStmt": Statement("ALTER FOREIGN DATA WRAPPER", _foreign),
    "CreateForeignServerStmt": Statement("CREATE SERVER", _foreign),
    "AlterForeignServerStmt": Statement("ALTER SERVER", _foreign),
    "CreateUserMappingStmt": Statement("CREATE USER MAPPING", _both),
    "AlterUserMappingStmt": Statement("ALTER USER MAPPING", _both),
    "DropUserMappingStmt": Statement("DROP USER MAPPING", _both),
    "ImportForeignSchemaStmt": Statement(
        "IMPORT FOREIGN SCHEMA", _always(Effect(SCHEMA), Effect(EXECUTE, "foreign server"))
    ),
    "CreatePublicationStmt": Statement("CREATE PUBLICATION", _defines(SCHEMA, TRANSFER)),
    "AlterPublicationStmt": Statement("ALTER PUBLICATION", _defines(SCHEMA, TRANSFER)),
    "CreateSubscriptionStmt": Statement("CREATE SUBSCRIPTION", _defines(SCHEMA, TRANSFER, EXECUTE)),
    "AlterSubscriptionStmt": Statement("ALTER SUBSCRIPTION", _defines(SCHEMA, TRANSFER, EXECUTE)),
    "DropSubscriptionStmt": Statement("DROP SUBSCRIPTION", _foreign),
    # databases and tablespaces
    "CreatedbStmt": Statement("CREATE DATABASE", _always(Effect(SCHEMA, "database"))),
    "AlterDatabaseStmt": Statement("ALTER DATABASE", _both),
    "AlterDatabaseSetStmt": Statement("ALTER DATABASE", _both),
    "AlterDatabaseRefreshCollStmt": Statement("ALTER DATABASE", _always(Effect(SCHEMA, "database"))),
    "DropdbStmt": Statement("DROP DATABASE", _always(Effect(SCHEMA, "database"))),
    "CreateTableSpaceStmt": Statement("CREATE TABLESPACE", _foreign),
    "AlterTableSpaceOptionsStmt": Statement("ALTER TABLESPACE", _schema),
    "DropTableSpaceStmt": Statement("DROP TABLESPACE", _schema),
    # who may do what
    "GrantStmt": Statement("GRANT", _grant),
    "GrantRoleStmt": Statement("GRANT", _always(Effect(PRIVILEGE, "role membership"))),
    "AlterDefaultPrivilegesStmt": Statement(
        "ALTER DEFAULT PRIVILEGES", _always(Effect(PRIVILEGE, "default privileges"))
    ),
    "CreateRoleStmt": Statement("CREATE ROLE", _always(Effect(PRIVILEGE, "role"))),
    "AlterRoleStmt": Statement("ALTER ROLE", _always(Effect(PRIVILEGE, "role"))),
    "AlterRoleSetStmt": Statement("ALTER ROLE", _always(Effect(PRIVILEGE, "role"))),
    "DropRoleStmt": Statement("DROP ROLE", _always(Effect(PRIVILEGE, "role"))),
    "DropOwnedStmt": Statement("DROP OWNED", _always(Effect(PRIVILEGE), Effect(SCHEMA))),
    "ReassignOwnedStmt": Statement("REASSIGN OWNED", _always(Effect(PRIVILEGE), Effect(SCHEMA))),
    "CreatePolicyStmt": Statement("CREATE POLICY", _both),
    "AlterPolicyStmt": Statement("ALTER POLICY", _both),
    "SecLabelStmt": Statement("SECURITY LABEL", _both),
}
"""Statement node class -> what policies call it, and the handler that says what it does."""


_ABOUT_A_QUERY = frozenset(("EXPLAIN", "PREPARE", "DECLARE", "COPY", "CREATE TABLE AS", "CREATE VIEW"))
"""In any other statement a query is a part of it, and does not count among the verbs."""


def _handled(statement: Statement) -> Handler:
    def handler(walk: Walk, node: Any, scope: Scope) -> None:
        part = isinstance(node, pg.SelectStmt) and walk.verbs and walk.verbs[-1] not in _ABOUT_A_QUERY
        if not part:
            walk.verbs.append(statement.verb)
        statement.handler(walk, node, scope)

    return handler


HANDLERS.update({name: _handled(statement) for name, statement in STATEMENTS.items()})
HANDLERS["IntoClause"] = _into


def walked(statement: pg.Node, *, constants: bool = False) -> Walk:
    """Return what one statement uses. An expression is walked as the SELECT that it stands behind."""
    walk = Walk(constants=constants)
    walk.visit(statement)
    return walk
