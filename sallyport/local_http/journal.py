"""The service's own journal: every request as its bytes arrived on the socket, before any library has read them.

A `Conversation` follows one connection and divides it into messages by the plainest reading of RFC 9112: a head up to the empty line, then a
body by Content-Length or chunks. Bytes that it cannot divide are kept as one entry that is not `complete`: nothing that arrived is lost.
Long bodies are counted and digested, not kept.
"""

import hashlib
import itertools
import threading
from collections.abc import Iterator
from typing import Any

import msgspec

KEPT = 1 << 20  # bytes of one request that the journal keeps
_END = b"\r\n\r\n"


class Reading(msgspec.Struct, frozen=True):
    """How the service's HTTP library read a head."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]


class Received(msgspec.Struct):
    """One request. `raw` are its bytes as they arrived, the first MiB; `digest` is the SHA-256 of the body without its framing."""

    connection: int
    raw: bytes = b""
    method: str = ""
    target: str = ""
    version: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    length: int = 0
    digest: str = ""
    trailers: tuple[tuple[str, str], ...] = ()
    complete: bool = False
    read: Reading | None = None
    messages: tuple[bytes, ...] = ()
    """What came over the WebSocket that this request opened."""

    def header(self, name: str) -> str:
        """The header's value; "" if there is none, all of them if there are several."""
        return ", ".join(value for key, value in self.headers if key.lower() == name.lower())

    @property
    def line(self) -> str:
        """Method and target."""
        return f"{self.method} {self.target}"


class Journal:
    """All requests of one service, oldest first. Written by the service's thread, read by its owner's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Received] = []
        self._connections = itertools.count(1)

    def conversation(self) -> "Conversation":
        """A connection was accepted."""
        return Conversation(self, next(self._connections))

    def add(self, entry: Received) -> None:
        """A request begins."""
        with self._lock:
            self._entries.append(entry)

    def change(self, entry: Received, **fields: Any) -> None:
        """More of it is known."""
        with self._lock:
            for name, value in fields.items():
                setattr(entry, name, value)

    def entries(self) -> list[Received]:
        """Copies of what is known now."""
        with self._lock:
            return [msgspec.structs.replace(entry) for entry in self._entries]

    def clear(self) -> None:
        """Forget what was received so far."""
        with self._lock:
            self._entries.clear()


class Conversation:
    """One connection's bytes, divided into requests as they arrive."""

    def __init__(self, journal: Journal, number: int) -> None:
        self._journal = journal
        self._number = number
        self._bytes = bytearray()
        self._requests: list[Received] = []
        self._reader = self._read()
        self._wanted = next(self._reader)

    def feed(self, data: bytes) -> None:
        """Bytes arrived."""
        self._bytes += data
        while self._bytes and self._wanted(self._bytes):
            self._wanted = next(self._reader)

    def closed(self) -> None:
        """The connection ended: what stands there without an end is an entry, too."""
        if self._bytes:
            self._journal.add(Received(self._number, bytes(self._bytes[:KEPT])))
            self._bytes.clear()

    def take(self) -> Received:
        """The oldest request that nobody took yet: the service's library reads them in the same order."""
        return self._requests.pop(0)

    def message(self, entry: Received, data: bytes) -> None:
        """A WebSocket message came in."""
        self._journal.change(entry, messages=(*entry.messages, data))

    def read(self, entry: Received, reading: Reading) -> None:
        """The service's library has read this head."""
        self._journal.change(entry, read=reading)

    # A generator of tests: each says whether the bytes that have arrived are enough to go on.

    def _read(self) -> Iterator[Any]:
        while True:
            yield lambda data: data.find(_END) >= 0
            head = self._taken(self._bytes.find(_END) + len(_END))
            entry = Received(self._number, head[:KEPT])
            _parse(entry, head)
            self._requests.append(entry)
            self._journal.add(entry)
            digest = hashlib.sha256()
            if entry.header("upgrade"):
                yield from self._rest(entry)
            elif "chunked" in entry.header("transfer-encoding").lower():
                yield from self._chunks(entry, digest)
            elif (length := entry.header("content-length")).isdecimal():
                yield from self._body(entry, int(length), digest)
            self._journal.change(entry, complete=True, digest=digest.hexdigest())

    def _rest(self, entry: Received) -> Iterator[Any]:
        """Another protocol from here on."""
        self._journal.change(entry, complete=True)
        while True:
            yield bool
            self._keep(entry, self._taken(len(self._bytes)))

    def _body(self, entry: Received, length: int, digest: Any) -> Iterator[Any]:
        while length:
            yield bool
            piece = self._taken(min(length, len(self._bytes)))
            length -= len(piece)
            self._keep(entry, piece, len(piece))
            digest.update(piece)

    def _chunks(self, entry: Received, digest: Any) -> Iterator[Any]:
        while True:
            yield lambda data: data.find(b"\r\n") >= 0
            line = self._taken(self._bytes.find(b"\r\n") + 2)
            self._keep(entry, line)
            size = int(line.partition(b";")[0], 16)
            if not size:
                break
            yield from self._body(entry, size, digest)
            yield lambda data: len(data) >= 2
            self._keep(entry, self._taken(2))
        while True:
            yield lambda data: data.find(b"\r\n") >= 0
            line = self._taken(self._bytes.find(b"\r\n") + 2)
            self._keep(entry, line)
            if line == b"\r\n":
                return
            self._journal.change(entry, trailers=(*entry.trailers, _field(line.decode("latin-1"))))

    def _taken(self, count: int) -> bytes:
        taken = bytes(self._bytes[:count])
        del self._bytes[:count]
        return taken

    def _keep(self, entry: Received, piece: bytes, counted: int = 0) -> None:
        room = max(0, KEPT - len(entry.raw))
        kept = entry.raw + piece[:room] if room else entry.raw
        self._journal.change(entry, raw=kept, length=entry.length + counted)


def _parse(entry: Received, head: bytes) -> None:
    first, *lines = head.decode("latin-1").split("\r\n")
    entry.method, _, rest = first.partition(" ")
    entry.target, _, entry.version = rest.rpartition(" ")
    entry.headers = tuple(_field(line) for line in lines if line)


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.strip("\r\n").partition(":")
    return name, value.strip()
