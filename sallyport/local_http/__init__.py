"""A real HTTP service on this machine, for the demo and tests, and its own journal of what really arrived.

`running_http()` serves "billing" (customers with personal data, orders, a counter, streams, files) on a port that the system chose, in a thread
of its own. Only who brings its secret is served. `Http.journal` tells each request as its bytes arrived, to its owner alone: a test asserts on
what upstream received and not on what we said. It starts no gateway and knows nothing of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import ssl
import tempfile
import threading
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from sallyport.local_http.billing import Billing
from sallyport.local_http.journal import Conversation, Journal, Reading, Received
from sallyport.local_postgres import self_signed

__all__ = ["Http", "Reading", "Received", "running_http"]

START_LIMIT = 20.0  # seconds until the thread must serve
_QUIET = logging.getLogger("sallyport.local_http")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False  # what clients do wrong is in the journal
LARGEST_HEAD = 1 << 20
"""Larger than whatever the edge lets pass: what arrives is to be seen."""


class _Tap(asyncio.Protocol):
    """Notes the bytes of one connection and hands them on to aiohttp."""

    def __init__(self, inner: web.RequestHandler, conversation: Conversation) -> None:
        self._inner = inner
        self._conversation = conversation

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._conversation.feed(data)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._conversation.closed()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


@dataclass(slots=True)
class Http:
    """One running service. `secret` is its credential: as Bearer token, as password of user `app`, or as the query's `api_key`."""

    billing: Billing
    received: Journal
    port: int = 0
    tls: bool = False
    certificate: Path = Path()
    host: str = "127.0.0.1"
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def secret(self) -> str:
        """What opens it."""
        return self.billing.secret

    @property
    def origin(self) -> str:
        """Scheme and authority."""
        return f"{'https' if self.tls else 'http'}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"{self.host}:{self.port}"

    @property
    def counter(self) -> int:
        """What `POST /counter` counts."""
        return self.billing.counter

    def journal(self) -> list[Received]:
        """Every request that arrived since the last `clear_journal`, oldest first."""
        return self.received.entries()

    def clear_journal(self) -> None:
        """Forget what arrived."""
        self.received.clear()


@contextlib.contextmanager
def running_http(
    collections: Mapping[str, Sequence[dict[str, Any]]] | None = None, *, tls: bool = False, obliging: bool = False
) -> Generator[Http]:
    """The service for the length of the block. `collections` replace its data; an `obliging` one has an answer for every path."""
    service = Http(Billing(secrets.token_urlsafe(24), collections, obliging=obliging), Journal(), tls=tls)
    failed: list[BaseException] = []
    ready, stop = threading.Event(), threading.Event()
    with tempfile.TemporaryDirectory(prefix="sallyport-http-") as directory:
        context = _context(service, Path(directory)) if tls else None

        def serve() -> None:
            try:
                asyncio.run(_serve(service, context, ready, stop))
            except BaseException as error:
                failed.append(error)
                raise
            finally:
                ready.set()

        thread = threading.Thread(target=serve, daemon=True, name="local http")
        thread.start()
        ready.wait(START_LIMIT)
        if failed or not service.port:
            raise RuntimeError(f"the HTTP service did not start: {failed}")
        try:
            yield service
        finally:
            service.billing.end_events()
            stop.set()
            thread.join(START_LIMIT)


def _context(service: Http, directory: Path) -> ssl.SSLContext:
    service.certificate, key = self_signed(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(service.certificate, key)
    return context


async def _serve(service: Http, context: ssl.SSLContext | None, ready: threading.Event, stop: threading.Event) -> None:
    runner = web.AppRunner(
        service.billing.application(), access_log=None, logger=_QUIET, auto_decompress=False, max_line_size=LARGEST_HEAD,
        max_field_size=LARGEST_HEAD, max_headers=1000, shutdown_timeout=0.5,
    )  # fmt: skip
    await runner.setup()
    assert runner.server is not None
    make = runner.server

    def connected() -> asyncio.Protocol:
        inner: web.RequestHandler = make()
        conversation = service.received.conversation()
        service.billing.conversations[inner] = conversation
        return _Tap(inner, conversation)

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(connected, service.host, 0, ssl=context, backlog=1024)
    service.port = listener.sockets[0].getsockname()[1]
    ready.set()
    await asyncio.to_thread(stop.wait)
    listener.close()
    await runner.cleanup()
