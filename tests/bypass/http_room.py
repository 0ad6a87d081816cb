"""HTTP for the bypass tests: a service that has an answer for everything behind the product, and raw sockets before it."""

import copy
from collections.abc import Iterator

import pytest

from sallyport.local_http import Http, Received, running_http
from tests.bypass import CANARY, HTTP_POLICY, HTTP_ROUTES, corpus, request_bytes
from tests.bypass.attacked import Came, Tried
from tests.support.guarded_http import Behind, Guarded, guarded_http
from tests.support.http import Lost, Reply, Wire

HIDDEN = {
    "customers": [
        {
            "id": number,
            "title": "Dr",
            "country": "de",
            "email": f"{CANARY}{number}@secret.example",
            "ssn": f"{CANARY}-{number}",
        }
        for number in range(1, 4)
    ],
    "card_number": [{"id": 1, "digits": CANARY}],
}
RESOURCE = "shop"
FORMS = ("HTTP/1.1",)

UNREADABLE = {400, 501}
"""What is no request at all, or none of HTTP's methods: no operation, and the connection ends with it."""

REFUSED = {403: Came.DENIED, 503: Came.WAITS, **dict.fromkeys(UNREADABLE, Came.NEVER_RAN)}
"""The edge's own problem documents. Another status is the gateway in trouble."""

CLOSED = {b"refused by ": Came.DENIED, b"waits for r": Came.WAITS}
"""How the reason begins with which a refused message closes its WebSocket."""

POLICY_VIOLATION = 1008


def parts(written: str) -> tuple[str, list[str], bytes]:
    """Request line, header lines and body of a line of the corpus; latin-1 stands for bytes."""
    head, _, body = request_bytes(written).partition(b"\n\n")
    line, *headers = head.decode("latin-1").split("\n")
    return line, headers, body


def elsewhere(written: str) -> bool:
    """True for what is about another upstream's host: that is for the judgement alone."""
    line, headers, _ = parts(written)
    return any(header.lower().startswith("host:") for header in headers) or " http://" in line


ATTACKS = [each for each in corpus("http.txt") if not elsewhere(each.attack)]
TWINS = [each for each in corpus("http.txt") if not elsewhere(each.twin)]


def problem(reply: Reply) -> bool:
    """True for an answer of the edge's own."""
    return reply.header("content-type").startswith("application/problem+json")


class HttpRoom:
    """The service behind the product, and the agent's one connection."""

    def __init__(self, service: Http, edge: Guarded) -> None:
        self._service = service
        self.edge = edge
        self._wire: Wire | None = None
        self._received = b""
        self.untouched = self.upstream()

    def forms(self, text: str) -> tuple[str, ...]:
        """There is one way to say it."""
        return FORMS

    def attempt(self, text: str, form: str) -> Tried:
        """One request, or one message on a WebSocket of its own."""
        if text.startswith("MESSAGE"):
            return self._message(text)
        reply = self.ask(text)
        own = problem(reply)
        came = REFUSED.get(reply.status, Came.FAILED) if own else Came.RAN
        ran = [entry.line for entry in self.arrived()]
        goes_on = reply.status in UNREADABLE or not reply.ends
        return Tried(came, [] if own else [reply.body], self._received + _read(reply), ran, goes_on, reply)

    def put_away(self, text: str) -> None:
        """HTTP has no session that could keep anything."""

    def session(self) -> bytes:
        """The next request is served."""
        reply = self.ask("GET /orders")
        assert reply.status == 200, reply
        return reply.body

    def upstream(self) -> object:
        """All that the service keeps."""
        billing = self._service.billing
        return billing.counter, copy.deepcopy(billing.collections), dict(billing.files)

    def ask(self, written: str) -> Reply:
        """Send a line of the corpus and read its answer; the connection is made anew only if one before ended it."""
        line, headers, body = parts(written)
        wire = self._wire = self._wire or self.edge.wire()
        wire.received.clear()
        self._service.clear_journal()
        wire.send(self.edge.request(RESOURCE, line, *headers, body=body))
        try:
            reply = wire.reply(line.partition(" ")[0])
        except Lost:
            self.leave()
            raise
        self._received = bytes(wire.received)
        if reply.ends:
            self.leave()
        return reply

    def arrived(self) -> list[Received]:
        """What of the last `ask` the service received."""
        return self._service.journal()

    def leave(self) -> None:
        """End the connection."""
        if self._wire is not None:
            self._wire.sock.close()
        self._wire = None

    def _message(self, written: str) -> Tried:
        """Say this over a WebSocket: how it is closed, and what the service heard."""
        line, _, body = parts(written)
        self._service.clear_journal()
        with self.edge.wire() as wire:
            handshake = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
            key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
            wire.send(self.edge.request(RESOURCE, f"GET {line.partition(' ')[2]}", *handshake, key))
            opened = wire.reply(upgrade="websocket")
            assert opened.status == 101, opened
            assert len(body) < 126, "one octet tells its length"
            wire.send(bytes([0x81, 0x80 | len(body)]) + b"\0\0\0\0" + body)
            closed = wire.rest()
            received = bytes(wire.received)
        assert closed[:1] == b"\x88", closed
        assert int.from_bytes(closed[2:4]) == POLICY_VIOLATION, closed
        (entry,) = self.arrived()
        heard = [message.decode("latin-1") for message in entry.messages]
        return Tried(CLOSED.get(closed[4:15], Came.FAILED), [], received, heard, True, closed)


def _read(reply: Reply) -> bytes:
    """The answer without its framing: a sign may be cut by it."""
    fields = (f"{name}: {value}\n".encode("latin-1") for name, value in (*reply.headers, *reply.trailers))
    return b"".join((reply.body, *fields))


@pytest.fixture(scope="module")
def over_http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpRoom]:
    """One stack and one service for the whole corpus: nothing in it may leave a trace."""
    routes = "  routes:\n" + "".join(f"  {line}\n" for line in HTTP_ROUTES.read_text().splitlines())
    with running_http(HIDDEN, obliging=True) as service:
        resources = {RESOURCE: Behind(service, more=routes)}
        home = tmp_path_factory.mktemp("bypass")
        with guarded_http(
            home, HTTP_POLICY.read_text(), resources, edge="hold: 50ms", SALLYPORT_OPEN_REVIEWS_PER_AGENT="1000"
        ) as edge:
            room = HttpRoom(service, edge)
            yield room
            room.leave()
            assert edge.stack.control is not None, "there is a control plane"
            assert edge.stack.control.process.poll() is None, "the control plane did not live to the end"
