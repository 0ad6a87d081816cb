"""Clients that break HTTP, or only their connection, against the running edge; what breaks it upstream is in test_http_upstream."""

import contextlib
import random
import re
import resource
import socket
from collections.abc import Generator

import pytest

from gateway_kernel.audit import Finished, Noted, Outcome, Sending
from tests.bad_input.support import SLACK, address, asked, resident, survivor
from tests.support.http import Wire
from tests.support.world import (
    AGENT,
    FREE,
    GUARDED,
    LIMIT,
    World,
    bodies,
    decide,
    eventually,
    open_review,
    recordings,
    reviews,
)
from tests.support.worlds.http import HttpWorld

pytestmark = pytest.mark.parametrize("running", ["http"], indirect=True)

MB = 1 << 20
LARGE = 100 * MB
"""Far more than the edge and every socket buffer hold."""


@pytest.fixture(autouse=True)
def survives(world: World) -> Generator[None]:
    """Whatever a test did: the same process serves the next agent, unless the test started another edge."""
    with survivor(world):
        yield


@pytest.fixture
def wire(world: World) -> Generator[Wire]:
    """A connection that has said nothing yet."""
    with Wire(*address(world)) as found:
        yield found


NO_REQUEST = {
    "another protocol": b"\0\0\0\x08\x04\xd2\x16\x2f",
    "TLS without asking": b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n",
    "an unknown version": b"GET / HTTP/3.7\r\nHost: x\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "a head of line feeds": b"GET / HTTP/1.1\nHost: x\n\n",
    "a bare CR": b"GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
    "NUL": b"GET / HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost: x\r\nX : a\r\n\r\n",
    "no method": b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "spaces in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "only an end": b"\r\n\r\n\r\n\r\n",
    "CONNECT": b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
}


@pytest.mark.parametrize("opening", NO_REQUEST.values(), ids=NO_REQUEST)
def test_what_is_no_request_is_closed(world: World, wire: Wire, opening: bytes) -> None:
    """An error of the gateway's own at most, then the end; the service hears nothing."""
    wire.send(opening)
    wire.half_close()
    said = wire.rest()
    assert not said or said.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
    assert world.journal() == []


