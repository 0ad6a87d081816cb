"""What definitions would do with masked columns: views, indexes, rules, triggers, policies, statistics and ALTER TABLE.

A definition is refused if what it makes would tell a masked column's content, or if it would take the column out of reach of its mask (a
rename, another schema, a partition detached). Statements that name no column (DROP, GRANT, VACUUM, …) pass: their effects are the
policy's business.
"""

from collections.abc import Iterable

from google.protobuf.message import Message
from postgast import pg_query_pb2 as pg

from gateway_kernel.parse.sql.changes import ChangeTracer
from gateway_kernel.parse.sql.scope import Scope, strings
from gateway_kernel.parse.sql.taint import Taint, joined

NEUTRAL = frozenset(
    {
        "alter_collation_stmt", "alter_database_refresh_coll_stmt", "alter_database_set_stmt", "alter_database_stmt",
        "alter_default_privileges_stmt", "alter_domain_stmt", "alter_enum_stmt", "alter_event_trig_stmt",
        "alter_extension_contents_stmt", "alter_extension_stmt", "alter_function_stmt", "alter_object_depends_stmt",
        "alter_op_family_stmt", "alter_operator_stmt", "alter_owner_stmt", "alter_role_set_stmt", "alter_role_stmt",
        "alter_seq_stmt", "alter_stats_stmt", "alter_system_stmt", "alter_table_space_options_stmt",
        "alter_tsconfiguration_stmt", "alter_tsdictionary_stmt", "alter_type_stmt", "check_point_stmt",
        "close_portal_stmt", "comment_stmt", "composite_type_stmt", "constraints_set_stmt",
        "create_am_stmt", "create_cast_stmt", "create_conversion_stmt", "create_domain_stmt", "create_enum_stmt",
        "create_event_trig_stmt", "create_extension_stmt", "create_fdw_stmt", "create_foreign_server_stmt",
        "create_function_stmt", "create_op_class_stmt", "create_op_family_stmt", "create_plang_stmt",
        "create_range_stmt", "create_role_stmt", "create_seq_stmt", "create_table_space_stmt", "create_transform_stmt",
        "create_user_mapping_stmt", "createdb_stmt", "deallocate_stmt", "define_stmt", "discard_stmt", "do_stmt",
        "drop_owned_stmt", "drop_role_stmt", "drop_stmt", "drop_subscription_stmt", "drop_table_space_stmt",
        "drop_user_mapping_stmt", "dropdb_stmt", "grant_role_stmt", "grant_stmt", "listen_stmt", "load_stmt",
        "lock_stmt", "notify_stmt", "reassign_owned_stmt", "refresh_mat_view_stmt", "reindex_stmt", "sec_label_stmt",
        "transaction_stmt", "truncate_stmt", "unlisten_stmt", "vacuum_stmt", "variable_set_stmt",
    }
)  # fmt: skip
"""Statements that use no column. DO and functions run code that nobody has read, which is their `execute` effect."""

_REPORTING = frozenset({"truncate_stmt", "do_stmt", "refresh_mat_view_stmt", "reindex_stmt", "vacuum_stmt"})
"""Neutral statements whose errors and notices may speak of rows."""

_HARMLESS_CHANGES = frozenset(
    {
        pg.AT_AddColumn, pg.AT_DropColumn, pg.AT_ColumnDefault, pg.AT_DropNotNull, pg.AT_SetNotNull, pg.AT_AddConstraint,
        pg.AT_DropConstraint, pg.AT_ValidateConstraint, pg.AT_ChangeOwner, pg.AT_SetRelOptions, pg.AT_ResetRelOptions,
        pg.AT_SetTableSpace, pg.AT_SetLogged, pg.AT_DropCluster, pg.AT_EnableRowSecurity,
        pg.AT_DisableRowSecurity, pg.AT_ForceRowSecurity, pg.AT_NoForceRowSecurity, pg.AT_DisableTrig, pg.AT_EnableTrig,
        pg.AT_DisableTrigAll, pg.AT_EnableTrigAll, pg.AT_DisableTrigUser, pg.AT_EnableTrigUser, pg.AT_AttachPartition,
        pg.AT_AddInherit, pg.AT_AddIdentity, pg.AT_SetIdentity, pg.AT_DropIdentity,
    }
)  # fmt: skip
"""Changes of a table that leave its masked columns where and what they are; the expressions in them are traced."""


