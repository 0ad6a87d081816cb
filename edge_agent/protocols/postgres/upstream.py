"""Connecting to the server a session is for: TLS as its URL says, authentication with the injected credential, and its first words.

SCRAM is bound to the TLS channel where the server offers it. A password goes out in clear only if it is an Entra token on a connection
whose server was verified in full; an MD5 answer only on a verified or loopback connection. After `connect` the transport belongs to
the caller. Nothing is retried here.
"""

import asyncio
import ipaddress
import os
import ssl
from functools import lru_cache
from typing import cast

from edge_agent.gateway import Credential, Upstream
from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.postgres.codec import BackendCodec
from edge_agent.protocols.postgres.messages import ProtocolViolationError
from edge_agent.protocols.postgres.scram import ScramClient, md5_answer

CONNECT_LIMIT = 15.0  # seconds for connecting, TLS and authentication together
SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
TOKEN_KINDS = frozenset(("token", "entra"))  # kinds of credential that expire by themselves and may travel as they are


class UpstreamError(Exception):
    """The server cannot be used. `code` is its SQLSTATE if it gave one; the text holds no secret."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


class Connected:
    """A server that is ready: its transport, cancel key and the parameters it reported."""

    def __init__(self, transport: asyncio.Transport, leftover: bytes) -> None:
        self.transport = transport
        self.leftover = leftover
        self.process = 0
        self.secret = b""
        self.parameters: list[tuple[bytes, bytes]] = []


class _Greeting(asyncio.Protocol):
    """The server's first words, one message at a time, for a coroutine that waits for them."""

    def __init__(self) -> None:
        self.codec = BackendCodec()
        self.transport: asyncio.Transport
        self._messages: asyncio.Queue[tuple[int, bytes] | Exception] = asyncio.Queue()
        self.raw = True
        self._first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self.raw:
            if not self._first.done():
                self._first.set_result(data)
            return
        try:
            for message in self.codec.feed(data):
                self._messages.put_nowait(message)
        except ProtocolViolationError as error:
            self._messages.put_nowait(error)

    def connection_lost(self, exc: Exception | None) -> None:
        error = UpstreamError("the server closed the connection")
        if not self._first.done():
            self._first.set_exception(error)
            self._first.exception()  # marked as seen: perhaps nobody waits for it
        self._messages.put_nowait(error)

    async def first(self) -> bytes:
        """The answer to SSLRequest."""
        return await self._first

    async def message(self) -> tuple[int, bytes]:
        found = await self._messages.get()
        if isinstance(found, Exception):
            raise found
        return found

    def unread(self) -> list[tuple[int, bytes] | Exception]:
        """What came and was not asked for."""
        rest: list[tuple[int, bytes] | Exception] = []
        while not self._messages.empty():
            rest.append(self._messages.get_nowait())
        return rest


