"""Connections to upstreams: opened, reused, and given one request at a time. Nothing is sent twice.

A connection goes back to its pool only if the response ended as it said it would and nothing came behind it; whatever an upstream sends unasked
ends the connection, so it can never be taken for the answer to another agent's request.
"""

import asyncio
import os
import ssl
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, cast
from typing import Protocol as Interface

from edge_agent.gateway import Upstream
from edge_agent.protocols.http.codec import ResponseCodec
from edge_agent.protocols.http.messages import End, PeerError, ResponseHead

if TYPE_CHECKING:
    from edge_agent.protocols.http._rounds import Rounds

CONNECT_LIMIT = 15.0  # seconds for connecting and TLS together
KEPT_IDLE = 30.0  # seconds for which an unused connection is offered again; upstreams close them, often after 60
MAX_IDLE = 128  # connections of one upstream that wait unused
WRITE_BUFFER = 1 << 20  # bytes for an upstream before the agent is not read any more


class UpstreamError(Exception):
    """The upstream cannot be used. The text holds no secret."""


class Receiver(Interface):
    """Whoever sent the request that a connection carries."""

    @property
    def sent_whole(self) -> bool:
        """True once all of the request was sent: before that its connection can carry no other."""
        ...

    def responded(self, head: ResponseHead) -> None: ...

    def arrived(self, data: bytes) -> None: ...

    def ended(self, trailers: End) -> None:
        """The response is whole. The connection has another receiver, or none, by now."""
        ...

    def broke(self, reason: str) -> None:
        """The connection ended, or what came is no response. Called once, instead of `ended`."""
        ...

    def flush(self) -> None:
        """All that came with one read has been told."""
        ...

    def writable(self, writable: bool) -> None:
        """The upstream takes no more for now, or takes more again."""
        ...

    def switched(self, data: bytes) -> None:
        """Bytes behind a 101: the connection speaks another protocol now."""
        ...


