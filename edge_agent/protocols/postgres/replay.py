"""Recorded responses read back: the frames that were kept (RowDescription, DataRow, CopyData), as masked, as tables.

A body that was cut short (`record: head`) gives the rows that are whole. Nothing is unmasked here: what is hidden was never recorded.
"""

import struct
from collections.abc import Iterator

from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.replay import Grid
from gateway_kernel.model import Parameter
from gateway_kernel.parse.sql.parameters import text_of

_ROWS = ord("D")
_DESCRIPTION = ord("T")
_COPY = ord("d")


def postgres_grids(body: bytes) -> tuple[Grid, ...]:
    """One table for each result in `body`, in order."""
    grids: list[Grid] = []
    fields: tuple[m.Field, ...] = ()
    columns: tuple[str, ...] = ()
    rows: list[tuple[str | None, ...]] = []

    def finish() -> None:
        if columns or rows:
            names = columns or tuple(f"column {number}" for number in range(1, len(rows[0]) + 1))
            grids.append(Grid(names, tuple(rows)))
            rows.clear()

    for kind, frame in _frames(body):
        if kind == _DESCRIPTION:
            finish()
            fields = m.read_row_description(frame)
            columns = tuple(field.name.decode(errors="replace") for field in fields)
        elif kind == _ROWS:
            rows.append(tuple(_cells(frame, fields)))
        elif kind == _COPY:
            columns = columns or ("COPY",)
            rows.append((frame[5:].decode(errors="backslashreplace").rstrip("\n"),))
    finish()
    return tuple(grids)


def _frames(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Whole frames only; the last one may have been cut off."""
    at = 0
    while at + 5 <= len(body):
        end = at + 1 + int.from_bytes(body[at + 1 : at + 5])
        if end > len(body) or end < at + 5:
            return
        yield body[at], body[at:end]
        at = end


def _cells(frame: bytes, fields: tuple[m.Field, ...]) -> Iterator[str | None]:
    (count,) = struct.unpack_from("!H", frame, 5)
    at = 7
    for position in range(count):
        (size,) = struct.unpack_from("!i", frame, at)
        at += 4
        if size < 0:
            yield None
            continue
        yield _readable(frame[at : at + size], fields[position] if position < len(fields) else None)
        at += size


def _readable(value: bytes, field: m.Field | None) -> str:
    """Text as it is; binary as the server would print it, or else in hexadecimal."""
    if field is None or field.format == 0:
        return value.decode(errors="backslashreplace")
    text = text_of(Parameter(str(field.type), value, "binary"))
    return f"\\x{value.hex()}" if text is None else text
