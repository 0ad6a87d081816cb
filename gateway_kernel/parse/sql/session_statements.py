"""Statements about the session and its transaction: settings, channels, transaction control."""

from postgast import pg_query_pb2 as pg

from gateway_kernel.model import Effect, EffectKind
from gateway_kernel.parse.sql.syntax import Scope, Walk

READ, WRITE, SESSION, TRANSACTION = EffectKind.READ, EffectKind.WRITE, EffectKind.SESSION, EffectKind.TRANSACTION


def set_variable(walk: Walk, node: pg.VariableSetStmt, scope: Scope) -> None:
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


def show(walk: Walk, node: pg.VariableShowStmt, scope: Scope) -> None:
    walk.effect(Effect(READ, "setting:" + node.name.lower()))


_DISCARDED = {
    pg.DISCARD_ALL: "all",
    pg.DISCARD_PLANS: "plans",
    pg.DISCARD_SEQUENCES: "sequences",
    pg.DISCARD_TEMP: "temp",
}


def discard(walk: Walk, node: pg.DiscardStmt, scope: Scope) -> None:
    walk.effect(Effect(SESSION, "discard:" + _DISCARDED.get(node.target, "?")))


def notify(walk: Walk, node: pg.NotifyStmt, scope: Scope) -> None:
    walk.effect(Effect(WRITE, "channel:" + node.conditionname))


def listen(walk: Walk, node: pg.ListenStmt, scope: Scope) -> None:
    walk.effect(Effect(SESSION, "listen:" + node.conditionname))


def unlisten(walk: Walk, node: pg.UnlistenStmt, scope: Scope) -> None:
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


def transaction(walk: Walk, node: pg.TransactionStmt, scope: Scope) -> None:
    verb = _TRANSACTIONS.get(node.kind, "TRANSACTION")
    walk.verbs[-1] = verb
    if node.gid:  # settles, or leaves behind, what another session may settle: it is judged as the write that it is
        walk.effect(Effect(WRITE, "prepared:" + node.gid))
    else:
        walk.effect(Effect(TRANSACTION, verb.lower()))
