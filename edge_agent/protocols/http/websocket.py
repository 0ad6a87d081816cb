"""WebSocket (RFC 6455) through the edge: each whole message of the agent is an operation, each of the upstream is masked and recorded.

Both sides end here: frames are read and written by wsproto, extensions are not offered, pings are answered, and nothing passes that is not a
message or the code of a close. A refused message closes with 1008. The handshake is the operation that the recording closes when the
connection ends.
"""

import base64
import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wsproto.connection import Connection as Frames
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, TextMessage
from wsproto.utilities import LocalProtocolError

from edge_agent.gateway import Admitting
from edge_agent.protocols.http.masking import MessageMask
from edge_agent.protocols.http.messages import RequestHead
from gateway_kernel.audit import Finished, Outcome
from gateway_kernel.commands import Refuse, Result
from gateway_kernel.errors import UnmaskableError
from gateway_kernel.judge import Judgement
from gateway_kernel.model import Operation, Parameter
from gateway_kernel.parse.http.text import compose

if TYPE_CHECKING:
    from edge_agent.protocols.http.delivery import Delivery
    from edge_agent.protocols.http.exchange import Exchange

MAX_MESSAGE = 1 << 20  # bytes of one message; what is longer cannot be judged whole
MAX_WAITING = 64  # messages of an agent behind one that waits, before it is not read any more
VERSION = "13"
NORMAL, GOING_AWAY, POLICY_VIOLATION, TOO_BIG, SERVICE_RESTART = 1000, 1001, 1008, 1009, 1012
_NEVER_SENT = frozenset((1005, 1006, 1015))  # RFC 6455 7.4.1
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def new_key() -> str:
    """A Sec-WebSocket-Key (RFC 6455 4.1)."""
    return base64.b64encode(os.urandom(16)).decode()


def accept(key: str) -> str:
    """The Sec-WebSocket-Accept that proves the handshake (RFC 6455 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()).decode()


def unacceptable(head: RequestHead) -> str:
    """What is wrong with the handshake of an agent, "" if nothing (RFC 6455 4.2.1)."""
    given = {name.lower(): value for name, value in head.headers}
    if head.method != "GET" or head.minor != 1:
        return "A WebSocket begins with a GET of HTTP/1.1."
    if given.get("sec-websocket-version") != VERSION:
        return f"Send Sec-WebSocket-Version: {VERSION}."
    try:
        key = base64.b64decode(given.get("sec-websocket-key", ""), validate=True)
    except ValueError:
        key = b""
    return "" if len(key) == 16 else "Sec-WebSocket-Key must be 16 bytes in base64."


class _Incoming:
    """The message that is arriving from one side."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, event: Message[Any]) -> tuple[bytes, bool] | None:
        """The whole message and whether it is text, once it is there; ValueError if it is too long."""
        data = event.data.encode() if isinstance(event, TextMessage) else bytes(event.data)
        self._parts.append(data)
        self._size += len(data)
        if self._size > MAX_MESSAGE:
            raise ValueError(f"a message has more than {MAX_MESSAGE >> 20} MiB")
        if not event.message_finished:
            return None
        whole = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return whole, isinstance(event, TextMessage)