class Connection(asyncio.Protocol):
    """One connection to an upstream."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._codec = ResponseCodec()
        self._receiver: Receiver | None = None
        self.keep = True  # it may carry another request
        self._tunnel = False
        self._paused = False
        self.idle_since = 0.0
        self.round: Rounds | None = None  # a request in the short way that it carries
        self.way: object = None  # kept here for that
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)

    def send(self, receiver: Receiver, method: str, head: bytes) -> None:
        """Send a request; its response is told to `receiver`."""
        self.carry(receiver, method)
        self.transport.write(head)

    def carry(self, receiver: Receiver, method: str) -> None:
        """A request was sent; its response is told to `receiver`."""
        self._receiver = receiver
        self._codec.expect(method)

    def tunnel(self) -> bytes:
        """The response was 101: from now on bytes go to `Receiver.switched`. Returns those that came already."""
        self._tunnel = True
        return self._codec.leftover

    def data_received(self, data: bytes) -> None:
        if self.round is None or not self.round.server(data):
            self.ordinary(data)

    def ordinary(self, data: bytes) -> None:
        """Take bytes of the upstream."""
        receiver = self._receiver
        if receiver is None:
            self.abort()  # nobody asked
            return
        if self._tunnel:
            receiver.switched(data)
            return
        try:
            self._codec.feed(data)
            self._tell()
        except PeerError:
            self._broken("what the upstream sent is not HTTP")  # the error quotes it, and nothing has masked it
        receiver.flush()

    def _tell(self) -> None:
        codec = self._codec
        while (receiver := self._receiver) is not None and not self._tunnel:
            event = codec.next()
            if event is None:
                return
            if isinstance(event, bytes):
                receiver.arrived(event)
            elif isinstance(event, End):
                self._finished()
                receiver.ended(event)
            else:
                self.keep &= event.keep_alive and not event.until_close
                receiver.responded(event)

    def _finished(self) -> None:
        receiver, self._receiver = self._receiver, None
        self.pause(False)
        if (
            self.keep
            and not self._codec.leftover
            and not self.transport.is_closing()
            and receiver is not None
            and receiver.sent_whole
        ):
            self._pool.give_back(self)
        else:
            self.transport.close()

    def pause(self, paused: bool) -> None:
        """Stop or go on reading."""
        if paused != self._paused and not self.transport.is_closing():
            self._paused = paused
            (self.transport.pause_reading if paused else self.transport.resume_reading)()

    def eof_received(self) -> bool:
        if self.round is not None:
            self.round.unfold()
        if self._receiver is not None and not self._tunnel:
            receiver = self._receiver
            try:
                self._codec.eof()
                self._tell()
            except PeerError:
                self._broken("the upstream closed in the middle of its response")
            receiver.flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self.round is not None:
            self.round.unfold()
        self._pool.lost(self)
        self._broken(f"the connection to the upstream was lost{f': {_said(exc)}' if exc else ''}")

    def _broken(self, reason: str) -> None:
        receiver, self._receiver = self._receiver, None
        self.transport.abort()
        if receiver is not None:
            receiver.broke(reason)

    def pause_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.writable(False)

    def resume_writing(self) -> None:
        if self._receiver is not None:
            self._receiver.writable(True)

    def finish(self) -> None:
        """End it once what was written is out; nobody is told."""
        self._receiver = None
        self.transport.close()

    @property
    def full(self) -> bool:
        """True while more waits to be sent than should."""
        return self.transport.get_write_buffer_size() > WRITE_BUFFER

    def abort(self) -> None:
        """End it at once; nobody is told."""
        self._receiver = None
        self.transport.abort()


class Pool:
    """The connections of one worker to one upstream."""

    def __init__(self, upstream: Upstream, clock: Callable[[], float]) -> None:
        self.upstream = upstream
        self._clock = clock
        self._idle: deque[Connection] = deque()

    def take(self) -> Connection | None:
        """An unused connection, the one used last; None if a new one has to be made."""
        oldest = self._clock() - KEPT_IDLE
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since >= oldest and not connection.transport.is_closing():
                return connection
            connection.transport.close()
        return None

    def give_back(self, connection: Connection) -> None:
        """It may be used again."""
        connection.idle_since = self._clock()
        self._idle.append(connection)
        if len(self._idle) > MAX_IDLE:
            self._idle.popleft().transport.close()

    def lost(self, connection: Connection) -> None:
        """It is gone."""
        if connection in self._idle:
            self._idle.remove(connection)

    async def connect(self) -> Connection:
        """A new connection; raise `UpstreamError` saying why there is none."""
        upstream = self.upstream
        loop = asyncio.get_running_loop()
        options = upstream.options
        context = None
        try:
            if options.get("scheme") == "https":
                paths = (options.get("sslrootcert", ""), options.get("sslcert", ""), options.get("sslkey", ""))
                context = tls_context(*paths)
            async with asyncio.timeout(CONNECT_LIMIT):
                _, connection = await loop.create_connection(
                    lambda: Connection(self),
                    upstream.host,
                    upstream.port,
                    ssl=context,
                    server_hostname=upstream.host if context else None,
                )
        except TimeoutError:
            raise UpstreamError(f"the upstream did not answer within {CONNECT_LIMIT:g} s") from None
        except ssl.SSLError as error:
            raise UpstreamError(f"TLS with the upstream failed: {error.reason or 'unknown reason'}") from error
        except OSError as error:
            raise UpstreamError(f"the upstream cannot be reached: {_said(error)}") from error
        return connection

    def close(self) -> None:
        """Close what is unused."""
        while self._idle:
            self._idle.pop().transport.close()


@lru_cache(maxsize=64)
def tls_context(root: str, certificate: str, key: str) -> ssl.SSLContext:
    """Towards an upstream: verified always, by `root` or the system's authorities; with a client certificate if there is one."""
    context = ssl.create_default_context(cafile=root if root not in ("", "system") else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if certificate:
        context.load_cert_chain(certificate, key or None)
    return context


def _said(error: BaseException) -> str:
    """For the agent, too: an error that is not the system's may quote what nobody has masked."""
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) else type(error).__name__
