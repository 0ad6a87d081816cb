"""The messages of PostgreSQL's frontend/backend protocol 3: their type bytes, limits, builders and readers.

Source: PostgreSQL documentation, "Message Formats". Everything here is a function over bytes. Streams are cut into messages in
`codec`; what a message means for a session is the engine's matter. A reader that meets anything out of form raises
`ProtocolViolationError`, and never another error.
"""

import struct
from collections.abc import Iterable, Sequence

import msgspec

from gateway_kernel.errors import PeerError

KiB = 1024
MiB = 1024 * KiB

MAX_STARTUP = 10_000  # bytes; the server's own MAX_STARTUP_PACKET_LENGTH
MAX_PASSWORD = 64 * KiB  # bytes; the server's PG_MAX_AUTH_TOKEN_LENGTH, room for an Entra token
MAX_STATEMENT = 1 * MiB  # bytes of SQL text; parsing more would block the loop for more than 20 ms
MAX_BIND = 64 * MiB  # bytes of one Bind with all its values
MAX_COPY_CHUNK = 16 * MiB  # bytes of one CopyData from a client; libpq sends 8 KiB, psycopg up to 128 KiB
MAX_SMALL = 30_000  # bytes of any other frontend message; the server's PQ_SMALL_MESSAGE_LIMIT is 10,000
MAX_MESSAGE = 0x3FFFFFFF  # bytes; the server's PQ_LARGE_MESSAGE_LIMIT, nothing honest is longer

# Frontend
QUERY, PARSE, BIND, DESCRIBE, EXECUTE, CLOSE = b"QPBDEC"
SYNC, FLUSH, FUNCTION_CALL, TERMINATE = b"SHFX"
COPY_DATA, COPY_DONE, COPY_FAIL, PASSWORD = b"dcfp"

# Backend
AUTHENTICATION, PARAMETER_STATUS, BACKEND_KEY_DATA, READY_FOR_QUERY = b"RSKZ"
PARSE_COMPLETE, BIND_COMPLETE, CLOSE_COMPLETE = b"123"
ROW_DESCRIPTION, NO_DATA, PARAMETER_DESCRIPTION, DATA_ROW = b"TntD"
COMMAND_COMPLETE, EMPTY_QUERY_RESPONSE, PORTAL_SUSPENDED = b"CIs"
COPY_IN_RESPONSE, COPY_OUT_RESPONSE, COPY_BOTH_RESPONSE = b"GHW"
ERROR_RESPONSE, NOTICE_RESPONSE, NOTIFICATION_RESPONSE = b"ENA"
FUNCTION_CALL_RESPONSE, NEGOTIATE_PROTOCOL_VERSION = b"Vv"

FRONTEND_TYPES = frozenset(b"QPBDECSHFXdcfp")
BACKEND_TYPES = frozenset(b"RSKZ123TntDCIsGHWENAVvdc")

# What a client may ask before it is anybody ("SSL Session Encryption", "Canceling Requests in Progress")
SSL_REQUEST = 80877103
GSSENC_REQUEST = 80877104
CANCEL_REQUEST = 80877102
PROTOCOL_3_0 = 3 << 16
PROTOCOL_3_2 = PROTOCOL_3_0 | 2

# Authentication requests
AUTH_OK, AUTH_CLEARTEXT, AUTH_MD5, AUTH_SASL, AUTH_SASL_CONTINUE, AUTH_SASL_FINAL = 0, 3, 5, 10, 11, 12

_u32 = struct.Struct("!I")
_i32 = struct.Struct("!i")
_u16 = struct.Struct("!H")
_header = struct.Struct("!BI")


class ProtocolViolationError(PeerError):
    """A peer sent bytes that protocol 3 does not allow. The text says which message and what is wrong with it."""


class Startup(msgspec.Struct, frozen=True):
    """StartupMessage: `minor` of protocol 3 and the parameters, `_pq_.` options included."""

    minor: int
    parameters: dict[str, str]


