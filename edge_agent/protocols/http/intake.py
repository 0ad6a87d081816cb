"""The request of one exchange as it is read: its body is part of the operation where it is small or people have to see it.

A body of up to `INSPECTED` bytes is read before it is judged, and judged with it. A larger one is kept whole, encrypted, if people will be
asked; else it goes on as it comes, and the recording keeps its digest. What becomes of the operation is in `exchange`.
"""

from enum import Enum
from typing import TYPE_CHECKING

from edge_agent.gateway import LimitReachedError
from edge_agent.input_spool import MAX_INPUT, InputSpool
from edge_agent.protocols.http.messages import MiB
from gateway_kernel.model import Operation, Parameter

if TYPE_CHECKING:
    from edge_agent.protocols.http.exchange import Exchange

INSPECTED = 512 << 10  # bytes
_TEXTUAL = ("text/", "application/json", "application/xml", "application/x-www-form-urlencoded", "application/graphql")


class Manner(Enum):
    """What is done with the bytes of the request's body."""

    NONE = "there is none"
    GATHERED = "read before it is judged"
    SPOOLED = "kept, encrypted, until people decided"
    STREAMED = "sent on as it comes"
    DROPPED = "thrown away"


class Intake:
    """Reads one request. `whole` once all of it was read; `pieces` wait to be judged, or to be sent."""

    def __init__(self, exchange: "Exchange") -> None:
        head = exchange.head
        self._exchange = exchange
        self.manner = Manner.NONE
        self.whole = not (head.chunked or head.length)
        self.declared = head.length
        self.pieces: list[bytes] = []
        self.spool: InputSpool | None = None
        self._size = 0

    @property
    def wanted(self) -> bool:
        """True while bytes of the request are still to come."""
        return not self.whole and self.manner is not Manner.DROPPED

    def begin(self) -> None:
        """The head was read."""
        exchange = self._exchange
        if self.whole:
            exchange.admit(self.operation(()))
            return
        self.manner = Manner.GATHERED
        if exchange.head.expects:
            exchange.to_agent(b"HTTP/1.1 100 Continue\r\n\r\n")

    def data(self, data: bytes) -> None:
        """The next bytes of the body."""
        match self.manner:
            case Manner.GATHERED:
                self.pieces.append(data)
                self._size += len(data)
                if self._size > INSPECTED:
                    self._outgrown()
            case Manner.SPOOLED:
                assert self.spool is not None
                self.spool.add(data)
                if self.spool.too_large:
                    self._too_large()
            case Manner.STREAMED:
                self._exchange.stream(data)
            case _:
                pass

    def ended(self) -> None:
        """The body is whole. Its trailers are not sent on: nobody judged them."""
        self.whole = True
        match self.manner:
            case Manner.GATHERED:
                value = b"".join(self.pieces)
                kind = self._exchange.prepared.media_type
                textual = kind.startswith(_TEXTUAL) or kind.endswith("+json")
                parameter = Parameter(kind, value, "text" if textual else "binary")
                self._exchange.admit(self.operation((parameter,), body="whole", length=self._size))
            case Manner.SPOOLED:
                assert self.spool is not None
                digest = self.spool.digest()
                self._exchange.admit(self.operation((), body="digest", length=self.spool.size, digest=digest))
            case Manner.STREAMED:
                self._exchange.stream_ended()
            case _:
                pass

    def drop(self) -> None:
        """Nothing of the body is needed any more, nor what was kept of it."""
        self.manner = Manner.DROPPED
        self.pieces = []
        if self.spool is not None:
            self.spool.discard()

    def operation(
        self, parameters: tuple[Parameter, ...], *, body: str = "none", length: int = 0, digest: str = ""
    ) -> Operation:
        """The operation that this request is, with what is known of its body."""
        prepared = self._exchange.prepared
        context, size = prepared.context, prepared.size
        if body != "none":
            context = {**context, "body": body, "length": length}
            size += length if body != "streamed" else 0
        return Operation(self._exchange.id, "http", prepared.text, parameters, context, digest, size)

    def streamed(self) -> Operation:
        """The operation whose body nobody reads."""
        return self.operation((), body="streamed", length=-1 if self.declared is None else self.declared)

    def _outgrown(self) -> None:
        """Too large to be judged with its content: kept whole if people will be asked, else sent on as it comes."""
        operation = self.streamed()
        if not self._needs_people(operation):
            self.manner = Manner.STREAMED
            self._exchange.frontend.pause("upstream", True)
            self._exchange.admit(operation)
            return
        self.manner = Manner.SPOOLED
        self.spool = InputSpool()
        pieces, self.pieces = self.pieces, []
        for piece in pieces:
            self.spool.add(piece)
        if self.declared is not None and self.declared > MAX_INPUT:
            self._too_large()

    def _needs_people(self, operation: Operation) -> bool:
        exchange = self._exchange
        try:
            verdict = exchange.gateway.judge_only(operation, exchange.session).verdict
        except LimitReachedError:
            return False  # the gate refuses it for the same reason
        return exchange.session.mode == "enforce" and verdict.needs_review

    def _too_large(self) -> None:
        self.drop()
        self._exchange.refuse_unjudged(
            self.streamed(), f"A body that waits for a review may have {MAX_INPUT // MiB} MiB; send it in parts."
        )
