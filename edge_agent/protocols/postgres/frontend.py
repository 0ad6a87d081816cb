"""The client's side of a connection: TLS, who the agent is, which resource it wants; then its bytes go to the session.

The agent's key is asked for in clear, over TLS or loopback only: SCRAM towards agents would need keys from which answers can be computed,
and keys are stored hashed. One task sets a connection up; afterwards there is none.
"""

import asyncio
import ssl
from typing import TYPE_CHECKING, cast

from edge_agent.gateway import Guarded, IdentityRefusedError, LimitReachedError
from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.postgres import refusal, startup, upstream
from edge_agent.protocols.postgres.backend import Backend
from edge_agent.protocols.postgres.codec import FrontendCodec, Message
from edge_agent.protocols.postgres.messages import ProtocolViolationError
from edge_agent.protocols.postgres.session import PostgresSession
from edge_agent.protocols.postgres.startup import Accepted, StartupRefusedError
from gateway_kernel.model import Agent, Session

if TYPE_CHECKING:
    from edge_agent.protocols.postgres.room import PostgresRoom

STARTUP_LIMIT = 60.0  # seconds from accepting to ReadyForQuery; the server's authentication_timeout
WRITE_BUFFER = 1 * m.MiB  # bytes for the client before the server is not read any more
LINGER = 10.0  # seconds for a statement in flight to end after its client is gone, so that its outcome is known


class _RefusedError(Exception):
    """The connection ends with this ErrorResponse."""

    def __init__(self, error: bytes, reason: str) -> None:
        super().__init__(reason)
        self.error = error