class Tunnel:
    """The upgraded connection of one exchange."""

    def __init__(self, exchange: "Exchange", delivery: "Delivery", mask: MessageMask) -> None:
        self._exchange = exchange
        self._delivery = delivery
        self._mask = mask
        self._agent = Frames(ConnectionType.SERVER)
        self._upstream = Frames(ConnectionType.CLIENT)
        self._from_agent = _Incoming()
        self._from_upstream = _Incoming()
        self._waiting: deque[_Said] = deque()
        self._current: _Said | None = None
        self._code = 0
        self.messages = 0

    # -- bytes --------------------------------------------------------------------------------------------------------

    def from_agent(self, data: bytes) -> None:
        """Bytes from the agent."""
        if self._agent.state is ConnectionState.CLOSED:
            return
        self._agent.receive_data(data)
        for event in self._agent.events():
            if isinstance(event, Message):
                self._said(event)
            else:
                self._control(event, self._agent, self._exchange.to_agent, self.close)
            if self._code:
                return

    def from_upstream(self, data: bytes) -> None:
        """Bytes from the upstream."""
        if self._upstream.state is ConnectionState.CLOSED:
            return
        self._upstream.receive_data(data)
        for event in self._upstream.events():
            if isinstance(event, Message):
                self._told(event)
            else:
                self._control(event, self._upstream, self._exchange.to_upstream, self.close)
            if self._code:
                return

    def _control(
        self, event: Event, side: Frames, write: Callable[[bytes], None], close: Callable[[int, str], None]
    ) -> None:
        if isinstance(event, Ping):
            write(side.send(event.response()))
        elif isinstance(event, CloseConnection):
            close(NORMAL if event.code in _NEVER_SENT else event.code, "")

    # -- what the agent says ------------------------------------------------------------------------------------------

    def _said(self, event: Message[Any]) -> None:
        try:
            whole = self._from_agent.add(event)
        except ValueError as error:
            self._exchange.note("message refused", str(error))
            self.close(TOO_BIG, str(error))
            return
        if whole is None:
            return
        self._waiting.append(_Said(self, *whole))
        self._exchange.frontend.pause("messages", len(self._waiting) > MAX_WAITING)
        self._next()

    def _next(self) -> None:
        """Judge the next message, once the one before has its answer."""
        while self._current is None and self._waiting and not self._code:
            said = self._current = self._waiting.popleft()
            said.admit(self._exchange)
        self._exchange.frontend.pause("messages", len(self._waiting) > MAX_WAITING)

    def settled(self, said: "_Said") -> None:
        """The gate has spoken about this message."""
        if self._current is said:
            self._current = None
            self._next()

    def send(self, said: "_Said", value: bytes) -> bool:
        """Send a judged message; False if the upstream is not there any more."""
        if self._code or self._upstream.state is not ConnectionState.OPEN:
            return False
        event = TextMessage(value.decode()) if said.text else BytesMessage(value)
        self._exchange.to_upstream(self._upstream.send(event))
        self.messages += 1
        return True

    # -- what the upstream says ---------------------------------------------------------------------------------------

    def _told(self, event: Message[Any]) -> None:
        try:
            whole = self._from_upstream.add(event)
            if whole is None:
                return
            masked = self._mask.masked(*whole)
        except (ValueError, UnmaskableError) as error:
            self._exchange.note("message withheld", str(error))
            self.close(POLICY_VIOLATION, "a message of the upstream is withheld")
            return
        data = TextMessage(masked.decode()) if whole[1] else BytesMessage(masked)
        self._delivery.keep(masked + b"\n")
        self._exchange.to_agent(self._agent.send(data))

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self, code: int, reason: str) -> None:
        """Close both sides with this code; what waits is not sent."""
        if self._code:
            return
        self._code = code
        words = reason.encode()[:123].decode("utf-8", "ignore")
        for side, write in ((self._agent, self._exchange.to_agent), (self._upstream, self._exchange.to_upstream)):
            if side.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
                try:
                    write(side.send(CloseConnection(code, words if side is self._agent else "")))
                except LocalProtocolError:
                    continue  # it closed meanwhile
        self.abandon()
        self._exchange.tunnel_over(f"101, closed {code}{f': {words}' if words else ''}")

    def abandon(self) -> None:
        """Nobody waits for the messages that are not judged yet."""
        self._waiting.clear()
        current, self._current = self._current, None
        if current is not None:
            current.abandon()

    def count(self, masked: Counter[str]) -> None:
        """Add what was hidden in messages."""
        masked.update(self._mask.counts)


class _Said:
    """One message of the agent: the driver's `Channel` for it."""

    def __init__(self, tunnel: Tunnel, value: bytes, text: bool) -> None:
        self.tunnel = tunnel
        self.value = value
        self.text = text
        self._admitting: Admitting | None = None
        self._hold = 0.0
        self._over = False
        self._id = ""

    def admit(self, exchange: "Exchange") -> None:
        """Lead it through the gate."""
        self._id = exchange.next_id()
        self._hold = exchange.gateway.hold
        target = exchange.prepared.text.partition("\n")[0].split(" ", 1)[1]
        host = exchange.prepared.text.partition("\n")[2].partition("\n")[0].partition(": ")[2]
        kind = "text/plain" if self.text else "application/octet-stream"
        operation = Operation(
            self._id,
            "http",
            compose("MESSAGE", target, (("Host", host),)),
            (Parameter(kind, self.value, "text" if self.text else "binary"),),
            {"scheme": exchange.prepared.context["scheme"], "body": "whole", "length": len(self.value)},
            "",
            len(self.value),
        )
        admitting = exchange.gateway.admit(operation, exchange.session, self)
        if not self._over:
            self._admitting = admitting

    def abandon(self) -> None:
        """The connection ended before the gate spoke."""
        self._over = True
        if self._admitting is not None:
            self._admitting.abandon()

    @property
    def hold(self) -> float:
        return self._hold

    def waiting(self, review: str, url: str) -> None:
        """The protocol has no word for it: the agent waits."""

    def forward(self, judgement: Judgement, max_rows: int | None, done: Callable[[Result], None]) -> None:
        parameters = judgement.operation.parameters
        sent = not self._over and self.tunnel.send(self, (parameters[0].value or b"") if parameters else b"")
        outcome = Outcome.COMPLETED if sent else Outcome.NOT_SENT
        self._over = True
        done(Result(Finished(self._id, outcome, "sent" if sent else "the connection was closed"), outcome))
        self.tunnel.settled(self)

    def refuse(self, refusal: Refuse) -> None:
        if self._over:
            return
        self._over = True
        rules = ", ".join(refusal.verdict.rules) or "default"
        word = f"waits for review {refusal.review}" if refusal.held else f"refused by rule {rules}"
        self.tunnel.settled(self)
        self.tunnel.close(POLICY_VIOLATION, word)
