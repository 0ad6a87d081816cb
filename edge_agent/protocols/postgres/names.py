"""The prepared statements of a session: one table for the protocol's and for SQL's, since the server has one name space for both.

A name that is not in here is unknown, and what is unknown is denied.
"""

import msgspec
import postgast
from google.protobuf.message import DecodeError
from postgast import pg_query_pb2 as pg


class Statement(msgspec.Struct):
    """A prepared statement: the client's text, the text that stands upstream (a rewrite may differ), parameter types if known."""

    text: str
    upstream: str
    types: tuple[int, ...] = ()
    sql: bool = False


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
