"""Statements that define, maintain or grant: what each touches and, since definitions hold expressions, what it uses."""

from typing import Any

from postgast import pg_query_pb2 as pg

from gateway_kernel.model import Effect, EffectKind
from gateway_kernel.parse.sql.catalogue import qualified
from gateway_kernel.parse.sql.syntax import Definition, Handler, Scope, Touch, Walk, last_two

WRITE, SCHEMA, PRIVILEGE, EXECUTE = EffectKind.WRITE, EffectKind.SCHEMA, EffectKind.PRIVILEGE, EffectKind.EXECUTE


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


def defines(*kinds: EffectKind) -> Handler:
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


def drop(walk: Walk, node: pg.DropStmt, scope: Scope) -> None:
    for item in node.objects:
        if node.remove_type in _RELATION_OBJECTS:
            walk.use(Touch(*last_two(item.list.items), Effect(SCHEMA)))
        else:
            walk.effect(Effect(SCHEMA, _label(item)))


def grant(walk: Walk, node: pg.GrantStmt, scope: Scope) -> None:
    for item in node.objects:
        if item.WhichOneof("node") == "range_var":
            walk.use(Touch(item.range_var.schemaname, item.range_var.relname, Effect(PRIVILEGE)))
        else:
            walk.effect(Effect(PRIVILEGE, _label(item)))
    if not node.objects:
        walk.effect(Effect(PRIVILEGE))


def alter_table(walk: Walk, node: pg.AlterTableStmt, scope: Scope) -> None:
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


def index(walk: Walk, node: pg.IndexStmt, scope: Scope) -> None:
    walk.named(node.relation)
    walk.use(Touch(node.relation.schemaname, node.relation.relname, Effect(SCHEMA)))
    walk.children(node, scope, without=("relation",))


def vacuum(walk: Walk, node: pg.VacuumStmt, scope: Scope) -> None:
    walk.verbs[-1] = "VACUUM" if node.is_vacuumcmd else "ANALYZE"
    for item in node.rels:
        relation = item.vacuum_relation.relation
        walk.use(Touch(relation.schemaname, relation.relname, Effect(SCHEMA, via=walk.verbs[-1].lower())))
        walk.use(Definition(relation.schemaname, relation.relname, "index"))
    if not node.rels:  # every table of the database, with the index expressions of each
        walk.effect(Effect(SCHEMA, via=walk.verbs[-1].lower()))
        walk.effect(Effect(EXECUTE, "index expressions", via=walk.verbs[-1].lower()))


def rebuild(walk: Walk, node: Any, scope: Scope) -> None:
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


def refresh(walk: Walk, node: pg.RefreshMatViewStmt, scope: Scope) -> None:
    walk.use(Touch(node.relation.schemaname, node.relation.relname, Effect(WRITE)))
    walk.use(Definition(node.relation.schemaname, node.relation.relname, "query"))
    walk.use(Definition(node.relation.schemaname, node.relation.relname, "index"))


def call(walk: Walk, node: pg.CallStmt, scope: Scope) -> None:
    schema, name = last_two(node.funccall.funcname)
    walk.effect(Effect(EXECUTE, qualified(schema, name), via="CALL"))
    walk.children(node.funccall, scope, without=("funcname",))


def trigger(walk: Walk, node: pg.CreateTrigStmt, scope: Scope) -> None:
    walk.use(Touch(node.relation.schemaname, node.relation.relname, Effect(SCHEMA)))
    walk.derived |= {"old", "new"}
    walk.children(node, scope, without=("relation", "funcname", "args"))


def rule(walk: Walk, node: pg.RuleStmt, scope: Scope) -> None:
    walk.use(Touch(node.relation.schemaname, node.relation.relname, Effect(SCHEMA)))
    walk.derived |= {"old", "new"}
    walk.children(node, scope | {"old", "new"}, without=("relation",))


def always(*effects: Effect) -> Handler:
    """A handler for a statement whose effects do not depend on what it says, and that contains nothing which would run."""

    def handler(walk: Walk, node: Any, scope: Scope) -> None:
        for effect in effects:
            walk.effect(effect)

    return handler