BROKEN = {
    "two lengths": (("Content-Length: 3", "Content-Length: 4"), b"abcd"),
    "a length and chunks": (("Content-Length: 3", "Transfer-Encoding: chunked"), b"0\r\n\r\n"),
    "a negative length": (("Content-Length: -1",), b""),
    "a length of 30 digits": ((f"Content-Length: {'9' * 30}",), b"x"),
    "no hexadecimal": (("Transfer-Encoding: chunked",), b"xyz\r\nabc\r\n0\r\n\r\n"),
    "a negative chunk": (("Transfer-Encoding: chunked",), b"-1\r\n\r\n0\r\n\r\n"),
    "a chunk of 2^64": (("Transfer-Encoding: chunked",), b"10000000000000000\r\n"),
    "a chunk longer than it says": (("Transfer-Encoding: chunked",), b"3\r\nabcd\r\n0\r\n\r\n"),
    "chunk size and line feed": (("Transfer-Encoding: chunked",), b"3\nabc\r\n0\r\n\r\n"),
    "an unknown coding": (("Transfer-Encoding: gzip, chunked",), b"0\r\n\r\n"),
    "chunked twice": (("Transfer-Encoding: chunked, chunked",), b"0\r\n\r\n"),
    "a chunk extension of 1 MB": (("Transfer-Encoding: chunked",), b"1;" + b"x" * MB + b"\r\na\r\n0\r\n\r\n"),
    "trailers of 1 MB": (("Transfer-Encoding: chunked",), b"0\r\nX: " + b"x" * MB + b"\r\n\r\n"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_body_that_cannot_be_framed_runs_nothing(world: World, wire: Wire, name: str) -> None:
    """The request is not sent on; the connection ends, so that nothing behind it is taken for a request."""
    headers, body = BROKEN[name]
    count = world.counter()
    wire.send(asked(world, FREE, "POST /counter", *headers) + body + asked(world, FREE, "POST /counter"))
    wire.half_close()
    said = wire.rest()
    assert not said or said.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501"))
    assert len(re.findall(rb"^HTTP/1.1 ", said, re.MULTILINE)) <= 1
    assert world.counter() == count


MISPLACED = {
    "in a header that is none": (b"GET /free/counter HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer KEY\0\r\n\r\n", b""),
    "behind a space": (b"GET /free/counter HTTP/1.1\r\nHost: x\r\nBearer KEY : x\r\n\r\n", b""),
    "as a method": (b"KEY / HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "as a length": (b"POST /free/counter HTTP/1.1\r\nHost: x\r\nContent-Length: KEY\r\n\r\n", b""),
    "as a host": (b"GET /free/counter HTTP/1.1\r\nHost: KEY@x\r\n\r\n", b""),
    "in the target": (b"GET KEY HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "as a chunk": (b"", b"KEY\r\n"),
}


@pytest.mark.parametrize("name", MISPLACED)
def test_a_key_that_stands_where_it_cannot_is_not_recorded(world: World, wire: Wire, name: str) -> None:
    """The recording says what was wrong, and quotes nothing."""
    key = (world.stack.keys / f"agent-{AGENT}").read_bytes().strip()
    wrong, body = (part.replace(b"KEY", key) for part in MISPLACED[name])
    wire.send(asked(world, FREE, "GET /counter"))
    assert wire.reply().status == 200
    wire.send(wrong or asked(world, FREE, "POST /counter", "Transfer-Encoding: chunked"))
    wire.send(body)
    assert wire.rest().startswith(b"HTTP/1.1 4" if name != "as a method" else b"HTTP/1.1 501")
    (recording,) = recordings(world)
    assert bodies(recording, Noted)
    assert not [line for line in recording.lines if key[8:24] in line]


BOMBS = {
    "a head without an end": b"GET / HTTP/1.1\r\nX: " + b"x" * (8 * MB),
    "a target of 1 MB": b"GET /" + b"a" * MB + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "100,000 headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    "a name of 1 MB": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X" * MB + b": y\r\n\r\n",
    "a method of 1 MB": b"G" * MB + b" / HTTP/1.1\r\nHost: x\r\n\r\n",
    "8 MB of empty lines": b"\r\n" * (4 * MB),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_head_that_is_a_bomb_is_not_kept(world: World, bomb: bytes) -> None:
    """Twenty of them: each is answered with an error at most and closed, and memory stays flat."""
    before = resident(world)
    for _ in range(20):
        with Wire(*address(world)) as wire:
            wire.send(bomb)
            with contextlib.suppress(OSError):  # it is closed already
                wire.half_close()
            said = wire.rest()
            assert not said or said.startswith(b"HTTP/1.1 4")
    assert resident(world) < before + SLACK
    assert world.journal() == []


def test_noise_is_answered_with_an_end(world: World) -> None:
    """Hundreds of random openings, and random bytes where a body should be: none is served, none leaves anything behind."""
    noise = random.Random(7)
    before = resident(world)
    for _ in range(200):
        with Wire(*address(world)) as wire:
            wire.send(noise.randbytes(noise.randrange(1, 2000)))
            with contextlib.suppress(OSError):
                wire.half_close()
            wire.rest()
    for _ in range(40):
        with Wire(*address(world)) as wire:
            wire.send(asked(world, FREE, "POST /counter", "Transfer-Encoding: chunked") + noise.randbytes(400))
            with contextlib.suppress(OSError):
                wire.half_close()
            wire.rest()
    assert resident(world) < before + SLACK
    assert [text for text in world.journal() if text.startswith("POST")] == []


def test_a_slow_writer_is_served(world: World, wire: Wire) -> None:
    """One byte at a time."""
    count = world.counter()
    for byte in asked(world, FREE, "POST /counter", body=b"slowly"):
        wire.send(bytes([byte]))
    assert wire.reply("POST").status == 200
    assert world.counter() == count + 1


def test_a_client_that_closes_its_half_is_ended(world: World, wire: Wire) -> None:
    """A request, then no more sending: it cannot be told from one that went away. The session ends, and what was sent on has an outcome."""
    wire.send(asked(world, FREE, "GET /counter"))
    assert wire.reply().status == 200
    wire.send(asked(world, FREE, "GET /counter"))
    wire.half_close()
    wire.rest()
    (recording,) = recordings(world)
    assert 1 <= len(bodies(recording, Sending)) == len(bodies(recording, Finished))


def test_a_body_that_never_ends_runs_nothing(world: World) -> None:
    """Half of a body, then gone: the service hears nothing of it, and the recording ends."""
    with Wire(*address(world)) as wire:
        wire.send(asked(world, FREE, "POST /counter", "Content-Length: 1000") + b"x" * 500)
        wire.send(b"y")
    with Wire(*address(world)) as wire:
        wire.send(asked(world, FREE, "GET /counter"))
        assert wire.reply().status == 200
    for recording in recordings(world):
        assert len(bodies(recording, Finished)) == len(bodies(recording, Sending))
    assert [text for text in world.journal() if text.startswith("POST")] == []


def test_a_large_body_that_breaks_off_is_told_as_it_is(world: World) -> None:
    """It was under way upstream already: what became of it is not known, and the recording says so."""
    assert isinstance(world, HttpWorld)
    with Wire(*address(world)) as wire:
        wire.send(asked(world, FREE, "PUT /files/x", f"Content-Length: {64 * MB}") + b"x" * (2 * MB))
        eventually(lambda: world.service.journal(), "the body is on its way")
    (recording,) = recordings(world)
    assert [body.outcome for body in bodies(recording, Finished)] == [Outcome.UNKNOWN]


def test_a_client_that_leaves_during_an_approval(world: World) -> None:
    """Nothing runs for nobody; the review stands, and the same request of the next connection uses it, once."""
    count = world.counter()
    with Wire(*address(world)) as wire:
        wire.send(asked(world, GUARDED, "POST /counter"))
        review = open_review(world)
    eventually(lambda: len(recordings(world)) == 1, "the session has ended")
    decide(world, review)
    assert world.counter() == count
    with Wire(*address(world)) as wire:
        wire.send(asked(world, GUARDED, "POST /counter"))
        assert wire.reply("POST").status == 200
    assert world.counter() == count + 1
    assert not reviews(world)


def test_a_client_that_resets_in_the_middle_of_a_response(world: World) -> None:
    """The edge stops reading for it; the outcome is told, and the next agent is served."""
    with Wire(*address(world)) as wire:
        wire.send(asked(world, FREE, f"GET /bytes/{LARGE}?text=1"))
        wire.until(b"\r\n\r\n")
    (recording,) = recordings(world)
    (finished,) = bodies(recording, Finished)
    assert finished.outcome in {Outcome.COMPLETED, Outcome.UNKNOWN}


def test_slow_readers_do_not_fill_the_edge(world: World) -> None:
    """Three clients ask for 100 MB and do not read: memory stays flat, others are served, and reading on gets it all."""
    before = resident(world)
    with contextlib.ExitStack() as open_:
        slow = [open_.enter_context(Wire(*address(world))) for _ in range(3)]
        for wire in slow:
            wire.send(asked(world, FREE, f"GET /bytes/{LARGE}?text=1"))
            wire.until(b"\r\n\r\n")
        for _ in range(20):
            with world.connect(FREE) as agent:
                assert not agent.send(world.commands.look).refused
        assert resident(world) < before + SLACK
        got = 0
        while got < LARGE:
            piece = slow[0].more()
            assert piece, "it ends early"
            got += len(piece)
        assert resident(world) < before + SLACK


def test_five_thousand_connections_that_say_nothing(world: World) -> None:
    """They cost little, and the next agent is served."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = resident(world)
    with contextlib.ExitStack() as open_:
        for number in range(min(5_000, hard - 500)):
            own = (f"127.0.0.{number % 9 + 2}", 0)  # one source address has too few ports
            sock = open_.enter_context(socket.create_connection(address(world), LIMIT, source_address=own))
            if number % 2:
                sock.sendall(b"GET /free/counter HTTP/1.1\r\nHost:")  # and these have begun to speak
        with world.connect(FREE) as agent:
            assert not agent.send(world.commands.increment).refused
        assert resident(world) < before + (120 << 20)
    eventually(lambda: len(recordings(world)) == 1, "only the agent had a session")


# -- WebSocket ---------------------------------------------------------------------------------------------------------

HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


def frame(first: int, payload: bytes, *, masked: bool = True, length: bytes = b"") -> bytes:
    """A frame (RFC 6455 5.2) with this first byte; `length` overrides what its length says."""
    if not length:
        assert len(payload) < 126
        length = bytes([len(payload) | (0x80 if masked else 0)])
    return bytes([first]) + length + (b"\0\0\0\0" if masked else b"") + payload


GARBAGE = {
    "noise": (random.Random(3).randbytes(500), {1002, 1007, 1009}),
    "not masked": (frame(0x81, b"hello", masked=False), {1002}),
    "a reserved operation": (frame(0x83, b"hello"), {1002}),
    "a reserved bit": (frame(0xC1, b"hello"), {1002}),
    "a continuation of nothing": (frame(0x80, b"hello"), {1002}),
    "a ping in pieces": (frame(0x09, b"hello"), {1002}),
    "a ping of 1000 bytes": (frame(0x89, b"x" * 1000, length=b"\xfe\x03\xe8"), {1002}),
    "no UTF-8": (frame(0x81, b"\xff\xfe\xfd"), {1007}),
    "a length of 2^63": (frame(0x82, b"x", length=b"\xff" + b"\xff" * 8), {1002, 1009}),
    "2 GB announced": (frame(0x82, b"x" * (2 * MB), length=b"\xff" + (2 << 30).to_bytes(8)), {1009}),
    "a close of one byte": (frame(0x88, b"\x03"), {1002}),
    "a close with a reserved code": (frame(0x88, b"\x03\xed"), {1002}),
    "a text inside a text": (frame(0x01, b"begin") + frame(0x81, b"again"), {1002}),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_websocket_garbage_is_closed_with_its_code(world: World, wire: Wire, name: str) -> None:
    """The protocol's own code for it (RFC 6455 7.4.1), and the service hears no such message."""
    assert isinstance(world, HttpWorld)
    garbage, codes = GARBAGE[name]
    wire.send(asked(world, FREE, "GET /ws", *HANDSHAKE))
    assert wire.reply(upgrade="websocket").status == 101
    wire.send(garbage)
    said = wire.rest()
    assert said[:1] == b"\x88", said
    assert int.from_bytes(said[2:4]) in codes
    (entry,) = world.service.journal()
    assert entry.messages == ()


def test_a_websocket_message_in_endless_pieces_is_not_kept(world: World, wire: Wire) -> None:
    """A message may have 1 MiB, in however many frames."""
    before = resident(world)
    wire.send(asked(world, FREE, "GET /ws", *HANDSHAKE))
    assert wire.reply(upgrade="websocket").status == 101
    wire.send(frame(0x02, b"x"))
    for _ in range(64):
        wire.send(frame(0x00, b"x" * 65536, length=b"\xff" + (65536).to_bytes(8)))
    said = wire.rest()
    assert int.from_bytes(said[2:4]) == 1009
    assert resident(world) < before + SLACK


BAD_HANDSHAKES = {
    "no key": ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "an old version": (*HANDSHAKE[:2], "Sec-WebSocket-Version: 8", HANDSHAKE[3]),
    "a short key": (*HANDSHAKE[:3], "Sec-WebSocket-Key: c2hvcnQ="),
}


@pytest.mark.parametrize("headers", BAD_HANDSHAKES.values(), ids=BAD_HANDSHAKES)
def test_a_handshake_that_is_none_is_refused(world: World, wire: Wire, headers: tuple[str, ...]) -> None:
    """As a bad request; nothing is switched."""
    wire.send(asked(world, FREE, "GET /ws", *headers))
    assert 400 <= wire.reply().status < 500
    assert world.journal() == []


def test_a_key_that_is_wrong(world: World) -> None:
    """401 with a challenge, the connection stays; no session, and the service hears nothing."""
    with Wire(*address(world)) as wire:
        for line in (
            "Authorization: Bearer spa_none_0123456789abcdef",
            "Authorization: Basic !",
            "Authorization: Negotiate x",
            "X: y",
        ):
            wire.send(f"GET /free/counter HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode())
            reply = wire.reply()
            assert reply.status == 401
            assert reply.header("www-authenticate").startswith("Bearer")
    assert world.journal() == []
