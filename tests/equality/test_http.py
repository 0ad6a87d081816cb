"""Through the gateway everything is as without it: status, reason, headers, bodies, trailers and framing of every shape of request.

Each shape goes once directly to the service and once through the edge, over a raw socket; under a policy that allows all, and under one that
looks for what is not there and records everything. `DIFFERENT` says what may differ, and why.
"""

import contextlib
import gzip
import hashlib
import http.client
import json
import resource
import threading
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import brotli
import pytest
import zstandard
from aiohttp import ClientSession, WSMsgType

from sallyport.local_http import Http, running_http
from sallyport.local_http.shapes import digest_of, pieces
from tests.equality.http_shapes import SHAPES, Shape
from tests.support.guarded_http import Behind, Guarded, guarded_http
from tests.support.http import Fields, Reply, Wire

POLICIES = ("plain", "masked")
GB = 1 << 30
GROWTH = 64 << 20  # bytes by which the edge's worker may grow while 1 GB passes

POLICY = """
version: 1
default: deny
rules:
- {id: everything, when: 'true', then: allow}
- id: look-for-what-is-not-there
  when: resource.labels[?"data"].orValue("") == "pii"
  then: mask
  mask:
  - {columns: ["secrets.token"], with: redact, filter: allow, binary: pass}
  - {detect: [iban, private_key], with: redact, binary: pass}
- {id: record, when: 'resource.labels[?"data"].orValue("") == "pii"', then: record, record: {responses: full}}
"""
ROUTES = "  routes: [{path: /mirror, methods: [PROPFIND], id: look, effects: [{kind: read, object: mirror}]}]\n"

DIFFERENT = {
    "date": "the second in which it was made",
    "via": "the edge says that it was there (RFC 9110 7.6.3)",
    "connection": "about this hop alone (RFC 9110 7.6.1)",
    "keep-alive": "the same",
    "content-length": "at its end instead of where the service put it, or chunks instead; where there is one, it is the same",
    "transfer-encoding": "each hop frames anew (RFC 9112 6.1): that the body is equal is what counts",
    "content-encoding": "JSON and text are decoded, to find the service's own addresses in them and what is masked: decoded they are equal",
    "trailer": "what announces trailers goes no further (RFC 9110 6.6.2): the trailers themselves do",
    "set-cookie": "the value is sealed and the path is the edge's: compared by name and other attributes",
}
"""Headers of a response that are not compared as they are."""
WHILE_MASKING = {
    "etag": "it names the bytes that the service sent",
    "accept-ranges": "parts of a body cannot be masked",
}
"""The same where a policy masks."""
NOT_WHILE_MASKING = ("range ", "a multipart", "an encoded body", "JSON that is none")
"""What is withheld there, and why: docs/masking.md."""


class Side(NamedTuple):
    """One way to the service."""

    host: str
    port: int
    prefix: str
    key: str
    origin: str
    """What absolute URLs begin with on this way."""

    def wire(self) -> Wire:
        """A connection."""
        return Wire(self.host, self.port)

    def bytes_of(self, shape: Shape) -> bytes:
        """The request as a client sends it on this way."""
        return shape.wire(self.prefix, f"Host: {self.host}:{self.port}", f"Authorization: Bearer {self.key}")

    def ask(self, shape: Shape) -> Reply:
        """One request on a connection of its own."""
        with self.wire() as wire:
            wire.send(self.bytes_of(shape))
            return wire.reply(shape.method)


class Ways(NamedTuple):
    """The service, and the gateway before it."""

    service: Http
    edge: Guarded

    def sides(self, policy: str) -> tuple[Side, Side]:
        """Directly, and through the edge under this policy."""
        host, _, port = self.edge.address.rpartition(":")
        service = self.service
        return (
            Side(service.host, service.port, "", service.secret, service.origin),
            Side(host, int(port), f"/{policy}", self.edge.key, self.edge.base(policy)),
        )


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    """One service behind one stack, as a resource for each policy."""
    with running_http() as service:
        resources = {
            "plain": Behind(service, more=ROUTES),
            "masked": Behind(service, {"data": "pii"}, more=ROUTES),
        }
        with guarded_http(tmp_path_factory.mktemp("equality"), POLICY, resources) as edge:
            yield Ways(service, edge)


def test_there_are_enough_shapes() -> None:
    """At least 120, each under its own name."""
    assert len(SHAPES) >= 120
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_shape_is_the_same_on_both_ways(ways: Ways, shape: Shape, policy: str) -> None:
    """Status, reason, headers, body, trailers, and what came before the answer."""
    direct, edge = ways.sides(policy)
    state = ways.service.billing.collections["orders"].copy()
    there = direct.ask(shape)
    ways.service.billing.collections["orders"] = state
    here = edge.ask(shape)
    if policy == "masked" and shape.name.startswith(NOT_WHILE_MASKING):
        assert (here.status, here.header("content-type")) == (502, "application/problem+json")
        assert b"is withheld" in here.body
    else:
        assert told(here, edge, policy) == told(there, direct, policy)


