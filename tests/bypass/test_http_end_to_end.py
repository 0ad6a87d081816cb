"""The HTTP corpus through the whole product: control plane, edge and a service that has an answer for everything, over raw sockets.

Whatever an evasion is, the agent is told no (or to wait), nothing of it arrives at the service, no hidden value is in the bytes that the client
received, and the connection stays usable. Its benign twin arrives, and every parser reads it as the service does.
"""

import base64
import hashlib
import time
from collections.abc import Iterator
from typing import Any

import h11
import httptools
import pytest

from gateway_kernel.audit import Sending, expanded, read
from sallyport.local_http import Http, Received, running_http
from tests.bypass import CANARY, HTTP_POLICY, HTTP_ROUTES, Evasion, corpus, request_bytes
from tests.support.guarded_http import Behind, Guarded, guarded_http
from tests.support.http import Lost, Reply, Wire
from tests.support.world import eventually

SIGNS = tuple(
    sign.encode() if isinstance(sign, str) else sign
    for sign in (CANARY, CANARY.lower(), CANARY[::-1], CANARY.encode().hex(), base64.b64encode(CANARY.encode()))
)
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
UNREADABLE = {400, 501}
"""What is no request at all, or none of HTTP's methods: no operation, and the connection ends with it."""


def parts(written: str) -> tuple[str, list[str], bytes]:
    """Request line, header lines and body of a line of the corpus; latin-1 stands for bytes."""
    head, _, body = request_bytes(written).partition(b"\n\n")
    line, *headers = head.decode("latin-1").split("\n")
    return line, headers, body


def elsewhere(written: str) -> bool:
    """True for what is about another upstream's host: that is for the judgement alone."""
    line, headers, _ = parts(written)
    return any(header.lower().startswith("host:") for header in headers) or " http://" in line


CORPUS = corpus("http.txt")
ATTACKS = [each for each in CORPUS if not elsewhere(each.attack)]
TWINS = [each for each in CORPUS if not elsewhere(each.twin)]


class Attacked:
    """The service behind the product, and the agent's one connection."""

    def __init__(self, service: Http, edge: Guarded) -> None:
        self.service = service
        self.edge = edge
        self._wire: Wire | None = None

    def wire(self) -> Wire:
        """The connection, made anew only if a test before ended it."""
        if self._wire is None:
            self._wire = self.edge.wire()
        self._wire.received.clear()
        self.service.clear_journal()
        return self._wire

    def ask(self, written: str) -> Reply:
        """Send a line of the corpus and read its answer."""
        line, headers, body = parts(written)
        wire = self.wire()
        wire.send(self.edge.request(RESOURCE, line, *headers, body=body))
        try:
            reply = wire.reply(line.partition(" ")[0])
        except Lost:
            self.leave()
            raise
        if reply.ends:
            self.leave()
        return reply

    def leave(self) -> None:
        """End the connection."""
        if self._wire is not None:
            self._wire.sock.close()
        self._wire = None

    def leaked(self, reply: Reply) -> list[bytes]:
        """Signs of what is hidden in everything that the client received."""
        received = b"".join(
            (
                reply.body,
                *(f"{name}: {value}\n".encode("latin-1") for name, value in (*reply.headers, *reply.trailers)),
            )
        ) + bytes(self._wire.received if self._wire is not None else b"")
        return [sign for sign in SIGNS if sign in received]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """One stack and one service for the whole corpus: nothing in it may leave a trace."""
    routes = "  routes:\n" + "".join(f"  {line}\n" for line in HTTP_ROUTES.read_text().splitlines())
    with running_http(HIDDEN, obliging=True) as service:
        resources = {RESOURCE: Behind(service, more=routes)}
        home = tmp_path_factory.mktemp("bypass")
        with guarded_http(
            home, HTTP_POLICY.read_text(), resources, edge="hold: 50ms", SALLYPORT_OPEN_REVIEWS_PER_AGENT="1000"
        ) as edge:
            found = Attacked(service, edge)
            yield found
            found.leave()
            assert edge.stack.control is not None
            assert edge.stack.control.process.poll() is None, "the control plane did not live to the end"


def refused(reply: Reply) -> bool:
    """The edge's own problem document."""
    return reply.header("content-type").startswith("application/problem+json")


