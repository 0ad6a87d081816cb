"""Every statement of PostgreSQL's grammar, and what it does: one table, statement node -> (verb, handler).

A handler reads the tree alone and adds uses to the walk (`syntax`); what the names in them stand for is found out by `effects`. A statement
that is not in the table is unknown and so refused; a test holds the table against the grammar. docs/postgres-effects.md is
this table in words.
"""

from typing import Any

import msgspec
from postgast import pg_query_pb2 as pg

from gateway_kernel.model import Effect, EffectKind
from gateway_kernel.parse.sql import row_statements as rows
from gateway_kernel.parse.sql import schema_statements as definitions
from gateway_kernel.parse.sql import session_statements as session
from gateway_kernel.parse.sql.syntax import HANDLERS, Handler, Scope, Walk

SCHEMA, PRIVILEGE, EXECUTE = EffectKind.SCHEMA, EffectKind.PRIVILEGE, EffectKind.EXECUTE
TRANSFER, TRANSACTION = EffectKind.TRANSFER, EffectKind.TRANSACTION


class Statement(msgspec.Struct, frozen=True):
    """`verb` is what policies call it."""

    verb: str
    handler: Handler


_schema = definitions.defines(SCHEMA)
_privilege = definitions.defines(PRIVILEGE)
_both = definitions.defines(SCHEMA, PRIVILEGE)
_foreign = definitions.defines(SCHEMA, EXECUTE)

