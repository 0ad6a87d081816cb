"""Raw HTTP/1.1 as a client may send it, over a socket, and answers read by h11, a library that the product does not use."""

import contextlib
import socket
from types import TracebackType
from typing import NamedTuple, Self

import h11

LIMIT = 30.0  # seconds for one answer: longer than the edge holds an agent that waits for people
LARGEST_HEAD = 4 << 20
KEPT = 64 << 20

type Fields = tuple[tuple[str, str], ...]


class Reply(NamedTuple):
    """One response: names as they were written. `interim` are the 1xx before it; `ends` is true if it ended the connection."""

    status: int
    reason: str
    version: str
    headers: Fields
    body: bytes
    trailers: Fields
    interim: tuple[tuple[int, Fields], ...]
    ends: bool

    def header(self, name: str) -> str:
        """The value; "" if there is none, all of them if there are several."""
        return ", ".join(value for key, value in self.headers if key.lower() == name.lower())


class Lost(ConnectionError):  # noqa: N818  the same as its base
    """The connection ended before the answer did."""


class Wire:
    """One connection. A context manager."""

    def __init__(self, host: str, port: int) -> None:
        self.sock = socket.create_connection((host, port), LIMIT)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._left = b""
        self._gone = False
        self.received = bytearray()
        """The bytes that came, the first 64 MB, for who looks for what must not be there."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Send all of it; whether the other side still listens shows in what it answers."""
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(data)

    def half_close(self) -> None:
        """No more will be sent."""
        self.sock.shutdown(socket.SHUT_WR)

    def more(self) -> bytes:
        """The next bytes; nothing at the end of the connection."""
        if self._left:
            data, self._left = self._left, b""
            return data
        try:
            data = self.sock.recv(1 << 18)
        except ConnectionError:
            data = b""
        self._gone |= not data
        if len(self.received) < KEPT:
            self.received += data
        return data

    def reply(self, method: str = "GET", *, upgrade: str = "") -> Reply:
        """The answer to the oldest request that has none yet; raise `Lost` if there is no whole one."""
        reader = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_HEAD)
        asked = [("Host", "x"), *([("Connection", "upgrade"), ("Upgrade", upgrade)] if upgrade else [])]
        reader.send(h11.Request(method=method, target="/", headers=asked))
        reader.send(h11.EndOfMessage())
        interim: list[tuple[int, Fields]] = []
        head: h11.Response | None = None
        body = bytearray()
        while True:
            try:
                event = reader.next_event()
            except h11.RemoteProtocolError as error:
                if self._gone:
                    raise Lost(f"{error}; received {bytes(self.received[-500:])!r}") from None
                raise
            if event is h11.NEED_DATA:
                reader.receive_data(self.more())
            elif isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    self._left = reader.trailing_data[0]
                    return _reply(event, b"", (), interim, ends=False)
                interim.append((event.status_code, _fields(event.headers.raw_items())))
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                self._left = reader.trailing_data[0]
                ends = self._gone or reader.their_state is h11.MUST_CLOSE
                return _reply(head, bytes(body), _fields(event.headers.raw_items()), interim, ends=ends)
            elif isinstance(event, h11.ConnectionClosed):
                raise Lost("the connection was closed")

    def until(self, end: bytes) -> bytes:
        """Everything up to these bytes; raise `Lost` if they do not come."""
        data = bytearray()
        while end not in data:
            piece = self.more()
            if not piece:
                raise Lost(f"no {end!r} in {bytes(data)!r}")
            data += piece
        at = data.find(end) + len(end)
        self._left = bytes(data[at:])
        return bytes(data[:at])

    def rest(self) -> bytes:
        """Everything to the end of the connection."""
        data = bytearray()
        while piece := self.more():
            data += piece
        return bytes(data)


def _reply(
    head: h11.Response | h11.InformationalResponse,
    body: bytes,
    trailers: Fields,
    interim: list[tuple[int, Fields]],
    *,
    ends: bool,
) -> Reply:
    version, reason = head.http_version.decode(), head.reason.decode("latin-1")
    return Reply(
        head.status_code, reason, version, _fields(head.headers.raw_items()), body, trailers, tuple(interim), ends
    )


def _fields(items: list[tuple[bytes, bytes]]) -> Fields:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in items)