def told(reply: Reply, side: Side, policy: str) -> dict[str, object]:
    """What must be equal of a response."""
    without = DIFFERENT | (WHILE_MASKING if policy == "masked" else {})
    return {
        "status": (reply.status, reply.reason),
        "interim": [(status, compared(headers, without, side)) for status, headers in reply.interim],
        "headers": compared(reply.headers, without, side),
        "cookies": sorted(_cookie(value) for name, value in reply.headers if name.lower() == "set-cookie"),
        "body": mirrored(decoded(reply), side),
        "trailers": reply.trailers,
    }


def compared(headers: Fields, without: dict[str, str], side: Side) -> list[tuple[str, str]]:
    """The headers in their order, addresses seen from the client."""
    kept = [(name, value) for name, value in headers if name.lower() not in without]
    return [(name, _from(value, side) if name.lower() in {"location", "link"} else value) for name, value in kept]


def _from(address: str, side: Side) -> str:
    """An address without what differs by the way one came."""
    if address.startswith(side.origin):
        return "ORIGIN" + address.removeprefix(side.origin)
    return address.removeprefix(side.prefix).replace(f"<{side.prefix}/", "</")


def _cookie(value: str) -> tuple[str, ...]:
    name, *attributes = value.split("; ")
    pair = name if name.endswith(("=", '=""')) else name.partition("=")[0]
    return (pair.rstrip('"'), *sorted(each for each in attributes if not each.startswith(("Path=", "Domain="))))


def decoded(reply: Reply) -> bytes:
    """The body without its content coding."""
    ways: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.decompress,
        "deflate": zlib.decompress,
        "br": brotli.decompress,
        "zstd": lambda data: zstandard.ZstdDecompressor().decompress(data),
    }
    coding = reply.header("content-encoding")
    return ways[coding](reply.body) if coding in ways and reply.body else reply.body


MADE = {"host", "content-length", "transfer-encoding", "connection", "expect", "x-request-id", "trailer"}
"""Request headers that belong to a hop: the service hears the edge's."""


def mirrored(body: bytes, side: Side) -> object:
    """What `/mirror` told of the request, but for what belongs to the hop."""
    if not body.startswith(b'{"method"'):
        return body.replace(side.origin.encode(), b"ORIGIN")
    said = json.loads(body)
    said["headers"] = [[name, value] for name, value in said["headers"] if name.lower() not in MADE]
    return said


@pytest.mark.parametrize("policy", POLICIES)
def test_requests_on_one_connection(ways: Ways, policy: str) -> None:
    """One after the other, and all at once (pipelined): the answers come in order, and the connection lives."""
    shapes = [
        shape
        for shape in SHAPES
        if shape.name
        in {"1 MB with a length", "POST 1000 bytes, chunked", "status 204", "HEAD /counter", "JSON", "raw trailers"}
    ]
    direct, edge = ways.sides(policy)
    expected = [told(direct.ask(shape), direct, policy) for shape in shapes]
    with edge.wire() as wire:
        for _ in range(2):
            seen: list[dict[str, object]] = []
            for shape in shapes:
                wire.send(edge.bytes_of(shape))
                seen.append(told(wire.reply(shape.method), edge, policy))
            assert seen == expected
        wire.send(b"".join(edge.bytes_of(shape) for shape in shapes))
        assert [told(wire.reply(shape.method), edge, policy) for shape in shapes] == expected


def test_a_client_that_says_close_is_closed(ways: Ways) -> None:
    """And one of HTTP/1.0 that does not ask to be kept."""
    for side in ways.sides("plain"):
        for shape in (Shape("", "GET /counter", ("Connection: close",)), Shape("", "GET /counter", version="1.0")):
            with side.wire() as wire:
                wire.send(side.bytes_of(shape))
                assert wire.reply().status == 200
                assert wire.rest() == b""


# -- WebSocket ---------------------------------------------------------------------------------------------------------


