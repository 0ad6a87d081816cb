"""A bound PostgreSQL value in binary form, as the server would print it: what a policy's `sql.parameters` shows.

Only types whose binary form is exact and small (each type's `_send` function in the server's source) are read; of any other the
answer is None, and a rule that asks for the parameters then denies. It encodes nothing.
"""

import struct
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from gateway_kernel.model import Parameter

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's
_DIGITS = 4  # decimal digits in one of numeric's own digits (NBASE 10000, utils/adt/numeric.c)
_MAX_SCALE = 16_383
_NEGATIVE = 0x4000


def _integer(value: bytes) -> str:
    return str(int.from_bytes(value, signed=True))


def _bool(value: bytes) -> str:
    return {b"\x00": "f", b"\x01": "t"}[value]


def _numeric(value: bytes) -> str:
    count, weight, sign, scale = struct.unpack_from("!HhHH", value)
    if sign not in (0, _NEGATIVE) or scale > _MAX_SCALE:
        raise ValueError("not a finite number")
    digits = struct.unpack_from(f"!{count}H", value, 8)
    if len(value) != 8 + 2 * count or any(digit > 9999 for digit in digits):
        raise ValueError("not a numeric")

    def group(position: int) -> str:
        return f"{digits[position]:04d}" if 0 <= position < count else "0000"

    whole = "".join(group(position) for position in range(weight + 1)).lstrip("0") or "0"
    behind = "".join(group(position) for position in range(weight + 1, weight + 2 + scale // _DIGITS))[:scale]
    return ("-" if sign else "") + whole + (f".{behind}" if scale else "")


def _date(value: bytes) -> str:
    days = int.from_bytes(value, signed=True)
    return str(date(2000, 1, 1) + timedelta(days=days))


def _timestamp(value: bytes) -> str:
    moment = _EPOCH + timedelta(microseconds=int.from_bytes(value, signed=True))
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return moment.strftime("%Y-%m-%d %H:%M:%S") + fraction


def _timestamptz(value: bytes) -> str:
    return _timestamp(value) + "+00"


def _jsonb(value: bytes) -> str:
    if value[:1] != b"\x01":
        raise ValueError("an unknown version of jsonb")
    return value[1:].decode()


_ENTRIES: tuple[tuple[int, str, int | None, Callable[[bytes], str]], ...] = (
    # oid, name, length of the binary form (None: any), reader
    (16, "bool", 1, _bool),
    (17, "bytea", None, lambda value: "\\x" + value.hex()),
    (18, "char", 1, bytes.decode),
    (19, "name", None, bytes.decode),
    (20, "int8", 8, _integer),
    (21, "int2", 2, _integer),
    (23, "int4", 4, _integer),
    (25, "text", None, bytes.decode),
    (26, "oid", 4, lambda value: str(int.from_bytes(value))),
    (114, "json", None, bytes.decode),
    (705, "unknown", None, bytes.decode),
    (1042, "bpchar", None, bytes.decode),
    (1043, "varchar", None, bytes.decode),
    (1082, "date", 4, _date),
    (1114, "timestamp", 8, _timestamp),
    (1184, "timestamptz", 8, _timestamptz),
    (1700, "numeric", None, _numeric),
    (2950, "uuid", 16, lambda value: str(uuid.UUID(bytes=value))),
    (3802, "jsonb", None, _jsonb),
)
_READERS = {key: (length, read) for oid, name, length, read in _ENTRIES for key in (str(oid), name)}


def text_of(parameter: Parameter) -> str | None:
    """Return the value as text, "" for NULL, None where it cannot be told."""
    value = parameter.value
    if value is None:
        return ""
    try:
        if parameter.form == "text":
            return value.decode()
        length, read = _READERS[parameter.type]
        if length is not None and len(value) != length:
            return None
        return read(value)
    except (KeyError, ValueError, OverflowError, struct.error):
        return None