class Cancel(msgspec.Struct, frozen=True):
    """CancelRequest: process id and secret. The secret has 4 bytes in protocol 3.0 and up to 256 in 3.2."""

    process: int
    secret: bytes


class Parse(msgspec.Struct, frozen=True):
    """Parse: statement name, SQL, and the parameter types that the client declares (0: the server infers)."""

    name: bytes
    text: bytes
    types: tuple[int, ...]


class Bind(msgspec.Struct, frozen=True):
    """Bind: which statement becomes which portal, the values (None is NULL) with a format each, and result formats as sent."""

    portal: bytes
    statement: bytes
    formats: tuple[int, ...]
    values: tuple[bytes | None, ...]
    result_formats: tuple[int, ...]


class Field(msgspec.Struct, frozen=True):
    """One column of a RowDescription. `table` and `attribute` are 0 for an expression; `format` 0 is text, 1 binary."""

    name: bytes
    table: int
    attribute: int
    type: int
    size: int
    modifier: int
    format: int


# Builders


def message(kind: int, body: bytes = b"") -> bytes:
    """One message: type byte, length (itself included), body."""
    return _header.pack(kind, len(body) + 4) + body


def query(text: bytes) -> bytes:
    return message(QUERY, text + b"\0")


def parse(name: bytes, text: bytes, types: Sequence[int] = ()) -> bytes:
    return message(PARSE, b"%b\0%b\0" % (name, text) + struct.pack(f"!H{len(types)}I", len(types), *types))


def bind(bound: Bind) -> bytes:
    """The bytes of a Bind; formats are written one a value, result formats as given."""
    parts = [bound.portal, b"\0", bound.statement, b"\0"]
    parts.append(struct.pack(f"!H{len(bound.formats)}H", len(bound.formats), *bound.formats))
    parts.append(_u16.pack(len(bound.values)))
    parts.extend(b"\xff\xff\xff\xff" if value is None else _u32.pack(len(value)) + value for value in bound.values)
    parts.append(struct.pack(f"!H{len(bound.result_formats)}H", len(bound.result_formats), *bound.result_formats))
    return message(BIND, b"".join(parts))


def describe(kind: bytes, name: bytes) -> bytes:
    """Describe a statement (`S`) or a portal (`P`)."""
    return message(DESCRIBE, kind + name + b"\0")


def execute(portal: bytes, max_rows: int = 0) -> bytes:
    return message(EXECUTE, portal + b"\0" + _u32.pack(max_rows))


def close(kind: bytes, name: bytes) -> bytes:
    return message(CLOSE, kind + name + b"\0")


SYNC_MESSAGE = message(SYNC)
FLUSH_MESSAGE = message(FLUSH)
TERMINATE_MESSAGE = message(TERMINATE)
COPY_DONE_MESSAGE = message(COPY_DONE)


def startup(parameters: dict[str, str], version: int = PROTOCOL_3_0) -> bytes:
    """A StartupMessage: no type byte."""
    pairs = b"".join(f"{name}\0{value}\0".encode() for name, value in parameters.items())
    return struct.pack("!II", len(pairs) + 9, version) + pairs + b"\0"


def cancel_request(process: int, secret: bytes) -> bytes:
    return struct.pack("!III", 12 + len(secret), CANCEL_REQUEST, process) + secret


SSL_REQUEST_MESSAGE = struct.pack("!II", 8, SSL_REQUEST)


def authentication(code: int, body: bytes = b"") -> bytes:
    return message(AUTHENTICATION, _u32.pack(code) + body)


def parameter_status(name: bytes, value: bytes) -> bytes:
    return message(PARAMETER_STATUS, b"%b\0%b\0" % (name, value))


def backend_key_data(process: int, secret: bytes) -> bytes:
    return message(BACKEND_KEY_DATA, _u32.pack(process) + secret)


def ready_for_query(status: int) -> bytes:
    """`status` is the byte `I`, `T` or `E`: idle, in a transaction, in a failed one."""
    return message(READY_FOR_QUERY, bytes((status,)))