async def conversation(side: Side) -> list[object]:
    """Texts, binaries, empty ones, long ones, a ping from the service, a subprotocol, and an end with a code."""
    said: list[object] = []
    url = f"http://{side.host}:{side.port}{side.prefix}/ws"
    async with ClientSession() as session:
        own = {"Authorization": f"Bearer {side.key}"}
        async with session.ws_connect(url, headers=own, protocols=("chat", "other"), compress=15) as ws:
            said.append(ws.protocol)
            for text in ("hello", "", "ü€😀", "x" * 70_000, "ping", '{"a": 1}'):
                await ws.send_str(text)
                said.append(await ws.receive_str(timeout=20))
            for data in (b"", b"\0\xff", bytes(range(256)) * 400):
                await ws.send_bytes(data)
                said.append(await ws.receive_bytes(timeout=20))
            await ws.ping(b"?")
            await ws.send_str("close 4001 enough")
            last = await ws.receive(timeout=20)
            said += [last.type is WSMsgType.CLOSE, last.data]  # the reason of a close goes no further: docs/http.md
    return said


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_websocket_says_the_same(ways: Ways, policy: str) -> None:
    """Message by message; and the service heard each one."""
    direct, edge = ways.sides(policy)
    ways.service.clear_journal()
    expected = await conversation(direct)
    assert await conversation(edge) == expected
    one, other = (entry.messages for entry in ways.service.journal())
    assert one == other
    assert len(one) == 10


# -- 1 GB --------------------------------------------------------------------------------------------------------------


class Watched:
    """The memory of the edge's workers while a block runs: `grown` is by how much the largest grew."""

    def __init__(self, edge: Guarded) -> None:
        part = edge.stack.edge
        assert part is not None
        children = Path(f"/proc/{part.process.pid}/task/{part.process.pid}/children").read_text().split()
        self._files = [Path(f"/proc/{number}/statm") for number in children]
        self._done = threading.Event()
        self.grown = 0

    def _resident(self) -> list[int]:
        return [int(file.read_text().split()[1]) * resource.getpagesize() for file in self._files]

    @contextlib.contextmanager
    def watching(self) -> Generator[None]:
        """Look at it again and again."""
        before = self._resident()

        def look() -> None:
            while not self._done.wait(0.02):
                self.grown = max(self.grown, *(now - then for now, then in zip(self._resident(), before, strict=True)))

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()


def connection(side: Side) -> http.client.HTTPConnection:
    """A client that streams."""
    return http.client.HTTPConnection(side.host, side.port, timeout=60)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_gigabyte_up(ways: Ways, framing: str) -> None:
    """Every byte arrives once, and the edge does not keep them."""
    _, edge = ways.sides("plain")
    ways.service.clear_journal()
    watched = Watched(ways.edge)
    headers = {"Authorization": f"Bearer {edge.key}"} | ({"Content-Length": str(GB)} if framing == "length" else {})
    with contextlib.closing(connection(edge)) as client, watched.watching():
        client.request("PUT", f"{edge.prefix}/files/large", pieces(GB), headers, encode_chunked=framing == "chunked")
        answer = client.getresponse()
        said = json.loads(answer.read())
    assert said == {"bytes": GB, "sha256": digest_of(GB)}
    (entry,) = ways.service.journal()
    assert (entry.length, entry.digest) == (GB, said["sha256"])
    assert watched.grown < GROWTH


@pytest.mark.timeout(600)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("more", ["", "?chunked=1"], ids=["length", "chunked"])
def test_a_gigabyte_down(ways: Ways, policy: str, more: str) -> None:
    """The same the other way; also while it is recorded by digest and looked at."""
    _, edge = ways.sides(policy)
    watched = Watched(ways.edge)
    digest, length = hashlib.sha256(), 0
    with contextlib.closing(connection(edge)) as client, watched.watching():
        client.request("GET", f"{edge.prefix}/bytes/{GB}{more}", headers={"Authorization": f"Bearer {edge.key}"})
        answer = client.getresponse()
        while piece := answer.read(1 << 18):
            digest.update(piece)
            length += len(piece)
    assert (length, digest.hexdigest()) == (GB, digest_of(GB))
    assert watched.grown < GROWTH


def test_a_reader_that_stops_stops_the_service(ways: Ways) -> None:
    """Backpressure: for a client that does not read nothing is read; others are served; when it goes on it gets everything."""
    _, edge = ways.sides("plain")
    watched, size = Watched(ways.edge), 200 << 20
    with edge.wire() as slow, watched.watching():
        slow.send(edge.bytes_of(Shape("", f"GET /bytes/{size}")))
        slow.until(b"\r\n\r\n")
        for _ in range(20):
            assert edge.ask(Shape("", "GET /counter")).status == 200
        digest, length = hashlib.sha256(), 0
        while length < size:
            piece = slow.more()
            assert piece, "it ends early"
            length += len(piece)
            digest.update(piece)
    assert (length, digest.hexdigest()) == (size, digest_of(size))
    assert watched.grown < GROWTH
