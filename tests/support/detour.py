"""A TCP detour that a test can cut, or change what comes back through: between the edge and whatever it talks to."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Generator

CHUNK = 65536
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with a RST


class Detour:
    """Accepts on `port` and carries bytes to `target`; what comes back goes through `change`."""

    def __init__(self, target: tuple[str, int], change: Callable[[bytes], bytes]) -> None:
        self._target = target
        self._change = change
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.carried = 0  # bytes that came back
        threading.Thread(target=self._accept, daemon=True, name="detour").start()

    def cut(self) -> None:
        """Reset every connection and take no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):  # its other side may have ended it already
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:  # cut
                return
            far = socket.create_connection(self._target)
            self._open += [near, far]
            for source, sink, change in ((near, far, bytes), (far, near, self._back)):
                threading.Thread(target=self._carry, args=(source, sink, change), daemon=True, name="detour").start()

    def _back(self, data: bytes) -> bytes:
        self.carried += len(data)
        return self._change(data)

    def _carry(self, source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]) -> None:
        with contextlib.suppress(OSError):  # one side is gone: the other is told below
            while data := source.recv(CHUNK):
                sink.sendall(change(data))
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def detour(host: str, port: int, change: Callable[[bytes], bytes] = bytes) -> Generator[Detour]:
    """A detour to this address for the length of the block."""
    way = Detour((host, port), change)
    try:
        yield way
    finally:
        way.cut()