def negotiate_protocol_version(minor: int, unrecognised: Sequence[str]) -> bytes:
    """NegotiateProtocolVersion: the newest minor version spoken here and the options that are not."""
    names = b"".join(name.encode() + b"\0" for name in unrecognised)
    return message(NEGOTIATE_PROTOCOL_VERSION, struct.pack("!II", minor, len(unrecognised)) + names)


def report(kind: int, fields: Iterable[tuple[str, str]]) -> bytes:
    """ErrorResponse or NoticeResponse from (field code, text) pairs; empty texts are left out."""
    body = b"".join(code.encode() + text.encode().replace(b"\0", b" ") + b"\0" for code, text in fields if text)
    return message(kind, body + b"\0")


def copy_in_response(columns: int, form: int = 0) -> bytes:
    return message(COPY_IN_RESPONSE, struct.pack(f"!BH{columns}H", form, columns, *([form] * columns)))


# Readers: `raw` is a whole message, header included.


def read_parse(raw: bytes) -> Parse:
    try:
        end = raw.index(0, 5)
        stop = raw.index(0, end + 1)
        (count,) = _u16.unpack_from(raw, stop + 1)
        types: tuple[int, ...] = struct.unpack_from(f"!{count}I", raw, stop + 3)
    except (ValueError, struct.error):
        raise ProtocolViolationError("Parse: a name, a text or the parameter types are cut short") from None
    _ends(raw, stop + 3 + 4 * count, "Parse")
    return Parse(raw[5:end], raw[end + 1 : stop], types)


def read_bind(raw: bytes) -> Bind:
    try:
        end = raw.index(0, 5)
        stop = raw.index(0, end + 1)
        formats, at = _formats(raw, stop + 1)
        (count,) = _u16.unpack_from(raw, at)
        at += 2
        values: list[bytes | None] = []
        for _ in range(count):
            (size,) = _i32.unpack_from(raw, at)
            at += 4
            if size < 0:
                values.append(None)
                continue
            values.append(raw[at : at + size])
            at += size
        result_formats, at = _formats(raw, at)
    except (ValueError, struct.error):
        raise ProtocolViolationError("Bind: a name, a value or a list of formats is cut short") from None
    _ends(raw, at, "Bind")
    if len(formats) not in (0, 1, count):
        raise ProtocolViolationError(f"Bind: {len(formats)} parameter formats for {count} parameters")
    each = formats * count if len(formats) == 1 else formats or (0,) * count
    if any(form > 1 for form in each) or any(form > 1 for form in result_formats):
        raise ProtocolViolationError("Bind: a format code is neither 0 (text) nor 1 (binary)")
    return Bind(raw[5:end], raw[end + 1 : stop], each, tuple(values), result_formats)


def _formats(raw: bytes, at: int) -> tuple[tuple[int, ...], int]:
    (count,) = _u16.unpack_from(raw, at)
    return struct.unpack_from(f"!{count}H", raw, at + 2), at + 2 + 2 * count


def read_query(raw: bytes) -> bytes:
    """The text of a Query."""
    if raw.find(0, 5) != len(raw) - 1:
        raise ProtocolViolationError("Query: the text does not end where the message does")
    return raw[5:-1]


def read_execute(raw: bytes) -> tuple[bytes, int]:
    """(portal, the most rows wanted or 0) of an Execute."""
    end = raw.find(0, 5)
    if end < 0 or len(raw) != end + 5:
        raise ProtocolViolationError("Execute: the portal name or the row count is cut short")
    rows: int = _i32.unpack_from(raw, end + 1)[0]
    return raw[5:end], max(rows, 0)


def read_target(raw: bytes) -> tuple[bytes, bytes]:
    """(`S` or `P`, name) of a Describe or Close."""
    if len(raw) < 7 or raw[5] not in b"SP" or raw.find(0, 6) != len(raw) - 1:
        raise ProtocolViolationError(f"{chr(raw[0])}: names neither a statement nor a portal")
    return raw[5:6], raw[6:-1]