class DefinitionTracer(ChangeTracer):
    """Traces statements that define something."""

    def definition(self, node: pg.Node) -> None:
        """Refuse a definition that would tell masked content or escape its mask."""
        kind = node.WhichOneof("node") or ""
        if kind in NEUTRAL:
            self.sensitive = self.sensitive or kind in _REPORTING
            return
        match kind:
            case "view_stmt":
                self.written(self.query(node.view_stmt.query, None), "a view")
            case "index_stmt":
                self._index(node.index_stmt)
            case "create_policy_stmt":
                policy = node.create_policy_stmt
                self.check((policy.qual, policy.with_check), self._within(policy.table), "a policy")
            case "alter_policy_stmt":
                altered = node.alter_policy_stmt
                self.check((altered.qual, altered.with_check), self._within(altered.table), "a policy")
            case "alter_table_stmt":
                self._alter_table(node.alter_table_stmt)
            case "rename_stmt":
                self._rename(node.rename_stmt)
            case "create_stmt":
                self._create_table(node.create_stmt)
            case "create_foreign_table_stmt":
                self._create_table(node.create_foreign_table_stmt.base_stmt)
            case "create_schema_stmt":
                for element in node.create_schema_stmt.schema_elts:
                    self.definition(element)
            case _:  # rules, triggers, statistics, publications, CLUSTER (a physical order), another schema, and whatever a later grammar brings
                self.forbid(self.involved(node), f"{kind.removesuffix('_stmt').replace('_', ' ').upper()}")

    def _within(self, name: pg.RangeVar) -> Scope:
        return Scope(None, [self.named_item(name, None)])

    def _index(self, index: pg.IndexStmt) -> None:
        scope = self._within(index.relation)
        for node in (*index.index_params, *index.index_including_params):
            self._named(scope, [node.index_elem.name], "an index")
            self.check((node.index_elem.expr,), scope, "an index")
        self.check((index.where_clause,), scope, "an index")

    def _named(self, scope: Scope, names: Iterable[str], place: str) -> None:
        columns = [scope.column(name) for name in names if name]
        self.forbid(joined(column.taint for column in columns if column is not None), place)

    def _alter_table(self, alter: pg.AlterTableStmt) -> None:
        scope = self._within(alter.relation)
        masked = joined(field.taint for field in scope.star())
        for node in alter.cmds:
            command = node.alter_table_cmd
            if command.subtype not in _HARMLESS_CHANGES:
                self._keep(masked, command, scope)
            if command.HasField("def"):
                self._constraints(getattr(command, "def"), scope)

    def _keep(self, masked: Taint | None, command: pg.AlterTableCmd, scope: Scope) -> None:
        """A change that is not known to be harmless may touch the columns that are not masked."""
        column = scope.column(command.name) if command.name else None
        definition: pg.Node = getattr(command, "def")
        if column is not None and column.taint is None and command.subtype == pg.AT_AlterColumnType:
            self.check((definition.column_def.raw_default,), scope, "ALTER TABLE")
        elif column is None or column.taint is not None:
            self.forbid(masked, "ALTER TABLE")

    def _constraints(self, node: pg.Node, scope: Scope | None) -> None:
        """Trace what a column or constraint definition compares, and whom it references."""
        constraints = [part.constraint for part in node.column_def.constraints]
        if node.WhichOneof("node") == "constraint":
            constraints.append(node.constraint)
        for constraint in constraints:
            if scope is not None:
                self.check((constraint.raw_expr, constraint.where_clause), scope, "a constraint")
                self._named(scope, strings((*constraint.keys, *constraint.fk_attrs)), "a constraint")
                self.forbid(self.involved(constraint) if constraint.exclusions else None, "a constraint")
            if constraint.HasField("pktable"):
                self._referenced(constraint)

    def _referenced(self, constraint: pg.Constraint) -> None:
        """A foreign key on a masked column tells, row by row, whether a given value is there."""
        target = self._within(constraint.pktable)
        if constraint.pk_attrs:
            self._named(target, strings(constraint.pk_attrs), "a foreign key")
        elif constraint.pktable.relname:
            self.forbid(joined(field.taint for field in target.star()), "a foreign key that does not name its columns")

    def _create_table(self, create: pg.CreateStmt) -> None:
        for node in (*create.table_elts, *create.constraints):
            self._constraints(node, None)

    def _rename(self, rename: pg.RenameStmt) -> None:
        if rename.rename_type == pg.OBJECT_SCHEMA:
            self.forbid(self.masks.in_schema(rename.subname), "RENAME")
        elif rename.HasField("relation") and rename.rename_type in _ESCAPES:
            scope = self._within(rename.relation)
            column = scope.column(rename.subname) if rename.rename_type == pg.OBJECT_COLUMN else None
            renamed = (column,) if column is not None else scope.star()
            self.forbid(joined(field.taint for field in renamed), "RENAME")


_ESCAPES = frozenset({pg.OBJECT_TABLE, pg.OBJECT_VIEW, pg.OBJECT_MATVIEW, pg.OBJECT_FOREIGN_TABLE, pg.OBJECT_COLUMN})


def changes_meaning(node: pg.Node) -> bool:
    """True if names in the text behind this statement may mean something else than the catalogue said before it ran."""
    match node.WhichOneof("node"):
        case "select_stmt" | "insert_stmt" | "update_stmt" | "delete_stmt" | "merge_stmt" | "explain_stmt":
            return _sets_configuration(node)
        case (
            "copy_stmt"
            | "fetch_stmt"
            | "declare_cursor_stmt"
            | "close_portal_stmt"
            | "prepare_stmt"
            | "deallocate_stmt"
        ):
            return False
        case (
            "variable_show_stmt"
            | "lock_stmt"
            | "notify_stmt"
            | "listen_stmt"
            | "unlisten_stmt"
            | "constraints_set_stmt"
        ):
            return False
        case "transaction_stmt":
            kept = {pg.TRANS_STMT_BEGIN, pg.TRANS_STMT_START, pg.TRANS_STMT_SAVEPOINT, pg.TRANS_STMT_RELEASE}
            return node.transaction_stmt.kind not in kept
        case "variable_set_stmt":
            setting = node.variable_set_stmt
            return setting.kind == pg.VAR_RESET_ALL or setting.name.lower() in {
                "search_path",
                "role",
                "session_authorization",
            }
        case _:
            return True


def _sets_configuration(node: Message) -> bool:
    waiting: list[Message] = [node]
    while waiting:
        part = waiting.pop()
        if isinstance(part, pg.FuncCall) and strings(part.funcname)[-1] == "set_config":
            return True
        for descriptor, value in part.ListFields():
            if descriptor.message_type is not None:
                waiting.extend(value if descriptor.is_repeated else (value,))
    return False
