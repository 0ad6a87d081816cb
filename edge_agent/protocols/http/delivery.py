"""The response of one exchange on its way to the agent: its head made the edge's, its body masked or passed, framed anew, and kept for the recording.

What cannot be masked is withheld, and the agent is told so. Whole small responses leave in one write.
"""

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_agent.detection import detection
from edge_agent.kept import Kept, recorded_of_response
from edge_agent.protocols.http import masking, refusal, response
from edge_agent.protocols.http.heads import read_response
from edge_agent.protocols.http.links import Links
from edge_agent.protocols.http.messages import Headers, PeerError, ResponseHead, chunk, last_chunk, response_head
from edge_agent.protocols.http.websocket import GOING_AWAY, SERVICE_RESTART, Tunnel, accept
from gateway_kernel.audit import ResponseRecord
from gateway_kernel.errors import UnmaskableError
from gateway_kernel.judge import Judgement
from gateway_kernel.masking.masker import Detection
from gateway_kernel.verdict import Obligations

if TYPE_CHECKING:
    from edge_agent.protocols.http.exchange import Exchange


def given_headers(head: ResponseHead, exchange: "Exchange", judgement: Judgement) -> Headers:
    """The headers of a response as the edge gives them, before anything is hidden in them."""
    target = judgement.operation.text.partition("\n")[0].split(" ")[1]
    return response.headers(head, exchange.place, exchange.guarded, exchange.room.cookies, target)


def body_plan(head: ResponseHead, exchange: "Exchange", obligations: Obligations | None) -> masking.BodyPlan:
    """What becomes of the body."""
    keys = exchange.gateway.masking_keys
    return masking.plan(head.status, head.headers, obligations, keys, links_of(exchange), body=head.body)


def links_of(exchange: "Exchange") -> Links | None:
    """From the upstream's URLs to the edge's; None where an URL of the origin need not be one of the resource."""
    whole = exchange.guarded.upstream.path in ("", "/")
    return Links(response.origin(exchange.guarded), exchange.place.base) if whole else None


class Relay(NamedTuple):
    """How a response with this very head is given on if it comes whole: `before` its length, `length` bytes of body from the upstream, in which
    `links` are replaced. `length` below 0: not so simply."""

    before: bytes
    length: int
    links: Links | None
    tag: bytes


_NOT_SO = Relay(b"", -1, None, b"")


def relayed(raw: bytes, exchange: "Exchange") -> Relay:
    """What `Delivery` would make of this head, for a request whose response is not masked and whose connections both go on."""
    try:
        head = read_response(raw, False)
    except PeerError:
        return _NOT_SO
    plain = 200 <= head.status < 400 and head.body and head.length is not None and head.keep_alive
    names = {name.lower() for name, _ in head.headers}
    if not plain or exchange.head.minor == 0 or "set-cookie" in names or exchange.judgement is None:
        return _NOT_SO
    plan = body_plan(head, exchange, exchange.judgement.verdict.obligations)
    if plan.withheld or (plan.sink is not None and "content-encoding" in names):
        return _NOT_SO
    headers = given_headers(head, exchange, exchange.judgement)
    headers = tuple(each for each in headers if each[0].lower() not in plan.dropped)
    before = response_head(head.status, head.reason, (*headers, ("Content-Length", "")))[:-4]
    return Relay(before, head.length or 0, None if plan.sink is None else links_of(exchange), str(head.status).encode())


AT_ONCE = 64 << 10  # bytes given to a sink at a time: encoded, they may become four hundred times as many


class _Head(NamedTuple):
    """A head of the upstream, its headers as they go to the agent, and whether its connection goes on."""

    given: ResponseHead
    headers: Headers
    keep: bool