@pytest.mark.parametrize("evasion", ATTACKS, ids=lambda evasion: evasion.attack)
def test_an_evasion_gets_nowhere(evasion: Evasion, attacked: Attacked) -> None:
    """Refused or held; nothing of it arrives; and the connection goes on where the request could be read at all."""
    if evasion.attack.startswith("MESSAGE"):
        reply = None
        closed, heard = message(attacked, evasion.attack)
        assert closed == 1008
        assert heard == []
    else:
        reply = attacked.ask(evasion.attack)
        expected = {"deny": {403, *UNREADABLE}, "review": {503}}[evasion.verdict]
        assert refused(reply), reply
        assert reply.status in expected, reply
        assert not attacked.leaked(reply), reply
        assert attacked.service.journal() == []
        assert reply.status in UNREADABLE or not reply.ends, "the connection cannot be used any more"
    assert attacked.ask("GET /orders").status == 200


@pytest.mark.parametrize("evasion", TWINS, ids=lambda evasion: evasion.twin)
def test_its_benign_twin_arrives(evasion: Evasion, attacked: Attacked) -> None:
    """What looks like the attack and is none goes through, once, and can be read in one way only."""
    reply = attacked.ask(evasion.twin)
    assert not refused(reply), reply
    assert not attacked.leaked(reply), reply
    (entry,) = attacked.service.journal()
    assert entry.complete
    agree(entry)


# -- the differential --------------------------------------------------------------------------------------------------


class _Second:
    """What httptools reads."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_body(self, data: bytes) -> None:
        self.body += data


def agree(entry: Received) -> None:
    """h11, httptools, the journal's own plain reading and the service's library read the same request in these bytes."""
    first = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    first.receive_data(entry.raw)
    head: Any = first.next_event()
    assert isinstance(head, h11.Request)
    body = bytearray()
    while not isinstance(event := first.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data), event
        body += event.data
    assert first.trailing_data[0] == b""

    second = _Second()
    parser = httptools.HttpRequestParser(second)
    parser.feed_data(entry.raw)

    assert entry.read is not None
    assert entry.method == entry.read.method == head.method.decode() == parser.get_method().decode()
    assert entry.target == entry.read.target == head.target.decode() == second.target.decode()
    headers = entry.headers
    assert headers == entry.read.headers == _text(head.headers.raw_items()) == _text(second.headers)
    assert entry.digest == hashlib.sha256(body).hexdigest() == hashlib.sha256(second.body).hexdigest()


def _text(headers: Any) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1").strip()) for name, value in headers)


def test_what_arrives_is_what_was_judged(attacked: Attacked) -> None:
    """The recording's texts are the heads that the service received, one by one, but for what the edge makes."""
    attacked.leave()
    admin = attacked.edge.stack.admin()

    since = time.time_ns() // 1000

    def ended() -> list[str]:
        found = admin.get("/v1/sessions", since=since, limit=200)["sessions"]
        return [each["id"] for each in found] if found and all(each["ended"] for each in found) else []

    received: list[str] = []
    for evasion in TWINS:
        attacked.ask(evasion.twin)
        (entry,) = attacked.service.journal()
        received.append(_judged(entry))
    attacked.leave()
    sent: list[str] = []
    for session in sorted(eventually(ended, "the session has ended and arrived")):
        events = expanded(map(read, admin.lines(f"/v1/sessions/{session}/events")))
        told = [event.body for event in events if isinstance(event.body, Sending)]
        sent += [body.operation.text for body in told if body.operation is not None]
    assert sent == received


MADE = {"authorization", "connection", "content-length", "transfer-encoding", "x-request-id"}


def _judged(entry: Received) -> str:
    kept = [(name, value) for name, value in entry.headers if name.lower() not in MADE]
    return f"{entry.line}\n" + "".join(f"{name}: {value}\n" for name, value in kept)


# -- WebSocket ---------------------------------------------------------------------------------------------------------


def message(attacked: Attacked, written: str) -> tuple[int, list[bytes]]:
    """Say this over a WebSocket: the code with which it is closed, and what the service heard."""
    line, _, body = parts(written)
    attacked.service.clear_journal()
    with attacked.edge.wire() as wire:
        handshake = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
        key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        wire.send(attacked.edge.request(RESOURCE, f"GET {line.partition(' ')[2]}", *handshake, key))
        assert wire.reply(upgrade="websocket").status == 101
        assert len(body) < 126
        wire.send(bytes([0x81, 0x80 | len(body)]) + b"\0\0\0\0" + body)
        closed = wire.rest()
    assert closed[:1] == b"\x88", closed
    (entry,) = attacked.service.journal()
    return int.from_bytes(closed[2:4]), list(entry.messages)
