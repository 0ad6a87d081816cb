"""The names of a session: prepared statements, in one table for the protocol's and for SQL's, since the server has one name space for
both, and cursors.

A name that is not in here is unknown, and what is unknown is denied. What stands behind a name was analysed by the server when it was made:
a temporary table that hides another one later does not change it [ran]. So each name carries what the catalogue said then.
"""

import msgspec
import postgast
from google.protobuf.message import DecodeError
from postgast import pg_query_pb2 as pg

from gateway_kernel.model import Json
from gateway_kernel.parse.sql.tree import UnparsedError, parsed


class Statement(msgspec.Struct):
    """A prepared statement: the client's text, the text that stands upstream (a rewrite may differ), parameter types if known.

    `meaning` is the catalogue under which the server analysed it last, None if nobody knows: before it runs under another one,
    the server must analyse it again.
    """

    text: str
    upstream: str
    types: tuple[int, ...] = ()
    sql: bool = False
    meaning: Json = None

    def means(self, catalogue: Json) -> bool:
        """True if the server analysed it under this catalogue."""
        if self.meaning is catalogue:
            return True
        if self.meaning is None or self.meaning != catalogue:
            return False
        self.meaning = catalogue  # equal: found by identity the next time
        return True


class Cursor(msgspec.Struct):
    """A cursor: its query, and the catalogue under which it was opened, which holds as long as it is open.

    A cursor that no DECLARE of the client made (a function's, or a portal) has none; it is traced as long as `epoch` is the session's.
    """

    query: str
    meaning: Json = None
    epoch: int = 0


def declared(text: str) -> list[str]:
    """The names of the cursors that a text declares."""
    try:
        statements = parsed(text).stmts
    except UnparsedError:
        return []
    return [raw.stmt.declare_cursor_stmt.portalname for raw in statements if raw.stmt.HasField("declare_cursor_stmt")]


def agree(one: Json, other: Json) -> bool:
    """True if two catalogues say the same of everything that both speak of."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return False
    for kind, answers in one.items():
        others = other.get(kind, {})
        if not isinstance(answers, dict) or not isinstance(others, dict):
            return False
        if any(key in others and others[key] != answer for key, answer in answers.items()):
            return False
    return True


class Statements:
    """Names to statements. Entries are made when Parse is sent and taken back if the server does not confirm it."""

    __slots__ = ("_table",)

    def __init__(self) -> None:
        self._table: dict[bytes, Statement] = {}

    def get(self, name: bytes) -> Statement | None:
        return self._table.get(name)

    def put(self, name: bytes, statement: Statement) -> None:
        self._table[name] = statement

    def drop(self, name: bytes) -> None:
        self._table.pop(name, None)

    def unconfirmed(self, name: bytes, statement: Statement, before: Statement | None) -> None:
        """The server did not take this Parse: a named statement of before still stands, the unnamed one is gone."""
        if self._table.get(name) is statement:
            if name and before is not None:
                self._table[name] = before
            else:
                self.drop(name)

    def agree(self, rows: list[tuple[str, str, bool]]) -> None:
        """Take over what `pg_prepared_statements` says: (name, text, made by SQL PREPARE). The unnamed statement is not in it."""
        unnamed = self._table.get(b"")
        before, self._table = self._table, {}
        if unnamed is not None:
            self._table[b""] = unnamed
        for name, text, sql in rows:
            key = name.encode()
            known = before.get(key)
            same = known is not None and not sql and not known.sql and known.upstream == text
            if known is not None and same:
                self._table[key] = known
            else:
                meant = query_of(text) if sql else text
                self._table[key] = Statement(meant, meant, (), sql)

    def texts(self) -> dict[str, str]:
        """Name -> text of every named statement, for a text that runs one by SQL EXECUTE."""
        return {name.decode(errors="replace"): statement.upstream for name, statement in self._table.items() if name}


def query_of(text: str) -> str:
    """The statement inside a PREPARE or DECLARE as the server's views show it; "" (nobody knows) if it is neither."""
    try:
        tree = postgast.parse(text)
        if len(tree.stmts) != 1:
            return ""
        node = tree.stmts[0].stmt
        if node.HasField("prepare_stmt"):
            inner = node.prepare_stmt.query
        elif node.HasField("declare_cursor_stmt"):
            inner = node.declare_cursor_stmt.query
        else:
            return text
        return postgast.deparse(pg.ParseResult(version=tree.version, stmts=[pg.RawStmt(stmt=inner)]))
    except (postgast.PgQueryError, DecodeError):
        return ""
