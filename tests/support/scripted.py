"""An HTTP upstream that says what a test tells it to, byte for byte, and keeps what it was asked."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Generator

RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a RST

type Script = Callable[[socket.socket], None]
"""What is done with a connection once the head of a request has arrived on it. The connection is closed behind it."""


class Scripted:
    """Listens on `port`; `asked` are the heads of the requests that arrived, oldest first."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True, name="scripted").start()

    def close(self) -> None:
        """Take no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:  # closed
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True, name="scripted").start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                piece = sock.recv(65536)
                if not piece:
                    return
                head += piece
            self.asked.append(head)
            self.script(sock)


def says(data: bytes) -> Script:
    """Send this and close."""
    return lambda sock: sock.sendall(data)


def says_and_waits(data: bytes) -> Script:
    """Send this and keep the connection until the other side ends it."""

    def script(sock: socket.socket) -> None:
        sock.sendall(data)
        while sock.recv(65536):
            pass

    return script


def says_and_resets(data: bytes) -> Script:
    """Send this and reset."""

    def script(sock: socket.socket) -> None:
        sock.sendall(data)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    return script


def says_without_end(first: bytes, again: bytes) -> Script:
    """Send the first and then the other for as long as somebody listens."""

    def script(sock: socket.socket) -> None:
        sock.sendall(first)
        while True:
            sock.sendall(again)

    return script


@contextlib.contextmanager
def scripted(script: Script) -> Generator[Scripted]:
    """Such an upstream for the length of the block."""
    found = Scripted(script)
    try:
        yield found
    finally:
        found.close()
