"""The agent's side of a connection: which resource each request names, who asks, and one request after the other.

A session is one agent at one resource on one connection. Requests behind one that is not answered yet wait. What becomes of a request is in
`exchange`; what its bytes mean in `codec`.
"""

import asyncio
import time
from typing import TYPE_CHECKING, cast

from edge_agent.gateway import IdentityRefusedError, LimitReachedError
from edge_agent.protocols.http import refusal
from edge_agent.protocols.http.codec import RequestCodec
from edge_agent.protocols.http.conversations import Conversations, Identity
from edge_agent.protocols.http.exchange import Exchange
from edge_agent.protocols.http.messages import End, PeerError, RequestHead
from edge_agent.protocols.http.request import Named, named
from edge_agent.protocols.http.response import Place
from edge_agent.protocols.http.rounds import rounds
from edge_agent.protocols.http.upstream import Connection
from gateway_kernel.commands import Result
from gateway_kernel.judge import Judgement
from gateway_kernel.model import Agent, Instant

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.protocols.http.room import HttpRoom

HEAD_LIMIT = 15.0  # seconds from the first byte of a head to its last
IDLE_LIMIT = 75.0  # seconds between two requests
BODY_LIMIT = 30.0  # seconds without a byte of a body
WRITE_LIMIT = 120.0  # seconds for which an agent may take nothing of its response
LINGER = (
    2.0  # seconds for which what an agent still sends is thrown away, so that it can read why its request was not read
)
WRITE_BUFFER = 1 << 20  # bytes for the agent before the upstream is not read any more
AHEAD = 64 << 10  # bytes that an agent may send before its last request is answered