class Delivery:
    """One response. `detail` is what the recording says of its end; `cut` is true if the agent must not take it for whole."""

    def __init__(self, exchange: "Exchange", judgement: Judgement) -> None:
        self.exchange = exchange
        self.judgement = judgement
        self.status = 0
        self.detail = ""
        self.begun = False
        self.cut = False
        self.masked: Counter[str] = Counter()
        self._kept = Kept(recorded_of_response(judgement, exchange.session))
        self._out: list[bytes] = []
        self._sink: masking.Sink | None = None
        self._head: _Head | None = (
            None  # not sent yet: perhaps the whole body comes with it, and its length can be said
        )
        self._early: list[bytes] = []
        self._body = True  # bytes of the body reach the agent
        self._chunked = False
        self._withheld = False
        self._tunnel: Tunnel | None = None
        self._input: Any = None
        self._input_size = 0

    # -- the head -----------------------------------------------------------------------------------------------------

    def begin(self, head: ResponseHead, *, keep: bool) -> None:
        """The head arrived."""
        self.status, self.detail = head.status, str(head.status)
        exchange = self.exchange
        headers = self._headers(head)
        if head.status == 101:
            self._upgrade(head, headers)
            return
        plan = body_plan(head, exchange, None if self._observed else self.judgement.verdict.obligations)
        if plan.withheld:
            self._withhold(plan.withheld)
            return
        self._sink = plan.sink
        self._body = head.body
        headers = tuple(each for each in headers if each[0].lower() not in plan.dropped) if plan.dropped else headers
        self._head = _Head(head, headers, keep)
        if self._sink is None or not self._body:
            self._emit_head(head.length)

    def interim(self, head: ResponseHead) -> None:
        """A word before the response, which a proxy passes on (RFC 9110 15.2); the recording holds what followed."""
        self.exchange.to_agent(response_head(head.status, head.reason, self._headers(head)))

    def _headers(self, head: ResponseHead) -> Headers:
        """Its headers as they go to the agent."""
        headers = given_headers(head, self.exchange, self.judgement)
        return headers if self._detection is None else masking.masked_headers(headers, self._detection, self.masked)

    def _emit_head(self, length: int | None) -> None:
        """The head leaves; `length` is that of the body as the agent gets it, None if it is not known."""
        waiting, self._head = self._head, None
        if waiting is not None:
            self.begun = True
            given, headers, keep = waiting
            framing = self._framing(given, length, keep=keep)
            self._emit(response_head(given.status, given.reason, headers + framing))

    @property
    def _observed(self) -> bool:
        return self.exchange.session.mode == "observe"

    @property
    def _detection(self) -> Detection | None:
        """What detectors look for in headers."""
        if self._observed:
            return None
        return detection(self.judgement.verdict.obligations.detect, self.exchange.gateway.masking_keys)

    @property
    def plain(self) -> bool:
        """True if it came whole, and the agent got all of it."""
        return bool(self.status) and self.status < 400 and not self._withheld and self._tunnel is None

    def _framing(self, head: ResponseHead, length: int | None, *, keep: bool) -> Headers:
        """How the agent knows where the body ends (RFC 9112 6)."""
        old = self.exchange.head.minor == 0
        framing: list[tuple[str, str]] = []
        if length is not None and (self._sink is None or self._body):
            framing.append(("Content-Length", str(length)))
        elif self._body and not old:
            self._chunked = True
            framing.append(("Transfer-Encoding", "chunked"))
        elif self._body:
            self.exchange.closes = True
            keep = False
        elif head.chunked and not old and self._sink is None:
            framing.append(("Transfer-Encoding", "chunked"))  # of the body that GET would have had
        if not keep:
            framing.append(("Connection", "close"))
        elif old:
            framing.append(("Connection", "keep-alive"))
        return tuple(framing)

    def _withhold(self, reason: str) -> None:
        """The agent learns that it ran, how it ended, and why it does not see the answer."""
        self.detail = f"{self.status}, withheld: {reason}"
        self._withheld = self.begun = True
        text = f"The upstream answered {self.status}. Its answer is withheld: {reason}."
        exchange = self.exchange
        self._emit(
            refusal.problem(
                502,
                "the response is withheld",
                text,
                bodiless=exchange.head.method == "HEAD",
                close=not exchange.keeps,
            )
        )
        exchange.withheld(self.detail)

    # -- the body -----------------------------------------------------------------------------------------------------

    def data(self, data: bytes) -> None:
        """The next bytes of the body."""
        if self._withheld or not self._body:
            return
        if self._sink is None:
            self._give(data)
            return
        try:
            for at in range(0, len(data), AT_ONCE):
                for piece in self._sink.feed(data[at : at + AT_ONCE]):
                    self._give(piece)
        except UnmaskableError as error:
            self._break_off(str(error))

    def _give(self, data: bytes) -> None:
        if self._head is not None:
            self._early.append(data)
        elif data:
            self._emit(chunk(data) if self._chunked else data)

    def end(self, trailers: Headers) -> None:
        """The body is whole."""
        if self._withheld:
            return
        if self._sink is not None:
            try:
                for piece in self._sink.finish():
                    self._give(piece)
            except UnmaskableError as error:
                self._break_off(str(error))
                return
            if self._head is not None and not trailers:
                self._emit_head(sum(map(len, self._early)))
        self._release()
        if self._chunked:
            self._emit(last_chunk(self._trailers(trailers)))

    def _release(self) -> None:
        """What waited for a head that could say how long it is."""
        self._emit_head(None)
        early, self._early = self._early, []
        for piece in early:
            self._give(piece)

    def _trailers(self, trailers: Headers) -> Headers:
        detect = (
            None
            if self._observed
            else detection(self.judgement.verdict.obligations.detect, self.exchange.gateway.masking_keys)
        )
        return trailers if detect is None or not trailers else masking.masked_headers(trailers, detect, self.masked)

    def _break_off(self, reason: str) -> None:
        """What was given was masked; the rest cannot be, and the agent must not take what it has for everything."""
        self._withheld = True
        if self._head is not None:
            self._head = None
            self._early.clear()
            self._withhold(reason)
            return
        self.cut = True
        self.detail = f"{self.status}, the rest is withheld: {reason}"
        self.exchange.withheld(self.detail)

    def _emit(self, data: bytes) -> None:
        self._kept.add(data)
        self._out.append(data)

    def flush(self) -> None:
        """Write what has gathered: all that one read of the upstream brought."""
        if self._head is not None and not self._withheld:
            self._release()
        if self._out:
            out, self._out = self._out, []
            self.exchange.to_agent(out[0] if len(out) == 1 else b"".join(out))

    # -- what is recorded ---------------------------------------------------------------------------------------------

    def count_input(self, data: bytes) -> None:
        """A piece of a request body that was not judged with its content."""
        if self._input is None:
            self._input = hashlib.sha256()
        self._input.update(data)
        self._input_size += len(data)

    def input_note(self) -> str:
        """What is known of such a body, "" if there was none."""
        return "" if self._input is None else f"sha256:{self._input.hexdigest()} {self._input_size} bytes"

    def record(self) -> ResponseRecord | None:
        """The response as the agent got it."""
        if self._tunnel is not None:
            self._tunnel.count(self.masked)
        elif self._sink is not None:
            self.masked.update(self._sink.counts)
        return self._kept.record("http", masked=self.masked)

    # -- another protocol ---------------------------------------------------------------------------------------------

    @property
    def upgraded(self) -> bool:
        """True once the connection speaks WebSocket."""
        return self._tunnel is not None

    def _upgrade(self, head: ResponseHead, headers: Headers) -> None:
        exchange = self.exchange
        given = {name.lower(): value for name, value in head.headers}
        if head.upgrade != "websocket" or given.get("sec-websocket-accept") != accept(exchange.upstream_key):
            self._withhold("it switches to a protocol that was not asked for")
            return
        if "sec-websocket-extensions" in given:
            self._withhold("it uses a WebSocket extension that was not offered")
            return
        key = next((value for name, value in exchange.head.headers if name.lower() == "sec-websocket-key"), "")
        kept = tuple(each for each in headers if each[0].lower() != "sec-websocket-accept")
        upgrade = (("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Accept", accept(key)))
        self.begun = True
        self._emit(response_head(101, "Switching Protocols", kept + upgrade))
        self.flush()
        obligations = None if self._observed else self.judgement.verdict.obligations
        mask = masking.MessageMask(obligations, exchange.gateway.masking_keys)
        self._tunnel = Tunnel(exchange, self, mask)
        exchange.upgrade()

    def keep(self, data: bytes) -> None:
        """Account for what reached the agent on an upgraded connection."""
        self._kept.add(data)

    def from_upstream(self, data: bytes) -> None:
        """Bytes of the upgraded connection."""
        if self._tunnel is not None:
            self._tunnel.from_upstream(data)

    def from_agent(self, data: bytes) -> bool:
        """Bytes of the upgraded connection; False if there is none."""
        if self._tunnel is None:
            return False
        self._tunnel.from_agent(data)
        return True

    def drain(self) -> None:
        """End an upgraded connection politely."""
        if self._tunnel is not None:
            self._tunnel.close(SERVICE_RESTART, "the gateway is being restarted")

    def lost(self) -> None:
        """One side of an upgraded connection is gone without a word."""
        if self._tunnel is not None:
            self._tunnel.close(GOING_AWAY, "")
