"""Cuts a byte stream into messages of protocol 3, however it was chunked. Sans IO: bytes in, messages out.

`FrontendCodec` reads what clients say, `BackendCodec` what a server says while it is set up or asked in-band; the bulk of a
server's answers is relayed by `backend` without being cut here. Neither knows what a message means.
"""

import struct

from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.postgres.messages import Cancel, ProtocolViolationError, Startup

type Message = tuple[int, bytes]
"""(type byte, the whole message with its header)."""

type Opening = Startup | Cancel | int
"""What a client may say first: a StartupMessage, a CancelRequest, or the code of an encryption request."""

_LIMITS = {
    m.QUERY: m.MAX_STATEMENT,
    m.PARSE: m.MAX_STATEMENT,
    m.BIND: m.MAX_BIND,
    m.COPY_DATA: m.MAX_COPY_CHUNK,
    m.PASSWORD: m.MAX_PASSWORD,
}
# Of these a client may send too much and live: the message is skipped, and refused as an operation.
_SKIPPABLE = frozenset((m.QUERY, m.PARSE, m.BIND))

_u32 = struct.Struct("!I").unpack_from
_header = struct.Struct("!BI").unpack_from


class FrontendCodec:
    """A client's stream: openings first, typed messages once `begin` was called.

    An oversize Query, Parse or Bind comes out as (type, b"") as soon as its header is seen; its body is thrown away as it
    arrives. Every other breach raises `ProtocolViolationError`, after which the stream cannot be read on.
    """

    __slots__ = ("_buffer", "_need", "_parts", "_skip", "authenticated")

    def __init__(self) -> None:
        self._buffer = b""
        self._parts: list[bytes] = []
        self._need = 0
        self._skip = 0
        self.authenticated = False

    @property
    def buffered(self) -> int:
        """Bytes kept for messages that are not whole yet."""
        return len(self._buffer) + sum(map(len, self._parts))

    @property
    def pending(self) -> bool:
        """True in the middle of a message."""
        return bool(self._buffer or self._need or self._skip or self._parts)

    def opening(self, data: bytes) -> Opening | None:
        """Add bytes; return the client's opening once it is whole. Bytes behind it stay for the next call."""
        self._buffer += data
        if len(self._buffer) < 4:
            return None
        size: int = _u32(self._buffer)[0]
        if not 8 <= size <= m.MAX_STARTUP:
            raise ProtocolViolationError(f"the first message announces {size} bytes; is this a PostgreSQL client?")
        if len(self._buffer) < size:
            return None
        raw, self._buffer = self._buffer[:size], self._buffer[size:]
        code: int = _u32(raw, 4)[0]
        if code == m.CANCEL_REQUEST:
            return m.read_cancel(raw)
        if code in (m.SSL_REQUEST, m.GSSENC_REQUEST):
            if size != 8:
                raise ProtocolViolationError("an encryption request has a body")
            return code
        return m.read_startup(raw)

    def feed(self, data: bytes) -> list[Message]:
        """Add bytes of the typed part of the stream; return the messages that are whole now."""
        if self._need:
            self._parts.append(data)
            self._need -= len(data)
            if self._need > 0:
                return []
            data = b"".join(self._parts)
            self._parts.clear()
            self._need = 0
        elif self._buffer:
            data = self._buffer + data
        self._buffer = b""

        found: list[Message] = []
        at, size = min(self._skip, len(data)), len(data)
        self._skip -= at
        while size - at >= 5:
            kind, length = _header(data, at)
            end = at + 1 + length
            if length > m.MAX_SMALL or length < 4 or kind not in m.FRONTEND_TYPES or not self.authenticated:
                self._check(kind, length)
                if length > _LIMITS.get(kind, m.MAX_SMALL):
                    found.append((kind, b""))
                    at = min(end, size)
                    self._skip = end - at
                    continue
            if end > size:
                self._need = end - size
                break
            found.append((kind, data[at:end]))
            at = end
        self._keep(data, at)
        return found

    def _keep(self, data: bytes, at: int) -> None:
        rest = data[at:] if at else data
        if self._need:
            self._parts.append(rest)
        else:
            self._buffer = rest

    def _check(self, kind: int, length: int) -> None:
        """Raise unless this header may stand here; oversize is allowed through for what can be skipped."""
        if kind not in m.FRONTEND_TYPES:
            raise ProtocolViolationError(f"unknown message type {kind:#04x}")
        if not self.authenticated and kind not in (m.PASSWORD, m.TERMINATE):
            raise ProtocolViolationError(f"message {chr(kind)!r} before authentication")
        if not 4 <= length <= m.MAX_MESSAGE:
            raise ProtocolViolationError(f"message {chr(kind)!r} announces {length} bytes")
        if length > _LIMITS.get(kind, m.MAX_SMALL) and (kind not in _SKIPPABLE or not self.authenticated):
            raise ProtocolViolationError(f"message {chr(kind)!r} announces {length} bytes, more than it may have here")


class BackendCodec:
    """A server's stream, message by message; `limit` bounds what one message may hold."""

    __slots__ = ("_buffer", "limit")

    def __init__(self, limit: int = m.MiB) -> None:
        self._buffer = b""
        self.limit = limit

    def feed(self, data: bytes) -> list[Message]:
        """Add bytes; return the messages that are whole now."""
        if self._buffer:
            data = self._buffer + data
        found: list[Message] = []
        at, size = 0, len(data)
        while size - at >= 5:
            kind, length = _header(data, at)
            check_backend(kind, length)
            if length > self.limit:
                raise ProtocolViolationError(f"server message {chr(kind)!r} announces {length} bytes here")
            end = at + 1 + length
            if end > size:
                break
            found.append((kind, data[at:end]))
            at = end
        self._buffer = data[at:] if at else data
        return found

    def rest(self) -> bytes:
        """Hand over the bytes that are not a whole message yet."""
        rest, self._buffer = self._buffer, b""
        return rest


def check_backend(kind: int, length: int) -> None:
    """Raise `ProtocolViolationError` unless a server may send a message with this header."""
    if kind not in m.BACKEND_TYPES or not 4 <= length <= m.MAX_MESSAGE:
        raise ProtocolViolationError(f"server message of type {kind:#04x} announces {length} bytes")
