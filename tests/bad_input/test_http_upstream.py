"""Upstreams that break HTTP, lie, break off or never come to an end: the agent is never told that a part is the whole, nothing is sent twice."""

import gzip
import zlib
from collections.abc import Iterator

import brotli
import pytest
import zstandard

from gateway_kernel.audit import Finished, Outcome
from tests.bad_input.support import SLACK, address, asked, resident, survivor
from tests.support.http import Lost, Reply, Wire
from tests.support.scripted import (
    Script,
    Scripted,
    says,
    says_and_resets,
    says_and_waits,
    says_without_end,
    scripted,
)
from tests.support.world import FREE, World, begin, bodies, eventually, recordings

pytestmark = pytest.mark.parametrize("running", ["http"], indirect=True)

MB = 1 << 20
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BEHAVING = says(OK + b"Content-Length: 2\r\n\r\nok")
EVIL = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nEVIL"


@pytest.fixture(scope="module")
def upstream(running: World) -> Iterator[Scripted]:
    """One edge before one such upstream, whose words change from test to test."""
    running.fresh()
    with scripted(BEHAVING) as found:
        running.start_edge(upstream=found.port)
        yield found


@pytest.fixture
def world(running: World, upstream: Scripted) -> Iterator[World]:
    """Nothing to be seen of the tests before; whatever a test did, the same process serves the next agent."""
    begin(running)
    with survivor(running):
        yield running
        upstream.script = BEHAVING


def says_now(upstream: Scripted, script: Script) -> None:
    """From now on; what was asked before is not looked at."""
    upstream.asked.clear()
    upstream.script = script


def ask(world: World, method: str = "GET") -> Reply:
    """One request on a connection of its own; raise `Lost` if it has no whole answer."""
    with Wire(*address(world)) as wire:
        wire.send(asked(world, FREE, f"{method} /thing"))
        return wire.reply(method)


def outcomes(world: World) -> list[Outcome]:
    """How the recordings say that what was sent ended."""
    return [body.outcome for recording in recordings(world) for body in bodies(recording, Finished)]


