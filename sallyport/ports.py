"""Choosing a port for a program that must be told one, and waiting for a program to listen on it."""

import socket
import threading
import time


def unused_port() -> int:
    """A TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, limit: float = 30.0) -> None:
    """Return once somebody listens on this port of the loopback interface; TimeoutError after `limit` seconds."""
    pause, deadline = threading.Event(), time.monotonic() + limit
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), limit).close()
        except ConnectionError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nobody listens on port {port} after {limit:g} s") from None
            pause.wait(0.05)
        else:
            return
