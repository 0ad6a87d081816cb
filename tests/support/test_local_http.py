"""The local HTTP service keeps a journal that a test can believe: bytes as they arrived, whoever sent them and however they were cut."""

import hashlib
import json
import socket
import ssl
from collections.abc import Iterator

import httpx
import pytest

from sallyport.local_http import Http, running_http
from sallyport.local_http.shapes import RAW, digest_of
from tests.support.http import Wire


@pytest.fixture(scope="module")
def service() -> Iterator[Http]:
    """One service for this module."""
    with running_http() as found:
        yield found


@pytest.fixture
def wire(service: Http) -> Iterator[Wire]:
    """A connection to it, with nothing in its journal."""
    service.clear_journal()
    with Wire(service.host, service.port) as found:
        yield found


def asked(service: Http, line: str, *headers: str, body: bytes = b"") -> bytes:
    """A request with the credential."""
    lines = (f"{line} HTTP/1.1", f"Host: {service.authority}", f"Authorization: Bearer {service.secret}", *headers)
    return "".join(f"{each}\r\n" for each in lines).encode("latin-1") + b"\r\n" + body


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_what_arrives_is_told_however_it_was_cut(service: Http, wire: Wire, step: int) -> None:
    """Two requests on one connection, in pieces: each has its own bytes, its body's digest, and what aiohttp read."""
    post = asked(service, "POST /echo", "Content-Length: 5", "X-Case: Kept", body=b"hello")
    chunked = asked(
        service, "POST /echo", "Transfer-Encoding: chunked", body=b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-End: yes\r\n\r\n"
    )
    sent = post + chunked
    for at in range(0, len(sent), step):
        wire.send(sent[at : at + step])
    assert [wire.reply("POST").body for _ in range(2)] == [b"hello", b"abcde"]
    first, second = service.journal()
    assert (first.raw, second.raw) == (post, chunked)
    assert (first.line, first.header("x-case"), first.length) == ("POST /echo", "Kept", 5)
    assert second.digest == hashlib.sha256(b"abcde").hexdigest()
    assert second.trailers == (("X-End", "yes"),)
    assert first.complete
    assert first.read is not None
    assert first.read.headers == first.headers


def test_what_is_no_request_is_told_too(service: Http) -> None:
    """Bytes without an end stand in the journal when the connection is gone."""
    service.clear_journal()
    with socket.create_connection((service.host, service.port)) as sock:
        sock.sendall(b"GET /cou")
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1024):
            pass
    (entry,) = service.journal()
    assert (entry.raw, entry.complete) == (b"GET /cou", False)


def test_only_who_has_the_secret_is_served(service: Http) -> None:
    """As a token, as a password, in the query; nobody else, and nothing is counted for them."""
    before = service.counter
    with httpx.Client(base_url=service.origin) as client:
        assert client.post("/counter").status_code == 401
        assert client.post("/counter", auth=("app", "guess")).status_code == 401
        assert client.post("/counter", auth=("app", service.secret)).json() == {"n": before + 1}
        assert client.post("/counter", params={"api_key": service.secret}).json() == {"n": before + 2}
    assert service.counter == before + 2


def test_it_speaks_tls() -> None:
    """With a certificate that a client can be told to trust."""
    with running_http(tls=True) as service:
        said = httpx.get(
            f"{service.origin}/counter",
            auth=("app", service.secret),
            verify=ssl.create_default_context(cafile=service.certificate),
        )
        assert said.json() == {"n": 0}


def test_events_come_when_they_are_published(service: Http, wire: Wire) -> None:
    """A follower hears of each one while the stream is open."""
    wire.send(asked(service, "GET /events?follow=1"))
    wire.until(b"retry: 1000\n\n")
    service.billing.publish({"id": 5, "email": "eve@example.com"})
    assert json.loads(wire.until(b"}\n").rpartition(b"data: ")[2]) == {"id": 5, "email": "eve@example.com"}
    service.billing.end_events()
    wire.until(b"0\r\n\r\n")


def test_what_it_generates_can_be_digested(service: Http, wire: Wire) -> None:
    """A body of any size, with the digest that it must have."""
    wire.send(asked(service, "GET /bytes/300000"))
    assert hashlib.sha256(wire.reply("GET").body).hexdigest() == digest_of(300_000)


@pytest.mark.parametrize("name", RAW)
def test_raw_answers_are_raw(service: Http, wire: Wire, name: str) -> None:
    """Byte for byte."""
    wire.send(asked(service, f"GET /raw/{name}"))
    assert wire.until(RAW[name]) == RAW[name]
