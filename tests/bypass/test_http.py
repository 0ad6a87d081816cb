"""HTTP's evasions, by the tests that all protocols share; and what only HTTP has to promise: one text, and one way to read it.

The edge writes each request anew, so what arrives is held against four parsers, and what was recorded against what arrived.
"""

import hashlib
import time
from typing import Any

import h11
import httptools

from gateway_kernel.audit import Sending, expanded, read
from sallyport.local_http import Received
from tests.bypass.http_room import TWINS, HttpRoom
from tests.bypass.test_end_to_end import test_an_evasion_gets_nowhere, test_its_benign_twin_runs
from tests.support.world import eventually

__all__ = ["test_an_evasion_gets_nowhere", "test_its_benign_twin_runs"]

PROTOCOL = "http"


def test_what_arrives_can_be_read_in_one_way_only(twin: str, attacked: HttpRoom) -> None:
    """One whole request, and every parser reads it as the service does."""
    attacked.ask(twin)
    (entry,) = attacked.arrived()
    assert entry.complete
    agree(entry)


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


def test_what_arrives_is_what_was_judged(attacked: HttpRoom) -> None:
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
        (entry,) = attacked.arrived()
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
