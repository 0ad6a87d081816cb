"""One judged request on its way to the upstream: its head with what the edge makes, and its body from where it waits. Nothing is sent twice.

What is sent is the text and the parameters of the judgement, or the input that its digest covers, or what streams behind a judged head.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edge_agent.gateway import Credential
from edge_agent.protocols.http import websocket
from edge_agent.protocols.http.intake import Manner
from edge_agent.protocols.http.messages import chunk, last_chunk
from edge_agent.protocols.http.request import wire
from edge_agent.protocols.http.upstream import Connection
from gateway_kernel.model import Operation

if TYPE_CHECKING:
    from edge_agent.protocols.http.exchange import Exchange

_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})
"""Methods whose body many servers do not expect (RFC 9110 9.3)."""
_EXPECTED = frozenset({"POST", "PUT", "PATCH"})
"""Methods without a body say so (RFC 9110 8.6)."""


class Sending:
    """The request of one exchange on its connection. `whole` once all of it was written; `key` is that of a WebSocket handshake."""

    def __init__(self, exchange: "Exchange", connection: Connection) -> None:
        self._exchange = exchange
        self._connection = connection
        self._outgoing: Iterator[bytes] | None = None
        self.whole = False
        self.key = ""

    def begin(self, operation: Operation, credential: Credential) -> None:
        """Send the head, and of the body what is there."""
        exchange, connection, intake = self._exchange, self._connection, self._exchange.intake
        body = (operation.parameters[0].value or b"") if operation.parameters else b""
        head = wire(operation.text, credential, self._made(operation, len(body)), exchange.opened)
        pieces, intake.pieces = intake.pieces, []
        if intake.manner is Manner.STREAMED:
            connection.send(exchange, exchange.head.method, head)
            for piece in pieces:
                self.stream(piece)
            exchange.frontend.pause("upstream", False)
            if intake.whole:
                self.stream_ended()
        elif intake.manner is Manner.SPOOLED and intake.spool is not None:
            connection.send(exchange, exchange.head.method, head)
            self._outgoing = intake.spool.chunks()
            self.pour()
        else:
            self.whole = True
            connection.send(exchange, exchange.head.method, head + body)

    def _made(self, operation: Operation, size: int) -> tuple[tuple[str, str], ...]:
        """The headers that the edge makes: the request's id, its framing, and the handshake of a WebSocket."""
        head, intake = self._exchange.head, self._exchange.intake
        made = [("X-Request-Id", self._exchange.id)]
        if operation.parameters:
            made.append(("Content-Length", str(size)))
        elif intake.manner is Manner.SPOOLED and intake.spool is not None:
            made.append(("Content-Length", str(intake.spool.size)))
        elif intake.manner is Manner.STREAMED:
            made.append(
                ("Transfer-Encoding", "chunked") if head.length is None else ("Content-Length", str(head.length))
            )
        elif head.length is not None or head.method in _EXPECTED:
            made.append(("Content-Length", "0"))
        if head.method in _BODILESS and intake.manner is not Manner.NONE:
            # An upstream that does not look for a body there would read it as another request, which nobody judged.
            made.append(("Connection", "close"))
            self._connection.keep = False
        if head.upgrade == "websocket":
            self.key = websocket.new_key()
            made += [("Connection", "Upgrade"), ("Upgrade", "websocket")]
            made += [("Sec-WebSocket-Version", websocket.VERSION), ("Sec-WebSocket-Key", self.key)]
        return tuple(made)

    def stream(self, data: bytes) -> None:
        """Send the next piece of a body that goes on as it comes."""
        assert self._exchange.delivery is not None
        self._exchange.delivery.count_input(data)
        self._connection.transport.write(data if self._exchange.head.length is not None else chunk(data))

    def stream_ended(self) -> None:
        """Such a body is whole."""
        self.whole = True
        if self._exchange.head.length is None:
            self._connection.transport.write(last_chunk())

    def pour(self) -> None:
        """Send what was spooled, as fast as the upstream takes it."""
        if self._outgoing is None:
            return
        for piece in self._outgoing:
            self._connection.transport.write(piece)
            if self._connection.full:
                return
        self._outgoing = None
        self.whole = True