class Frontend(asyncio.Protocol):
    """One accepted connection."""

    def __init__(self, room: "HttpRoom") -> None:
        self.room = room
        self.gateway = room.gateway
        self.codec = RequestCodec()
        self.transport: asyncio.Transport
        self.closed = False
        self.exchange: Exchange | None = None
        self._taken = False  # a head was read, and its request is not over
        self._ending = 0.0  # the time after which a connection that has had its last response is cut
        self._conversations = Conversations(room.gateway)
        self._paused: set[str] = set()
        self._writable = True
        self._since = time.monotonic()  # when what is waited for began
        self._begun = False  # bytes of the next head are there
        self._encrypted = False
        self._reading = False
        self._reason = ""
        self._alone = b""  # the bytes of the request under way, if they came at once and alone
        self.rounds = rounds(self)
        self._rounds_seen = 0

    # -- asyncio's side -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._encrypted = self.transport.get_extra_info("ssl_object") is not None
        self.room.opened(self)

    def data_received(self, data: bytes) -> None:
        if not self.rounds.client(data):
            self.ordinary(data)

    def ordinary(self, data: bytes) -> None:
        """Take bytes of the agent."""
        if self.closed or self._ending:
            return
        if self.exchange is not None and self.exchange.tunnelled(data):
            return
        if not self._taken and not self._begun:
            self._begun, self._since = True, time.monotonic()
            self._alone = data
        else:
            self._alone = b""
        self.codec.feed(data)
        self._read()

    def rests(self, identity: Identity, now: float) -> bool:
        """True if nothing is under way and nothing has begun, and whoever asks now has just proved who they are."""
        return (
            self.exchange is None
            and not (self._taken or self._begun or self._ending or self.closed or self.room.draining)
            and self._conversations.proved(identity, now) is not None
        )

    def resume(
        self,
        like: Exchange,
        number: int,
        judgement: Judgement,
        started: Instant,
        connection: Connection,
        done: "Callable[[Result], None]",
    ) -> None:
        """A request like that of an exchange before was sent in the short way: it goes on as any other."""
        self._taken, self._since = True, time.monotonic()
        self.codec.pass_over()
        self.exchange = Exchange(
            self, like.head, like.name, like.guarded, like.conversation, like.place, like.identity, number
        )
        self.exchange.resume(judgement, started, connection, done)

    def eof_received(self) -> bool:
        # A client that only closes its half cannot be told from one that went away, and for that one nothing may be held or sent.
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.close(f"the agent went away{f': {exc}' if exc else ''}", gone=True)

    def pause_writing(self) -> None:
        self.rounds.unfold()
        self._writable, self._since = False, time.monotonic()
        if self.exchange is not None:
            self.exchange.agent_writable(False)

    def resume_writing(self) -> None:
        self._writable, self._since = True, time.monotonic()
        if self.exchange is not None:
            self.exchange.agent_writable(True)

    def pause(self, why: str, paused: bool) -> None:
        """Stop or go on reading the agent; reading goes on when no reason to pause is left."""
        if paused == (why in self._paused) or self.transport.is_closing():
            return
        before = bool(self._paused)
        (self._paused.add if paused else self._paused.discard)(why)
        if bool(self._paused) != before:
            (self.transport.pause_reading if self._paused else self.transport.resume_reading)()

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(data)

    # -- requests -----------------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Take what has arrived, as far as the request under way allows."""
        codec = self.codec
        self._reading = True
        try:
            while not self.closed and not self._ending:
                if self._taken and self.exchange is None:
                    break  # who sent it is still being found out
                event = codec.next()
                if event is None:
                    break
                if isinstance(event, RequestHead):
                    self._begin(event)
                elif self.exchange is None:
                    break
                elif isinstance(event, End):
                    self.exchange.intake.ended()
                else:
                    self._since = time.monotonic()
                    self.exchange.intake.data(event)
        except PeerError as error:
            self._malformed(error)
            return
        finally:
            self._reading = False
        self.pause("ahead", self._taken and len(codec.leftover) > AHEAD)

    def _malformed(self, error: PeerError) -> None:
        """No request can be read from here on: the connection ends with a word why."""
        self._conversations.note("malformed request", error.text)
        exchange = self.exchange
        if exchange is not None:
            exchange.request_broke(error.text)
            if exchange.answering:
                self.close(f"the agent broke the protocol: {error.text}")
                return
        self.last_words(error.status, "the request cannot be read", error.text)

    def _begin(self, head: RequestHead) -> None:
        self._taken = True
        self._begun = False
        self._since = time.monotonic()
        if not _has_body(head):
            self.codec.next()  # its end: nothing of it is still to come
        name = named(head, self.gateway.guarded)
        if name is None:
            name = Named("", head.target, "")
        identity = self._conversations.presented(head, name.resource)
        if identity is None:
            self._unknown(head, "send `Authorization: Bearer <agent key>`")
            return
        agent = self._conversations.proved(identity, self._since)
        if agent is not None:
            self._serve(head, name, identity, agent)
        else:
            self.room.spawn(self._identify(head, name, identity))

    async def _identify(self, head: RequestHead, name: Named, identity: Identity) -> None:
        peer = self._peer()
        if not self._encrypted and not _is_loopback(peer):
            self._unknown(head, "the gateway takes no key without TLS: use https, and replace the key that was sent")
            return
        try:
            agent = await self._conversations.prove(identity, peer)
        except IdentityRefusedError as error:
            self._unknown(head, str(error))
            return
        except LimitReachedError as error:
            self.last_words(429, "too many requests", str(error))
            return
        if not self.closed:
            self._serve(head, name, identity, agent)
            self._read()

    def _serve(self, head: RequestHead, name: Named, identity: Identity, agent: Agent) -> None:
        guarded = self.gateway.guarded(name.resource)
        if guarded is None:
            if not self._tells_review(head, agent):
                self._answer(
                    head,
                    404,
                    "no such resource",
                    "The path begins with the name of a resource of this edge: /{resource}/…",
                )
            return
        try:
            conversation = self._conversations.of(agent, guarded, head, self._peer())
        except LimitReachedError as error:
            self.last_words(429, "a limit is reached", str(error))
            return
        scheme = "https" if self._encrypted else "http"
        place = Place(f"{scheme}://{head.host}{name.prefix}", name.prefix, self._encrypted, agent.name, name.resource)
        conversation.operations += 1
        self.exchange = Exchange(self, head, name, guarded, conversation, place, identity, conversation.operations)
        self.exchange.begin()

    def _tells_review(self, head: RequestHead, agent: Agent) -> bool:
        """`GET /reviews/{id}`: where a review of this agent stands; it gives no power over it."""
        path = head.target.partition(b"?")[0].decode("ascii", "replace")
        if not path.startswith("/reviews/") or head.method not in ("GET", "HEAD"):
            return False
        review = path.removeprefix("/reviews/")
        state = self.gateway.review_state(review, agent.name)
        if not state:
            self._answer(head, 404, "no such review", "No review of yours was opened here under this id.")
            return True
        self.write(refusal.review_state(review, state, bodiless=head.method == "HEAD"))
        self.over(keep=head.keep_alive and not _has_body(head))
        return True

    def _unknown(self, head: RequestHead, reason: str) -> None:
        self._answer(head, 401, "who are you?", reason, (("WWW-Authenticate", 'Bearer realm="sallyport"'),))

    def _answer(
        self, head: RequestHead, status: int, title: str, detail: str, more: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """Answer a request that is no operation. Its body, if it has one, is not read."""
        keep = head.keep_alive and not _has_body(head)
        self.write(refusal.problem(status, title, detail, more, bodiless=head.method == "HEAD", close=not keep))
        self.over(keep=keep)

    def _peer(self) -> str:
        return str((self.transport.get_extra_info("peername") or ("",))[0])

    # -- after a request ----------------------------------------------------------------------------------------------

    def over(self, *, keep: bool) -> None:
        """The request has had its response. With `keep` all of its bytes were read, and the next one may come."""
        exchange, self.exchange = self.exchange, None
        if not keep or self.room.draining:
            self._linger("the last response was sent")
            return
        self._taken = False
        self._since = time.monotonic()
        self.codec.restart()
        self._begun = bool(self.codec.leftover)
        alone, self._alone = self._alone, b""
        if exchange is not None and exchange.repeatable and alone and not self._begun:
            self.rounds.learn(alone, exchange)
        if self._begun and not self._reading:
            self._read()

    def upgraded(self) -> None:
        """The connection speaks another protocol: what was sent ahead belongs to it."""
        early = self.codec.leftover
        if early and self.exchange is not None:
            self.exchange.tunnelled(early)

    def last_words(self, status: int, title: str, detail: str) -> None:
        """Say this and hang up."""
        self.write(refusal.problem(status, title, detail, close=True))
        self.exchange = None
        self._linger(detail)

    def _linger(self, reason: str) -> None:
        """Close once the response is out. What still arrives is thrown away for a while: a reset would take the response with it."""
        if self.closed:
            return
        self._ending = time.monotonic() + LINGER
        self._reason = reason
        self.pause("ahead", False)
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        else:
            self.close(reason)

    def look(self, now: float) -> None:
        """Called each second: end what takes too long."""
        if self.rounds.busy:
            self.rounds.unfold()  # it has the limits of any other request
        elif self.rounds.taken != self._rounds_seen:
            self._rounds_seen, self._since = self.rounds.taken, now
        if self._ending:
            if now > self._ending and self._writable:
                self.close(self._reason)
            elif now > self._ending + WRITE_LIMIT:
                self.abort("the agent did not read its response")
        elif not self._writable:
            if now > self._since + WRITE_LIMIT:
                self.abort("the agent did not read its response")
        elif self.exchange is not None:
            self._look_at_exchange(self.exchange, now)
        elif self._taken:
            pass  # who sent it is being found out, which has a limit of its own
        elif now > self._since + (HEAD_LIMIT if self._begun else IDLE_LIMIT):
            if self._begun:
                self.last_words(408, "the request did not arrive in time", "Send the whole head at once.")
            else:
                self.close("idle")

    def _look_at_exchange(self, exchange: Exchange, now: float) -> None:
        if exchange.intake.wanted and not self._paused and now > self._since + BODY_LIMIT:
            text = f"No byte of the body came for {BODY_LIMIT:g} s."
            exchange.request_broke("the body did not arrive in time")
            if exchange.answering:
                self.abort(text)
            else:
                self.last_words(408, "the request did not arrive in time", text)
        else:
            exchange.look(now)

    # -- ending -------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """The edge stops: an idle connection ends now, a busy one with the response that is under way."""
        self.rounds.unfold()
        if self.exchange is None and not self._taken:
            self.close("edge stopped")
        elif self.exchange is not None:
            self.exchange.drain()

    def abort(self, reason: str) -> None:
        """Cut the connection, so that nobody takes what was sent for a whole response."""
        if not self.closed:
            self.transport.abort()
            self.close(reason)

    def close(self, reason: str, *, gone: bool = False) -> None:
        """End the connection and its sessions. A request in flight may end first, so that its outcome is known."""
        if self.closed:
            return
        self.rounds.unfold()
        self.closed = True
        self.transport.close()
        exchange, self.exchange = self.exchange, None
        if exchange is not None and exchange.agent_gone(reason if not gone else "the agent went away"):
            exchange.when_over = lambda: self._close_sessions(reason)
        else:
            self._close_sessions(reason)

    def _close_sessions(self, reason: str) -> None:
        self._conversations.close(reason)
        self.room.gone(self)


def _has_body(head: RequestHead) -> bool:
    return head.chunked or bool(head.length)


def _is_loopback(host: str) -> bool:
    return host in ("::1", "localhost", "") or host.startswith(("127.", "::ffff:127."))
