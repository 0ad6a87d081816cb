"""One text through libpq as a client may send it: simple or extended protocol, text or binary results, COPY read to its end."""

from typing import Any, NamedTuple

import psycopg
from psycopg import generators, waiting
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult

LIMIT = 20.0  # seconds for one text

FORMS = ("simple", "text", "binary")
"""The simple protocol; the extended one with text results and with binary ones."""


class Told(NamedTuple):
    """What came back. `error` is its SQLSTATE, "" if there was none; `message` all of its text."""

    error: str
    message: str
    values: list[bytes | None]
    rows: int
    usable: bool

    @property
    def refused(self) -> bool:
        """True if the gateway said no, or that a person must say yes."""
        return self.error in {"42501", "55000"} and ("refused by" in self.message or "review" in self.message)


def tell(connection: psycopg.Connection[Any], text: str, form: str = "simple") -> Told:
    """Send `text` and read everything; the connection must answer within LIMIT."""
    pgconn = connection.pgconn
    if form == "simple":
        pgconn.send_query(text.encode())
    else:
        pgconn.send_query_params(text.encode(), [], result_format=int(form == "binary"))
    error, values, rows = None, [], 0
    while True:
        results = waiting.wait(generators.execute(pgconn), pgconn.socket, LIMIT)
        copying = False
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                error = result
            elif result.status == ExecStatus.COPY_OUT:
                copying = True
                rows += _copied(pgconn, values)
            rows += result.ntuples
            values += [
                result.get_value(row, column) for row in range(result.ntuples) for column in range(result.nfields)
            ]
        if not copying:
            break
    state, message = _complaint(error)
    usable = pgconn.status == ConnStatus.OK and pgconn.transaction_status == TransactionStatus.IDLE
    return Told(state, message, values, rows, usable)


def _copied(pgconn: Any, values: list[bytes | None]) -> int:
    rows = 0
    while isinstance(data := waiting.wait(generators.copy_from(pgconn), pgconn.socket, LIMIT), memoryview | bytes):
        values.append(bytes(data))
        rows += 1
    return rows


def _complaint(result: PGresult | None) -> tuple[str, str]:
    if result is None:
        return "", ""
    fields = [result.error_field(field) or b"" for field in psycopg.pq.DiagnosticField]
    state = result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b"?????"
    return state.decode(), b" ".join(fields).decode(errors="replace")