def read_password(raw: bytes) -> bytes:
    """The text of a PasswordMessage."""
    if raw[0] != PASSWORD or raw.find(0, 5) != len(raw) - 1:
        raise ProtocolViolationError("PasswordMessage expected")
    return raw[5:-1]


def read_startup(raw: bytes) -> Startup:
    """A StartupMessage (no type byte) of protocol 3."""
    (version,) = _u32.unpack_from(raw, 4)
    if version >> 16 != 3:
        raise ProtocolViolationError(f"StartupMessage: protocol {version >> 16}.{version & 0xFFFF} is not spoken here")
    parts = raw[8:].split(b"\0")
    # Pairs of zero-terminated strings, then one zero byte: the split ends with two empty pieces.
    if len(parts) < 2 or parts[-2:] != [b"", b""] or len(parts) % 2:
        raise ProtocolViolationError("StartupMessage: the parameters are not pairs of strings")
    try:
        words = [part.decode() for part in parts[:-2]]
    except UnicodeDecodeError:
        raise ProtocolViolationError("StartupMessage: a parameter is not UTF-8") from None
    if "" in words[::2]:
        raise ProtocolViolationError("StartupMessage: a parameter has no name")
    return Startup(version & 0xFFFF, dict(zip(words[::2], words[1::2], strict=True)))


def read_cancel(raw: bytes) -> Cancel:
    """A CancelRequest (no type byte)."""
    if not 16 <= len(raw) <= 12 + 256:
        raise ProtocolViolationError("CancelRequest: the secret has no allowed length")
    return Cancel(_u32.unpack_from(raw, 8)[0], raw[12:])


def read_report(raw: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse by code."""
    fields: dict[str, str] = {}
    for part in raw[5:].split(b"\0"):
        if part:
            fields[chr(part[0])] = part[1:].decode(errors="replace")
    return fields


def read_parameter_status(raw: bytes) -> tuple[bytes, bytes]:
    parts = raw[5:].split(b"\0")
    if len(parts) != 3 or parts[2]:
        raise ProtocolViolationError("ParameterStatus: not a name and a value")
    return parts[0], parts[1]


def read_backend_key(raw: bytes) -> tuple[int, bytes]:
    if len(raw) < 13:
        raise ProtocolViolationError("BackendKeyData: too short")
    return _u32.unpack_from(raw, 5)[0], raw[9:]


def read_parameter_description(raw: bytes) -> tuple[int, ...]:
    """The type oids of a statement's parameters."""
    try:
        (count,) = _u16.unpack_from(raw, 5)
        return struct.unpack_from(f"!{count}I", raw, 7)
    except struct.error:
        raise ProtocolViolationError("ParameterDescription: cut short") from None


def read_row_description(raw: bytes) -> tuple[Field, ...]:
    """The columns of a result."""
    fields: list[Field] = []
    try:
        (count,) = _u16.unpack_from(raw, 5)
        at = 7
        for _ in range(count):
            end = raw.index(0, at)
            fields.append(Field(raw[at:end], *struct.unpack_from("!IHIhiH", raw, end + 1)))
            at = end + 19
    except (ValueError, struct.error):
        raise ProtocolViolationError("RowDescription: a column is cut short") from None
    return tuple(fields)


def read_tag(raw: bytes) -> tuple[str, int]:
    """(command tag, rows that it names or 0) of a CommandComplete: `UPDATE 3` is ("UPDATE 3", 3)."""
    tag = raw[5:-1].decode(errors="replace")
    last = tag.rpartition(" ")[2]
    return tag, int(last) if last.isascii() and last.isdigit() else 0


def _ends(raw: bytes, at: int, what: str) -> None:
    if at != len(raw):
        raise ProtocolViolationError(f"{what}: {len(raw)} bytes announced, {at} described by its content")
