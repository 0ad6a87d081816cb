"""A wire tap: a TCP relay between a client and the edge that keeps every byte the client received.

What a driver's API shows is not all that reached the client: column names, error fields, notices and bytes that the driver threw away
are in here too. TLS is not understood; tests connect with sslmode=disable.
"""

import contextlib
import socket
import threading
from collections.abc import Generator

CHUNK = 65536


class Relay:
    """Accepts on `port` and carries bytes to `target` (host, port) and back."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._received: list[bytes] = []
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True, name="relay").start()

    def take(self) -> bytes:
        """What clients received since the last call."""
        taken, self._received = self._received, []
        return b"".join(taken)

    def close(self) -> None:
        """Stop accepting and cut every connection."""
        for sock in (self._listener, *self._open):
            with contextlib.suppress(OSError):  # the other side may have closed it already
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(self._target)
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            self._open += [client, server]
            for ends in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._carry, args=ends, daemon=True, name="relay").start()

    def _carry(self, source: socket.socket, sink: socket.socket, kept: bool) -> None:
        with contextlib.suppress(OSError):  # a peer that hung up: the other side is told below
            while data := source.recv(CHUNK):
                if kept:
                    self._received.append(data)  # before it is passed on, so that it is there when the client has it
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def relay(address: str) -> Generator[Relay]:
    """A relay to `host:port` for the length of the block."""
    host, _, port = address.rpartition(":")
    tap = Relay((host, int(port)))
    try:
        yield tap
    finally:
        tap.close()