class Frontend(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, room: "PostgresRoom") -> None:
        self.room = room
        self.gateway = room.gateway
        self.codec = FrontendCodec()
        self.transport: asyncio.Transport
        self.session: PostgresSession | None = None
        self.kernel: Session | None = None
        self.closed = False
        self._lingering: asyncio.TimerHandle | None = None
        self._setup: asyncio.Task[None] | None = None
        self._arrived = asyncio.Event()
        self._first = bytearray()
        self._messages: list[Message] = []
        self._paused: set[str] = set()
        self._guarded: Guarded | None = None
        self._connected: upstream.Connected | None = None
        self._secret = b""

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)
        if self._setup is None:
            self._setup = asyncio.get_running_loop().create_task(self._set_up())
            self.room.opened(self)

    def data_received(self, data: bytes) -> None:
        session = self.session
        if session is None:
            self._first += data
            if len(self._first) > m.MAX_PASSWORD + m.MAX_STARTUP:
                self.close("more bytes than a client may send before it is somebody")
            self._arrived.set()
            return
        if self.closed:
            return
        try:
            messages = self.codec.feed(data)
        except ProtocolViolationError as error:
            session.client_broke(str(error))
            return
        if messages and messages[-1][0] == m.TERMINATE:
            session.receive(messages[:-1])
            self.close("the client said goodbye")
        elif messages:
            session.receive(messages)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived.set()
        self.close(f"the client went away{f': {exc}' if exc else ''}", gone=True)

    def pause_writing(self) -> None:
        if self.session is not None and not self.session.backend.transport.is_closing():
            self.session.backend.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.session is not None and not self.session.backend.transport.is_closing():
            self.session.backend.transport.resume_reading()

    def pause(self, why: str, paused: bool) -> None:
        """Stop or go on reading the client; reading goes on when no reason to pause is left."""
        if paused == (why in self._paused) or self.transport.is_closing():
            return
        before = bool(self._paused)
        (self._paused.add if paused else self._paused.discard)(why)
        if bool(self._paused) != before:
            (self.transport.pause_reading if self._paused else self.transport.resume_reading)()

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    # Setting up

    async def _set_up(self) -> None:
        try:
            async with asyncio.timeout(STARTUP_LIMIT):
                await self._establish()
        except _RefusedError as refused:
            self.write(refused.error)
            self.close(str(refused))
        except ProtocolViolationError as error:
            self.write(refusal.fatal(refusal.PROTOCOL_VIOLATION, str(error)))
            self.close(f"the client broke the protocol: {error}")
        except TimeoutError:
            self.close("the connection was not set up in time")
        except (ConnectionError, ssl.SSLError) as error:
            self.close(f"the connection failed: {error}")

    async def _establish(self) -> None:
        opening = await self._opening()
        if isinstance(opening, m.Cancel):
            self.room.keys.request(opening)
            self.close("cancel request")
            return
        try:
            accepted = startup.accept(opening)
        except StartupRefusedError as error:
            raise _RefusedError(refusal.fatal(error.code, str(error)), str(error)) from None
        if accepted.negotiation:
            self.write(accepted.negotiation)
        agent = await self._identify(accepted)
        guarded = self._resource(accepted)
        peer = str((self.transport.get_extra_info("peername") or ("",))[0])
        try:
            self.kernel = self.gateway.open_session(agent, guarded, peer=peer, client=accepted.client)
        except LimitReachedError as error:
            raise _RefusedError(refusal.fatal(refusal.TOO_MANY_CONNECTIONS, str(error)), str(error)) from None
        self._guarded = guarded
        connected = await self._connect(accepted, guarded, agent, self.kernel)
        if self.closed:
            connected.transport.abort()
            return
        self._begin(connected, opening.minor, accepted.database or guarded.upstream.path.lstrip("/"))

    async def _opening(self) -> m.Startup | m.Cancel:
        """Encryption first, if the client asks for it; then its StartupMessage or CancelRequest."""
        while True:
            opening = await self._next_opening()
            if isinstance(opening, m.Startup):
                return opening
            if isinstance(opening, m.Cancel):
                return opening
            context = self.gateway.listener_tls("postgres")
            if opening == m.GSSENC_REQUEST or context is None or self._encrypted:
                self.write(b"N")
                continue
            if self.codec.buffered or self._first:  # bytes from before TLS could be a stranger's (CVE-2021-23214)
                raise ProtocolViolationError("bytes behind an SSLRequest")
            self.write(b"S")
            encrypted = await asyncio.get_running_loop().start_tls(self.transport, self, context, server_side=True)
            if encrypted is None:
                raise ConnectionResetError("the client went away during TLS")
            self.transport = encrypted
            encrypted.set_write_buffer_limits(high=WRITE_BUFFER)

    @property
    def _encrypted(self) -> bool:
        return self.transport.get_extra_info("ssl_object") is not None

    async def _next_opening(self) -> m.Startup | m.Cancel | int:
        while True:
            opening = self.codec.opening(await self._bytes() if not self.codec.buffered else b"")
            if opening is not None:
                return opening
            opening = self.codec.opening(await self._bytes())
            if opening is not None:
                return opening

    async def _bytes(self) -> bytes:
        """Wait for some bytes from the client."""
        while not self._first:
            if self.closed:
                raise ConnectionResetError("the client went away")
            self._arrived.clear()
            await self._arrived.wait()
        data = bytes(self._first)
        self._first.clear()
        return data

    async def _identify(self, accepted: Accepted) -> Agent:
        peer = str((self.transport.get_extra_info("peername") or ("",))[0])
        if not self._encrypted and not upstream.is_loopback(peer):
            text = "the gateway asks for no password without TLS: connect with sslmode=require or better"
            raise _RefusedError(refusal.fatal(refusal.INVALID_AUTHORIZATION, text), text)
        self.write(m.authentication(m.AUTH_CLEARTEXT))
        self._messages = self.codec.feed(b"")  # a client may send its password without waiting to be asked
        while not self._messages:
            self._messages = self.codec.feed(await self._bytes())
        kind, raw = self._messages.pop(0)
        if kind == m.TERMINATE:
            raise ConnectionResetError("the client went away")
        try:
            secret = m.read_password(raw).decode()
        except UnicodeDecodeError:
            secret = ""
        try:
            return await self.gateway.identify(accepted.user, secret, resource=accepted.resource, peer=peer)
        except IdentityRefusedError as error:
            raise _RefusedError(refusal.fatal(refusal.WRONG_PASSWORD, str(error)), str(error)) from None
        except LimitReachedError as error:
            raise _RefusedError(refusal.fatal(refusal.TOO_MANY_CONNECTIONS, str(error)), str(error)) from None

    def _resource(self, accepted: Accepted) -> Guarded:
        guarded = self.gateway.guarded(accepted.resource)
        if guarded is None or guarded.resource.protocol != "postgres":
            text = f'resource "{accepted.resource}" is not served here'
            raise _RefusedError(refusal.fatal("3D000", text), text)
        return guarded

    async def _connect(self, accepted: Accepted, guarded: Guarded, agent: Agent, kernel: Session) -> upstream.Connected:
        """The server, with the injected credential; fetched anew once where the server refuses the cached one."""
        name = guarded.resource.name
        refetch = False
        while True:
            try:
                credential = await self.gateway.credential(name, refetch=refetch)
            except Exception as error:  # whatever a vault's client raises: the agent learns only that there is none
                text = "the gateway has no credential for the resource"
                raise _RefusedError(refusal.fatal(refusal.CANNOT_CONNECT_NOW, text), f"{text}: {error}") from error
            database = accepted.database or guarded.upstream.path.lstrip("/") or credential.username
            application = f"{agent.name}/{kernel.id}"
            parameters = startup.upstream_parameters(
                accepted,
                user=credential.username or guarded.upstream.username,
                database=database,
                application=application,
            )
            try:
                return await upstream.connect(guarded.upstream, credential, parameters)
            except upstream.UpstreamError as error:
                if error.code.startswith("28") and not refetch:
                    refetch = True
                    continue
                if error.code.startswith("28"):
                    text = "the server refused the gateway's credential"
                    raise _RefusedError(refusal.fatal(refusal.CANNOT_CONNECT_NOW, text), text) from None
                code = error.code or refusal.CONNECTION_FAILURE
                raise _RefusedError(refusal.fatal(code, str(error)), f"upstream: {error}") from None

    def _begin(self, connected: upstream.Connected, minor: int, database: str) -> None:
        assert self.kernel is not None
        self._connected = connected
        session = PostgresSession(self.gateway, self.kernel, self, database)
        session.backend = Backend(session, connected.transport)
        client, server = session.turns.sides(self, session.backend)
        self.transport.set_protocol(client)
        connected.transport.set_protocol(server)
        connected.transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._secret = self.room.keys.issue(connected.process, session.cancel, long=minor >= 2)
        parameters = b"".join(m.parameter_status(name, value) for name, value in connected.parameters)
        for name, value in connected.parameters:
            pinned = startup.PINNED.get(name.decode(errors="replace"))
            if pinned is not None and value.decode(errors="replace") != pinned:
                raise ProtocolViolationError(f"the server's {name.decode()} is not {pinned}")
        self.codec.authenticated = True
        self.session = session
        self.write(
            m.authentication(m.AUTH_OK)
            + parameters
            + m.backend_key_data(connected.process, self._secret)
            + m.ready_for_query(b"I"[0])
        )
        if connected.leftover:
            session.backend.data_received(connected.leftover)
        early = self._messages + self.codec.feed(bytes(self._first))
        self._first.clear()
        if early:
            session.receive(early)
        if self.room.draining:
            session.drain()

    # Ending

    def cancel_upstream(self) -> None:
        """Pass a cancel request on to the server."""
        if self._guarded is not None and self._connected is not None:
            self.room.spawn(upstream.cancel(self._guarded.upstream, self._connected.process, self._connected.secret))

    def goodbye(self) -> None:
        """The edge stops: say so and hang up."""
        self.write(refusal.fatal(refusal.ADMIN_SHUTDOWN, "terminating connection: the gateway is being restarted"))
        self.close("edge stopped")

    def close(self, reason: str, *, gone: bool = False) -> None:
        """End both sides. A statement in flight may end first where its client is gone, so that its outcome is known."""
        if self.closed:
            return
        session = self.session
        if gone and session is not None and session.leaves_something() and self._lingering is None:
            self._lingering = asyncio.get_running_loop().call_later(LINGER, self.close, reason)
            session.client_gone()
            return
        self.closed = True
        if self._lingering is not None:
            self._lingering.cancel()
        self.transport.close()
        self._arrived.set()
        if self._setup is not None and self._setup is not asyncio.current_task():
            self._setup.cancel()
        if session is not None:
            session.end()
            self.room.keys.withdraw(self._connected.process if self._connected else 0, self._secret)
            if not session.backend.transport.is_closing():
                session.backend.transport.write(m.TERMINATE_MESSAGE)
                session.backend.transport.close()
        if self.kernel is not None:
            self.gateway.close_session(self.kernel, reason)
        self.room.gone(self)