NO_RESPONSE = {
    "noise": says(b"\xff\xfe\0 what is this\r\n\r\n"),
    "nothing": says(b""),
    "a reset": says_and_resets(b""),
    "half of a head": says(OK),
    "half of a head and a reset": says_and_resets(OK),
    "another protocol": says(b"SSH-2.0-CANARY\r\n"),
    "HTTP/2": says(b"\0\0\x12\4\0\0\0\0\0"),
    "HTTP/0.9": says(b"<html>CANARY</html>\r\n\r\n"),
    "a status of two digits": says(b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n"),
    "a status of 999999": says(b"HTTP/1.1 999999 OK\r\nContent-Length: 0\r\n\r\n"),
    "two lengths": says(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
    "a length and chunks": says(OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a negative length": says(OK + b"Content-Length: -2\r\n\r\nabc"),
    "a length that is a word": says(OK + b"Content-Length: CANARY\r\n\r\nabc"),
    "NUL in a header": says(OK + b"X: CANARY\0b\r\nContent-Length: 0\r\n\r\n"),
    "a bare CR in a header": says(OK + b"X: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"),
    "a protocol nobody asked for": says(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
    ),
    "an unknown coding": says(OK + b"Transfer-Encoding: CANARY\r\n\r\nabc"),
    "5,000 headers": says(OK + b"X: y\r\n" * 5000 + b"Content-Length: 0\r\n\r\n"),
    "a header without an end": says_without_end(OK + b"X: ", b"y" * 65536),
    "continue without an end": says_without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
}


ANSWERED = ("a protocol nobody asked for",)
"""A response, but none that may go on: it is withheld."""


@pytest.mark.parametrize("name", NO_RESPONSE)
def test_what_is_no_response_is_a_bad_gateway(world: World, upstream: Scripted, name: str) -> None:
    """502 that says what became of it; `unknown` in the recording; asked once; nothing of what came reaches the agent."""
    says_now(upstream, NO_RESPONSE[name])
    before = resident(world)
    reply = ask(world, "POST")
    assert reply.status == 502, reply
    assert reply.header("content-type") == "application/problem+json"
    assert b"CANARY" not in reply.body
    assert len(upstream.asked) == 1
    assert resident(world) < before + SLACK
    (outcome,) = outcomes(world)
    assert outcome is (Outcome.COMPLETED if name in ANSWERED else Outcome.UNKNOWN)


CUT = {
    "less than its length": says(OK + b"Content-Length: 100\r\n\r\nhello"),
    "less than its length and a reset": says_and_resets(OK + b"Content-Length: 100\r\n\r\nhello"),
    "chunks without an end": says(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    "half of a chunk": says(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"),
    "a chunk size that is none": says(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\n"),
    "a chunk longer than it says": says(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n"),
    "chunks and a reset": says_and_resets(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    "JSON that breaks off": says(JSON + b'Content-Length: 100\r\n\r\n{"a": "b'),
    "gzip that breaks off": says(
        JSON + b"Content-Encoding: gzip\r\nContent-Length: 12\r\n\r\n" + gzip.compress(b"{}" * 50)[:12]
    ),
    "gzip that is none": says(JSON + b"Content-Encoding: gzip\r\nContent-Length: 12\r\n\r\n" + b"no gzip here"),
    "deflate that is none": says(JSON + b"Content-Encoding: deflate\r\nContent-Length: 4\r\n\r\n\xff\xff\xff\xff"),
    "br that is none": says(JSON + b"Content-Encoding: br\r\nContent-Length: 6\r\n\r\n\xff\xff\xff\xff\xff\xff"),
    "zstd that is none": says(JSON + b"Content-Encoding: zstd\r\nContent-Length: 6\r\n\r\n\xff\xff\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("name", CUT)
def test_a_part_is_never_told_as_the_whole(world: World, upstream: Scripted, name: str) -> None:
    """The agent's connection breaks off, or it gets 502: no client can take what came for a whole response."""
    says_now(upstream, CUT[name])
    try:
        assert ask(world).status == 502
    except Lost:
        pass
    assert len(upstream.asked) == 1
    assert len(outcomes(world)) == 1


SPLIT = {
    "a second response": (OK + b"Content-Length: 5\r\n\r\nhello" + EVIL, "GET", b"hello"),
    "a body behind 204": (b"HTTP/1.1 204 No Content\r\n\r\n" + EVIL, "GET", b""),
    "a body behind 304": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nEVIL", "GET", b""),
    "a body behind HEAD": (OK + b"Content-Length: 4\r\n\r\nEVIL", "HEAD", b""),
    "bytes behind the last chunk": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + EVIL,
        "GET",
        b"hello",
    ),
    "half of a second response": (OK + b"Content-Length: 5\r\n\r\nhello" + EVIL[:20], "GET", b"hello"),
}


@pytest.mark.parametrize("name", SPLIT)
def test_what_comes_behind_a_response_answers_nobody(world: World, upstream: Scripted, name: str) -> None:
    """The agent gets the one response; the connection to the upstream is not used again, so no later request gets the rest."""
    data, method, body = SPLIT[name]
    says_now(upstream, says_and_waits(data))
    with Wire(*address(world)) as wire:
        for _ in range(3):
            wire.send(asked(world, FREE, f"{method} /thing"))
            assert wire.reply(method).body == body
        wire.half_close()
        assert b"EVIL" not in wire.rest()
        assert b"EVIL" not in wire.received
        assert len(upstream.asked) == 3


def test_an_upstream_that_never_answers_keeps_nobody_else_waiting(world: World, upstream: Scripted) -> None:
    """Others are served meanwhile; when the agent leaves, the outcome is told."""
    says_now(upstream, says_and_waits(b""))
    with Wire(*address(world)) as wire:
        wire.send(asked(world, FREE, "POST /thing"))
        eventually(lambda: upstream.asked, "it was asked")
        upstream.script = says(OK + b"Content-Length: 2\r\n\r\nok")
        assert ask(world).body == b"ok"


def _bomb(coding: str) -> bytes:
    """256 MB of one JSON string, compressed."""
    piece, count = b"a" * MB, 256
    match coding:
        case "gzip":
            packer = zlib.compressobj(9, wbits=31)
            packed = packer.compress(b'"') + b"".join(packer.compress(piece) for _ in range(count)) + packer.flush()
        case "deflate":
            packer = zlib.compressobj(9)
            packed = packer.compress(b'"') + b"".join(packer.compress(piece) for _ in range(count)) + packer.flush()
        case "br":
            small = brotli.Compressor(quality=1)
            packed = small.process(b'"') + b"".join(small.process(piece) for _ in range(count)) + small.finish()
        case _:
            dense = zstandard.ZstdCompressor().compressobj()
            packed = dense.compress(b'"') + b"".join(dense.compress(piece) for _ in range(count)) + dense.flush()
    return JSON + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (coding.encode(), len(packed)) + packed


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_a_compression_bomb_is_not_unpacked(world: World, upstream: Scripted, coding: str) -> None:
    """It is cut off; memory stays flat, and the agent does not take what it has for the whole."""
    says_now(upstream, says(_bomb(coding)))
    before = resident(world)
    try:
        assert ask(world).status == 502
    except Lost:
        pass
    assert resident(world) < before + SLACK


def test_a_nesting_bomb_is_withheld(world: World, upstream: Scripted) -> None:
    """A million brackets are not followed."""
    says_now(upstream, says(JSON + b"\r\n" + b"[" * MB))
    before = resident(world)
    try:
        assert ask(world).status == 502
    except Lost:
        pass
    assert resident(world) < before + SLACK
