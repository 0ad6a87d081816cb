"""The smallest PostgreSQL client: sends one query and counts the bytes of its answer, so that the client is not what is measured.

Cleartext password only; no TLS; reads nothing but message headers.
"""

import socket
import struct
import time

CHUNK = 1 << 20


class Reader:
    """One connection."""

    def __init__(self, host: str, port: int, user: str, password: str, database: str) -> None:
        self._socket = socket.create_connection((host, port), timeout=60)
        parameters = f"user\0{user}\0database\0{database}\0\0".encode()
        self._socket.sendall(struct.pack("!II", len(parameters) + 8, 196608) + parameters)
        kind, body = self._message()
        if kind == b"R" and body[:4] == b"\0\0\0\3":
            secret = password.encode() + b"\0"
            self._socket.sendall(b"p" + struct.pack("!I", len(secret) + 4) + secret)
        elif kind != b"R" or body[:4] != b"\0\0\0\0":
            raise ConnectionError(f"unexpected answer {kind!r} {body[:80]!r}")
        while True:
            kind, body = self._message()
            if kind == b"E":
                raise ConnectionError(body.decode(errors="replace"))
            if kind == b"Z":
                return

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            chunk = self._socket.recv(size - len(data))
            if not chunk:
                raise ConnectionError("closed")
            data += chunk
        return bytes(data)

    def _message(self) -> tuple[bytes, bytes]:
        kind, length = struct.unpack("!cI", self._exactly(5))
        return kind, self._exactly(length - 4)

    def read_all(self, query: str) -> tuple[int, float]:
        """Run `query`; the bytes received and the seconds it took. Raises if it ended with an error."""
        text = query.encode() + b"\0"
        started = time.perf_counter()
        self._socket.sendall(b"Q" + struct.pack("!I", len(text) + 4) + text)
        total, tail = 0, b""
        ready = (b"Z\0\0\0\5I", b"Z\0\0\0\5E")
        while not tail.endswith(ready):
            chunk = self._socket.recv(CHUNK)
            if not chunk:
                raise ConnectionError("closed in the middle of the answer")
            total += len(chunk)
            tail = (tail + chunk)[-512:]
        if b"SERROR\0" in tail:
            raise ConnectionError(tail.decode(errors="replace"))
        return total, time.perf_counter() - started

    def close(self) -> None:
        """Terminate."""
        self._socket.sendall(b"X\0\0\0\4")
        self._socket.close()
