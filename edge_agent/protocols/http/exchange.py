"""One request from its head to the end of its response: the driver's `Channel`, and what the upstream's connection tells its answer to.

The body is read first where it is small or people have to see it, and goes on as it comes where neither holds; then the gate decides. It sends
what was judged, once, and tells the driver the truth about what became of it. How a response is changed on its way is in `delivery`.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_agent.gateway import Admitting, Credential, Guarded, LimitReachedError
from edge_agent.protocols.http import refusal as answers
from edge_agent.protocols.http import websocket
from edge_agent.protocols.http.delivery import Delivery
from edge_agent.protocols.http.intake import Intake, Manner
from edge_agent.protocols.http.messages import End, RequestHead, ResponseHead
from edge_agent.protocols.http.request import Named, wire
from edge_agent.protocols.http.response import Place
from edge_agent.protocols.http.sending import Sending
from edge_agent.protocols.http.upstream import Connection, UpstreamError
from gateway_kernel.audit import Decided, Finished, Noted, Outcome, operation_record, verdict_record
from gateway_kernel.commands import Refuse, Result
from gateway_kernel.judge import Judgement
from gateway_kernel.model import Instant, Operation
from gateway_kernel.verdict import denial

if TYPE_CHECKING:
    from edge_agent.protocols.http.conversations import Conversation, Identity
    from edge_agent.protocols.http.frontend import Frontend

HOLD = 25.0  # seconds: clients and what stands before them give up soon after
ANSWER_LIMIT = 300.0  # seconds without a byte from the upstream
LEFT_LIMIT = 10.0  # seconds for which the answer is waited for whose agent is gone, so that the outcome is known
TOO_LARGE = "operation-too-large"


class Exchange:
    """One request. `when_over` is called once if the agent left before its end."""

    def __init__(
        self,
        frontend: "Frontend",
        head: RequestHead,
        name: Named,
        guarded: Guarded,
        conversation: "Conversation",
        place: Place,
        identity: "Identity",
        number: int,
    ) -> None:
        self.frontend = frontend
        self.room = frontend.room
        self.gateway = frontend.gateway
        self.head = head
        self.name = name
        self.identity = identity
        self.guarded = guarded
        self.conversation = conversation
        self.session = conversation.session
        self.place = place
        self.prepared = self.room.preparing.prepared(head, name, guarded)
        self.id = f"{self.session.id}-{number}"
        self.when_over: Callable[[], None] | None = None
        self.delivery: Delivery | None = None
        self.closes = False  # the end of the response is that of the connection
        self.intake = Intake(self)
        self._left = False  # the agent is gone
        self._settled = False  # forwarded or refused: the gate has spoken
        self._over = False
        self._admitting: Admitting | None = None
        self.judgement: Judgement | None = None
        self._done: Callable[[Result], None] | None = None
        self._connection: Connection | None = None
        self._sending: Sending | None = None
        self._started = 0
        self._told = 0.0  # when the upstream last gave or took something

    def next_id(self) -> str:
        """The id of the next operation of this session."""
        self.conversation.operations += 1
        return f"{self.session.id}-{self.conversation.operations}"

    # -- the request --------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Judge it now if it has no body, else read that first."""
        if self.head.upgrade == "websocket" and (problem := websocket.unacceptable(self.head)):
            self._settled = True
            self._answer(answers.problem(400, "not a WebSocket handshake", problem, close=not self.keeps))
        else:
            self.intake.begin()

    def request_broke(self, reason: str) -> None:
        """The rest of the request will not come, or is none."""
        self.intake.drop()
        if self._admitting is not None and not self._settled:
            self._admitting.abandon()
        if self._connection is not None and not self.sent_whole:
            self._lose(f"the agent broke off its request: {reason}")

    @property
    def answering(self) -> bool:
        """True once the agent has had a part of the response."""
        return self.delivery is not None and self.delivery.begun

    def refuse_unjudged(self, operation: Operation, reason: str) -> None:
        """Nobody could see it whole; that it was refused is recorded as every refusal is."""
        self._settled = True
        verdict = denial(TOO_LARGE, reason)
        try:
            self.gateway.record(self.session, Decided(operation_record(operation), verdict_record(verdict)))
        except LimitReachedError as error:
            self.room.report(self.guarded, error)
        self._answer(answers.refused(Refuse(operation, verdict), self.place.base, close=not self.keeps))

    def admit(self, operation: Operation) -> None:
        """Lead it through the gate."""
        admitting = self.gateway.admit(operation, self.session, self)
        if not self._over:
            self._admitting = admitting

    # -- the driver's side --------------------------------------------------------------------------------------------

    @property
    def hold(self) -> float:
        return min(self.gateway.hold, HOLD)

    def waiting(self, review: str, url: str) -> None:
        """Nothing can be said while a client waits; one that prefers not to wait is told where to look."""
        if self.prepared.respond_async and self._admitting is not None:
            self._admitting.stop_waiting(
                "People are being asked. Send the same request again once the review is approved."
            )

    def forward(self, judgement: Judgement, max_rows: int | None, done: Callable[[Result], None]) -> None:
        self.judgement, self._done = judgement, done
        self._started = self.gateway.now()
        self._settled = True
        if self._left:
            self._finish(Outcome.NOT_SENT, "the agent was gone")
            return
        self.delivery = Delivery(self, judgement)
        credential = self.room.known_credential(self.guarded)
        connection = self.room.pool(self.guarded).take() if credential is not None else None
        if credential is not None and connection is not None:
            self._send(credential, connection)
        else:
            self.room.spawn(self._reach(credential))

    def refuse(self, refusal: Refuse) -> None:
        if self._settled:
            return
        self._settled = True
        self.intake.drop()
        self._answer(
            answers.refused(
                refusal,
                self.place.base,
                respond_async=self.prepared.respond_async,
                bodiless=self.head.method == "HEAD",
                close=not self.keeps,
            )
        )

    def _answer(self, response: bytes) -> None:
        """A response of the edge's own ends the request."""
        self.frontend.write(response)
        self._end()

    async def _reach(self, credential: Credential | None) -> None:
        try:
            if credential is None:
                credential = await self.room.credential(self.guarded)
            pool = self.room.pool(self.guarded)
            connection = pool.take() or await pool.connect()
        except UpstreamError as error:
            self._unreachable(str(error))
            return
        except Exception as error:  # noqa: BLE001 - whatever a vault's client raises: the agent learns only that there is none
            self._unreachable("the gateway has no credential for the resource", error)
            return
        if self._left or self._over:
            self._finish(Outcome.NOT_SENT, "the agent was gone")
            connection.abort()
            return
        self._send(credential, connection)

    def _unreachable(self, reason: str, error: Exception | None = None) -> None:
        if error is not None:
            self.room.report(self.guarded, error)
        self.intake.drop()
        self._finish(Outcome.NOT_SENT, reason)
        if not self._over:
            self._answer(
                answers.problem(
                    502,
                    "the upstream cannot be used",
                    reason,
                    bodiless=self.head.method == "HEAD",
                    close=not self.keeps,
                )
            )

    # -- towards the upstream -----------------------------------------------------------------------------------------

    def _send(self, credential: Credential, connection: Connection) -> None:
        """Send what was judged; from here on a crash means `unknown`."""
        assert self.judgement is not None
        self._connection = connection
        self._told = time.monotonic()
        self._sending = Sending(self, connection)
        self._sending.begin(self.judgement.operation, credential)

    def opened(self, cookies: str) -> str:
        """A Cookie header of the agent as the upstream knows it."""
        return self.room.cookies.opened(cookies, self.place.agent, self.place.resource)

    def stream(self, data: bytes) -> None:
        """The next piece of a body that goes on as it comes; it waits where there is no connection yet."""
        if self._sending is None:
            self.intake.pieces.append(data)
        else:
            self._told = time.monotonic()
            self._sending.stream(data)

    def stream_ended(self) -> None:
        """Such a body is whole."""
        if self._sending is not None:
            self._sending.stream_ended()

    def writable(self, writable: bool) -> None:
        """The upstream takes no more for now, or takes more again."""
        if self.intake.manner is Manner.STREAMED or self._upgraded:
            self.frontend.pause("upstream", not writable)
        elif writable and self._sending is not None:
            self._sending.pour()

    @property
    def sent_whole(self) -> bool:
        return self._sending is None or self._sending.whole

    def resume(
        self, judgement: Judgement, started: Instant, connection: Connection, done: Callable[[Result], None]
    ) -> None:
        """Take over a request that was sent in the short way."""
        self.judgement, self._done, self._started = judgement, done, started
        self._settled = True
        self.delivery = Delivery(self, judgement)
        self._connection = connection
        self._told = time.monotonic()
        connection.carry(self, self.head.method)

    def wired(self, credential: Credential, name: str) -> bytes:
        """The bytes of a request without a body, under this id, as they go upstream."""
        assert self.judgement is not None
        return wire(self.judgement.operation.text, credential, (("X-Request-Id", name),), self.opened)

    @property
    def upstream_key(self) -> str:
        """The key of the WebSocket handshake with the upstream, "" if there was none."""
        return "" if self._sending is None else self._sending.key

    @property
    def repeatable(self) -> bool:
        """True if it was a whole request without a body that was answered as it came."""
        plain = self.delivery is not None and self.delivery.plain
        return plain and self.intake.manner is Manner.NONE and not self.head.upgrade and self.judgement is not None

    # -- from the upstream --------------------------------------------------------------------------------------------

    def responded(self, head: ResponseHead) -> None:
        self._told = time.monotonic()
        if head.status == 401:
            self.room.credential_refused(self.guarded)
        if head.status >= 200 or head.status == 101:
            assert self.delivery is not None
            self.delivery.begin(head, keep=self.keeps)
        elif head.status != 100 and self.head.minor and self.delivery is not None:
            self.delivery.interim(head)

    def arrived(self, data: bytes) -> None:
        assert self.delivery is not None
        self._told = time.monotonic()
        self.delivery.data(data)

    def ended(self, trailers: End) -> None:
        assert self.delivery is not None
        self.delivery.end(trailers.trailers)
        self._connection = None
        self._complete()

    def broke(self, reason: str) -> None:
        self._connection = None
        delivery = self.delivery
        if delivery is None or self._over:
            return
        if delivery.upgraded:
            delivery.lost()
            return
        status = f"{delivery.status}, " if delivery.status else ""
        self.intake.drop()
        self._finish(Outcome.UNKNOWN, f"{status}{reason}")
        if not delivery.begun and not self._left:
            close = not self.keeps
            text = f"{reason}. What became of the request is not known; it is not sent again."
            self._answer(
                answers.problem(
                    502, "the upstream did not answer", text, bodiless=self.head.method == "HEAD", close=close
                )
            )
        else:
            self._end(cut=True)

    def flush(self) -> None:
        if self.delivery is not None:
            self.delivery.flush()

    def switched(self, data: bytes) -> None:
        """Bytes of the upgraded connection, from the upstream."""
        assert self.delivery is not None
        self.delivery.from_upstream(data)

    def tunnelled(self, data: bytes) -> bool:
        """Bytes of the upgraded connection, from the agent; False if there is none and they are HTTP."""
        return self.delivery is not None and self.delivery.from_agent(data)

    def upgrade(self) -> None:
        """The connection speaks WebSocket from here on."""
        assert self._connection is not None
        assert self.delivery is not None
        early = self._connection.tunnel()
        if early:
            self.delivery.from_upstream(early)
        self.frontend.upgraded()

    @property
    def _upgraded(self) -> bool:
        return self.delivery is not None and self.delivery.upgraded

    def to_upstream(self, data: bytes) -> None:
        """Bytes of the upgraded connection."""
        if self._connection is not None and not self._connection.transport.is_closing():
            self._connection.transport.write(data)

    def tunnel_over(self, detail: str) -> None:
        """The upgraded connection ended."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.finish()
        self.closes = True
        self._finish(Outcome.COMPLETED, detail)
        self._end()

    # -- ending -------------------------------------------------------------------------------------------------------

    @property
    def keeps(self) -> bool:
        """True if the agent's connection may carry another request after this one."""
        return self.head.keep_alive and self.intake.whole and not self.closes and not self.room.draining

    def to_agent(self, data: bytes) -> None:
        """Write to the agent, if it is still there."""
        if not self._left:
            self.frontend.write(data)

    def _complete(self) -> None:
        """The response is whole."""
        delivery = self.delivery
        assert delivery is not None
        self._finish(Outcome.COMPLETED if delivery.status < 400 else Outcome.FAILED, delivery.detail)
        self._end(cut=delivery.cut)

    def withheld(self, detail: str) -> None:
        """What the upstream answers does not reach the agent: its connection is not read any further."""
        delivery = self.delivery
        assert delivery is not None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        self._finish(Outcome.COMPLETED if delivery.status < 400 else Outcome.FAILED, detail)
        self._end(cut=delivery.cut)

    def _finish(self, outcome: Outcome, detail: str) -> None:
        """Tell the driver the outcome, once."""
        done, self._done = self._done, None
        if done is None:
            return
        response = None
        delivery = self.delivery
        if delivery is not None:
            if (note := delivery.input_note()) and outcome is not Outcome.NOT_SENT:
                self.note("request body", note)
            response = delivery.record()
        micros = self.gateway.now() - self._started
        finished = Finished(self.id, outcome, detail, response, micros)
        done(Result(finished, outcome))

    def note(self, what: str, detail: str) -> None:
        try:
            self.gateway.record(self.session, Noted(what, detail, self.id))
        except LimitReachedError as error:
            self.room.report(self.guarded, error)

    def _end(self, *, cut: bool = False) -> None:
        """The agent has had what it gets."""
        if self._over:
            return
        self._over = True
        if self.delivery is not None:
            self.delivery.flush()
        self.frontend.pause("upstream", False)
        if self.when_over is not None:
            self.when_over()
        elif self._left:
            pass
        elif cut:
            self.frontend.abort("the response was cut short")
        else:
            self.frontend.over(keep=self.keeps)

    def _lose(self, reason: str) -> None:
        """The request was being sent and will not be whole: nobody can tell what the upstream makes of it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()
        delivery = self.delivery
        answered = delivery is not None and delivery.status
        outcome = Outcome.UNKNOWN if not answered else Outcome.COMPLETED if answered < 400 else Outcome.FAILED
        self._finish(outcome, f"{answered}, {reason}" if answered else reason)

    def agent_writable(self, writable: bool) -> None:
        """The agent takes no more for now, or takes more again."""
        if self._connection is not None:
            self._connection.pause(not writable)

    def agent_gone(self, reason: str) -> bool:
        """The agent's connection is closed. True if the end of this request is still to come: then `when_over` is called."""
        self._left = True
        self.intake.drop()
        if self.delivery is not None and self.delivery.upgraded:
            self.delivery.lost()
            return False
        if self._admitting is not None and not self._settled:
            self._admitting.abandon()
        if self._done is None:
            self._over = True
            return False
        if self._connection is None:
            return True  # it is being connected, and then not sent
        if not self.sent_whole or (self.delivery is not None and self.delivery.status):
            self._lose(reason)
            self._over = True
            return False
        asyncio.get_running_loop().call_later(LEFT_LIMIT, self._unanswered)
        return True

    def _unanswered(self) -> None:
        if not self._over:
            self._lose("the agent went away before the upstream answered")
            self._end()

    def look(self, now: float) -> None:
        """Called each second: an upstream that gives and takes nothing is given up."""
        if self._connection is None or now < self._told + ANSWER_LIMIT or self._upgraded:
            return
        connection, self._connection = self._connection, None
        connection.abort()
        self.broke(f"nothing came from the upstream for {ANSWER_LIMIT:g} s")

    def drain(self) -> None:
        """The edge stops: what is under way may end; an upgraded connection ends now."""
        if self.delivery is not None and self.delivery.upgraded:
            self.delivery.drain()