def is_loopback(host: str) -> bool:
    """True for a host that is this machine and no other, by its name alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def ssl_mode(upstream: Upstream) -> str:
    """`sslmode` of the URL; unless it is given, everything is verified off loopback."""
    return upstream.options.get("sslmode", "prefer" if is_loopback(upstream.host) else "verify-full")


@lru_cache(maxsize=64)
def _context(mode: str, root: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=root or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if mode in ("prefer", "require"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif mode == "verify-ca":
        context.check_hostname = False
    return context


async def connect(upstream: Upstream, credential: Credential, parameters: dict[str, str]) -> Connected:
    """A connection on which the server awaits the first query; raise `UpstreamError` saying where it failed."""
    try:
        async with asyncio.timeout(CONNECT_LIMIT):
            return await _connect(upstream, credential, parameters)
    except TimeoutError:
        raise UpstreamError(f"the server did not answer within {CONNECT_LIMIT:g} s") from None
    except ssl.SSLError as error:
        raise UpstreamError(f"TLS with the server failed: {error.reason or 'unknown reason'}") from error
    except OSError as error:
        raise UpstreamError(
            f"the server cannot be reached: {os.strerror(error.errno) if error.errno else error}"
        ) from error
    except ProtocolViolationError as error:
        raise UpstreamError(f"the server broke the protocol: {error}") from error


async def _connect(upstream: Upstream, credential: Credential, parameters: dict[str, str]) -> Connected:
    loop = asyncio.get_running_loop()
    mode = ssl_mode(upstream)
    transport, greeting = await loop.create_connection(_Greeting, upstream.host, upstream.port)
    try:
        if mode != "disable":
            transport = await _encrypt(transport, greeting, upstream, mode)
        greeting.raw = False
        transport.write(m.startup(parameters))
        connected = await _authenticate(transport, greeting, credential, mode)
    except BaseException:
        greeting.transport.abort()
        raise
    connected.leftover = greeting.codec.rest()
    return connected


async def _encrypt(
    transport: asyncio.Transport, greeting: _Greeting, upstream: Upstream, mode: str
) -> asyncio.Transport:
    transport.write(m.SSL_REQUEST_MESSAGE)
    answer = await greeting.first()
    if answer == b"N" and mode == "prefer":
        return transport
    if answer != b"S":  # bytes behind the S were sent before TLS and could be a stranger's (CVE-2021-23214)
        raise UpstreamError("the server does not speak TLS, and sslmode demands it")
    context = _context(mode, upstream.options.get("sslrootcert", ""))
    encrypted = await asyncio.get_running_loop().start_tls(transport, greeting, context, server_hostname=upstream.host)
    if encrypted is None:
        raise UpstreamError("the server closed the connection during TLS")
    greeting.transport = encrypted
    return encrypted


async def _authenticate(
    transport: asyncio.Transport, greeting: _Greeting, credential: Credential, mode: str
) -> Connected:
    connected = Connected(transport, b"")
    scram: ScramClient | None = None
    while True:
        kind, raw = await greeting.message()
        if kind == m.AUTHENTICATION:
            scram = _answer(transport, raw, credential, mode, scram)
        elif kind == m.ERROR_RESPONSE:
            fields = m.read_report(raw)
            raise UpstreamError(fields.get("M", "no reason given"), fields.get("C", ""))
        elif kind == m.PARAMETER_STATUS:
            connected.parameters.append(m.read_parameter_status(raw))
        elif kind == m.BACKEND_KEY_DATA:
            connected.process, connected.secret = m.read_backend_key(raw)
        elif kind == m.READY_FOR_QUERY:
            if scram is not None and not scram.verified:
                raise UpstreamError("the server did not prove that it knows the password")
            return connected
        elif kind != m.NOTICE_RESPONSE:
            raise ProtocolViolationError(f"message {chr(kind)!r} while connecting")


def _answer(
    transport: asyncio.Transport, raw: bytes, credential: Credential, mode: str, scram: ScramClient | None
) -> ScramClient | None:
    """Answer one authentication request."""
    code = int.from_bytes(raw[5:9])
    encrypted = transport.get_extra_info("ssl_object")
    if code == m.AUTH_OK:
        return scram
    if scram is not None and code == m.AUTH_SASL_CONTINUE:
        transport.write(m.message(m.PASSWORD, scram.final(raw[9:])))
    elif scram is not None and code == m.AUTH_SASL_FINAL:
        scram.verify(raw[9:])
    elif code == m.AUTH_SASL and scram is None:
        certificate = encrypted.getpeercert(True) if encrypted is not None else None
        scram = ScramClient(credential.secret, raw[9:].rstrip(b"\0").split(b"\0"), os.urandom(18), certificate)
        first = scram.first()
        transport.write(m.message(m.PASSWORD, scram.mechanism + b"\0" + len(first).to_bytes(4) + first))
    elif code == m.AUTH_MD5:
        peer = transport.get_extra_info("peername") or ("",)
        if mode not in ("verify-ca", "verify-full") and not is_loopback(str(peer[0])):
            raise UpstreamError("the server asks for an MD5 answer on a connection that was not verified")
        answer = md5_answer(credential.username, credential.secret, raw[9:13])
        transport.write(m.message(m.PASSWORD, answer + b"\0"))
    elif code == m.AUTH_CLEARTEXT:
        if credential.kind not in TOKEN_KINDS or mode != "verify-full" or encrypted is None:
            raise UpstreamError(
                "the server asks for the password in clear; only an Entra token under verify-full may go so"
            )
        transport.write(m.message(m.PASSWORD, credential.secret.encode() + b"\0"))
    else:
        raise UpstreamError(f"the server asks for authentication method {code}, which is not spoken here")
    return scram


async def cancel(upstream: Upstream, process: int, secret: bytes) -> None:
    """Send a CancelRequest on a connection of its own; a server that is gone has nothing to cancel."""
    try:
        async with asyncio.timeout(CONNECT_LIMIT):
            loop = asyncio.get_running_loop()
            transport, greeting = await loop.create_connection(_Greeting, upstream.host, upstream.port)
            try:
                mode = ssl_mode(upstream)
                if mode != "disable":
                    transport = await _encrypt(transport, greeting, upstream, mode)
                transport.write(m.cancel_request(process, secret))
            finally:
                transport.close()
    except (OSError, UpstreamError, TimeoutError, ProtocolViolationError):
        return