STATEMENTS: dict[str, Statement] = {
    "SelectStmt": Statement("SELECT", rows.select),
    "InsertStmt": Statement("INSERT", rows.insert),
    "UpdateStmt": Statement("UPDATE", rows.update),
    "DeleteStmt": Statement("DELETE", rows.delete),
    "MergeStmt": Statement("MERGE", rows.merge),
    "TruncateStmt": Statement("TRUNCATE", rows.truncate),
    "CopyStmt": Statement("COPY", rows.copy),
    "LockStmt": Statement("LOCK", rows.lock),
    "ExplainStmt": Statement("EXPLAIN", rows.explain),
    "PrepareStmt": Statement("PREPARE", rows.contents),
    "ExecuteStmt": Statement("EXECUTE", rows.execute),
    "DeallocateStmt": Statement("DEALLOCATE", definitions.always(Effect(TRANSACTION, "deallocate"))),
    "DeclareCursorStmt": Statement("DECLARE", rows.cursor),
    "FetchStmt": Statement("FETCH", rows.fetch),
    "ClosePortalStmt": Statement("CLOSE", definitions.always(Effect(TRANSACTION, "close"))),
    "CreateTableAsStmt": Statement("CREATE TABLE AS", rows.contents),
    "RefreshMatViewStmt": Statement("REFRESH MATERIALIZED VIEW", definitions.refresh),
    "TransactionStmt": Statement("TRANSACTION", session.transaction),
    "ConstraintsSetStmt": Statement("SET CONSTRAINTS", definitions.always(Effect(TRANSACTION, "set constraints"))),
    "VariableSetStmt": Statement("SET", session.set_variable),
    "VariableShowStmt": Statement("SHOW", session.show),
    "DiscardStmt": Statement("DISCARD", session.discard),
    "NotifyStmt": Statement("NOTIFY", session.notify),
    "ListenStmt": Statement("LISTEN", session.listen),
    "UnlistenStmt": Statement("UNLISTEN", session.unlisten),
    "DoStmt": Statement("DO", definitions.always(Effect(EXECUTE, "code block", via="DO"))),
    "CallStmt": Statement("CALL", definitions.call),
    "LoadStmt": Statement("LOAD", definitions.always(Effect(EXECUTE, "shared library", via="LOAD"))),
    "CheckPointStmt": Statement("CHECKPOINT", definitions.always(Effect(EXECUTE, "checkpoint", via="CHECKPOINT"))),
    "AlterSystemStmt": Statement(
        "ALTER SYSTEM",
        definitions.always(Effect(PRIVILEGE, "server configuration"), Effect(EXECUTE, "server configuration")),
    ),
    "VacuumStmt": Statement("VACUUM", definitions.vacuum),
    "ClusterStmt": Statement("CLUSTER", definitions.rebuild),
    "ReindexStmt": Statement("REINDEX", definitions.rebuild),
    # tables, views, indexes, sequences
    "CreateStmt": Statement("CREATE TABLE", _schema),
    "AlterTableStmt": Statement("ALTER TABLE", definitions.alter_table),
    "AlterTableMoveAllStmt": Statement("ALTER TABLE", _schema),
    "CreateForeignTableStmt": Statement("CREATE FOREIGN TABLE", _foreign),
    "ViewStmt": Statement("CREATE VIEW", _schema),
    "IndexStmt": Statement("CREATE INDEX", definitions.index),
    "CreateSeqStmt": Statement("CREATE SEQUENCE", _schema),
    "AlterSeqStmt": Statement("ALTER SEQUENCE", _schema),
    "CreateStatsStmt": Statement("CREATE STATISTICS", _schema),
    "AlterStatsStmt": Statement("ALTER STATISTICS", _schema),
    "CreateSchemaStmt": Statement("CREATE SCHEMA", _schema),
    "CreateTrigStmt": Statement("CREATE TRIGGER", definitions.trigger),
    "RuleStmt": Statement("CREATE RULE", definitions.rule),
    "DropStmt": Statement("DROP", definitions.drop),
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
        "IMPORT FOREIGN SCHEMA", definitions.always(Effect(SCHEMA), Effect(EXECUTE, "foreign server"))
    ),
    "CreatePublicationStmt": Statement("CREATE PUBLICATION", definitions.defines(SCHEMA, TRANSFER)),
    "AlterPublicationStmt": Statement("ALTER PUBLICATION", definitions.defines(SCHEMA, TRANSFER)),
    "CreateSubscriptionStmt": Statement("CREATE SUBSCRIPTION", definitions.defines(SCHEMA, TRANSFER, EXECUTE)),
    "AlterSubscriptionStmt": Statement("ALTER SUBSCRIPTION", definitions.defines(SCHEMA, TRANSFER, EXECUTE)),
    "DropSubscriptionStmt": Statement("DROP SUBSCRIPTION", _foreign),
    # databases and tablespaces
    "CreatedbStmt": Statement("CREATE DATABASE", definitions.always(Effect(SCHEMA, "database"))),
    "AlterDatabaseStmt": Statement("ALTER DATABASE", _both),
    "AlterDatabaseSetStmt": Statement("ALTER DATABASE", _both),
    "AlterDatabaseRefreshCollStmt": Statement("ALTER DATABASE", definitions.always(Effect(SCHEMA, "database"))),
    "DropdbStmt": Statement("DROP DATABASE", definitions.always(Effect(SCHEMA, "database"))),
    "CreateTableSpaceStmt": Statement("CREATE TABLESPACE", _foreign),
    "AlterTableSpaceOptionsStmt": Statement("ALTER TABLESPACE", _schema),
    "DropTableSpaceStmt": Statement("DROP TABLESPACE", _schema),
    # who may do what
    "GrantStmt": Statement("GRANT", definitions.grant),
    "GrantRoleStmt": Statement("GRANT", definitions.always(Effect(PRIVILEGE, "role membership"))),
    "AlterDefaultPrivilegesStmt": Statement(
        "ALTER DEFAULT PRIVILEGES", definitions.always(Effect(PRIVILEGE, "default privileges"))
    ),
    "CreateRoleStmt": Statement("CREATE ROLE", definitions.always(Effect(PRIVILEGE, "role"))),
    "AlterRoleStmt": Statement("ALTER ROLE", definitions.always(Effect(PRIVILEGE, "role"))),
    "AlterRoleSetStmt": Statement("ALTER ROLE", definitions.always(Effect(PRIVILEGE, "role"))),
    "DropRoleStmt": Statement("DROP ROLE", definitions.always(Effect(PRIVILEGE, "role"))),
    "DropOwnedStmt": Statement("DROP OWNED", definitions.always(Effect(PRIVILEGE), Effect(SCHEMA))),
    "ReassignOwnedStmt": Statement("REASSIGN OWNED", definitions.always(Effect(PRIVILEGE), Effect(SCHEMA))),
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
HANDLERS["IntoClause"] = rows.into


def walked(statement: pg.Node, *, constants: bool = False) -> Walk:
    """Return what one statement uses. An expression is walked as the SELECT that it stands behind."""
    walk = Walk(constants=constants)
    walk.visit(statement)
    return walk
