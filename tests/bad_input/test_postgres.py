"""Clients and servers that break PostgreSQL's protocol, or only their connection, against the running edge."""

import contextlib
import random
import resource
import socket
import struct
from collections.abc import Generator
from pathlib import Path

import pytest

from edge_agent.protocols.postgres import messages as m
from gateway_kernel.audit import Finished, Outcome, Sending
from tests.support.detour import detour
from tests.support.world import AGENT, FREE, LIMIT, World, bodies, eventually, recordings, workers
from tests.support.worlds.postgres import PostgresWorld

pytestmark = pytest.mark.parametrize("running", ["postgres"], indirect=True)

SLACK = 48 << 20  # bytes by which the edge may grow
LARGE = "SELECT repeat('x', 1000) FROM generate_series(1, 300000)"
"""300 MB: far more than the edge and every socket buffer hold."""


@pytest.fixture(autouse=True)
def survives(world: World) -> Generator[None]:
    """Whatever a test did: the same process serves the next agent, unless the test started another edge."""
    edge, before = world.stack.edge, workers(world)
    yield
    with world.connect(FREE) as agent:
        assert not agent.send(world.commands.look).refused
    assert edge is not world.stack.edge or workers(world) == before


def resident(world: World) -> int:
    """Bytes of memory that the edge's worker holds."""
    (worker,) = workers(world)
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * resource.getpagesize()


def address(world: World) -> tuple[str, int]:
    """Where agents connect."""
    assert isinstance(world, PostgresWorld)
    host, _, port = world.address.rpartition(":")
    return host, int(port)


@contextlib.contextmanager
def stranger(world: World) -> Generator[socket.socket]:
    """A connection that has said nothing yet."""
    with socket.create_connection(address(world), LIMIT) as sock:
        yield sock


@contextlib.contextmanager
def client(world: World) -> Generator[socket.socket]:
    """A connection that is logged in and may send."""
    key = (world.stack.keys / f"agent-{AGENT}").read_bytes().strip()
    with stranger(world) as sock:
        sock.sendall(m.startup({"user": AGENT, "database": FREE}))
        sock.sendall(m.message(m.PASSWORD, key + b"\0"))
        heard(sock, b"Z\0\0\0\5I")
        yield sock


def heard(sock: socket.socket, end: bytes = b"") -> bytes:
    """Everything up to these bytes, or to the end of the connection."""
    data = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while not end or end not in data[-65536 - len(end) :]:
            piece = sock.recv(65536)
            if not piece:
                break
            data += piece
    return bytes(data)


BEFORE_LOGIN = {
    "another protocol": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a length of 7": b"\0\0\0\7",
    "a length of 4 GB": b"\xff\xff\xff\xff\0\3\0\0",
    "an unknown version": struct.pack("!II", 8, 9 << 16),
    "TLS without asking": b"\x16\x03\x01\x02\0\1",
    "no user": m.startup({"database": FREE}),
    "a query instead of a password": m.startup({"user": AGENT, "database": FREE}) + m.query(b"SELECT 1"),
}


@pytest.mark.parametrize("opening", BEFORE_LOGIN.values(), ids=BEFORE_LOGIN)
def test_what_does_not_begin_as_a_client_is_closed(world: World, opening: bytes) -> None:
    """No session, no answer that could be taken for one, and an end."""
    with stranger(world) as sock:
        sock.sendall(opening)
        sock.shutdown(socket.SHUT_WR)
        assert b"R\0\0\0\x08\0\0\0\0" not in heard(sock)


IN_SESSION = {
    "an unknown type": b"\x01\0\0\0\4",
    "a password again": m.message(m.PASSWORD, b"again\0"),
    "a length of 3": struct.pack("!BI", m.QUERY, 3),
    "a Sync of 1 MB": struct.pack("!BI", m.SYNC, 1 << 20),
    "a text without its end": m.message(m.QUERY, b"no end"),
    "a Bind cut short": m.message(m.BIND, b"\0\0\0\7"),
    "a Bind of -1 parameters": m.message(m.BIND, b"\0\0\0\0\xff\xff"),
    "a Describe of nothing": m.message(m.DESCRIBE, b"X\0"),
}


@pytest.mark.parametrize("frame", IN_SESSION.values(), ids=IN_SESSION)
def test_a_malformed_frame_ends_the_session_with_the_reason(world: World, frame: bytes) -> None:
    """FATAL 08P01, and the recording is closed."""
    with client(world) as sock:
        sock.sendall(frame)
        said = heard(sock)
    assert b"FATAL" in said
    assert b"08P01" in said
    assert recordings(world)


def test_noise_is_answered_with_an_end(world: World) -> None:
    """Hundreds of random openings and messages: none is served, none leaves anything behind."""
    noise = random.Random(7)
    before = resident(world)
    for _ in range(200):
        with stranger(world) as sock, contextlib.suppress(ConnectionError):
            sock.sendall(noise.randbytes(noise.randrange(1, 2000)))
            sock.shutdown(socket.SHUT_WR)
            heard(sock)
    for _ in range(40):
        with client(world) as sock, contextlib.suppress(ConnectionError):
            sock.sendall(bytes([noise.choice(b"QPBEDSCHXdcfFp")]) + noise.randbytes(noise.randrange(4, 400)))
            sock.shutdown(socket.SHUT_WR)
            heard(sock)
    assert resident(world) < before + SLACK
    assert recordings(world)


def test_a_message_larger_than_can_be_judged_is_not_kept(world: World) -> None:
    """128 MB of one Query pass through nothing; it is refused, and the connection lives."""
    before = resident(world)
    with client(world) as sock:
        sock.sendall(struct.pack("!BI", m.QUERY, 4 + (128 << 20)))
        for _ in range(128):
            sock.sendall(b"x" * (1 << 20))
        assert b"54000" in heard(sock, b"Z\0\0\0\5I")
        assert resident(world) < before + SLACK
        sock.sendall(m.query(b"SELECT 41 + 1"))
        assert b"42" in heard(sock, b"Z\0\0\0\5I")


def test_a_client_that_closes_half_is_ended(world: World) -> None:
    """A query, then no more sending: the session ends, and what was sent on has an outcome."""
    with client(world) as sock:
        sock.sendall(m.query(b"SELECT 1"))
        sock.shutdown(socket.SHUT_WR)
        heard(sock)
    (recording,) = recordings(world)
    assert len(bodies(recording, Finished)) == len(bodies(recording, Sending))


def test_a_message_that_never_ends_leaves_nothing(world: World) -> None:
    """Half of a message, then gone: nothing was run, the recording ends."""
    with client(world) as sock:
        sock.sendall(m.query(b"UPDATE counter SET n = n + 1")[:-9])
    (recording,) = recordings(world)
    assert not bodies(recording, Finished)


def test_a_slow_writer_is_served(world: World) -> None:
    """One byte at a time."""
    with client(world) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in m.query(b"SELECT 41 + 1"):
            sock.sendall(bytes([byte]))
        assert b"42" in heard(sock, b"Z\0\0\0\5I")


def test_slow_readers_do_not_fill_the_edge(world: World) -> None:
    """Three clients ask for 300 MB and do not read: memory stays flat, others are served, and reading on gets it all."""
    before = resident(world)
    with contextlib.ExitStack() as open_:
        slow = [open_.enter_context(client(world)) for _ in range(3)]
        for sock in slow:
            sock.sendall(m.query(LARGE.encode()))
            sock.recv(1)
        for _ in range(20):
            with world.connect(FREE) as agent:
                assert not agent.send(world.commands.look).refused
        assert resident(world) < before + SLACK
        assert b"SELECT 300000" in heard(slow[0], b"Z\0\0\0\5I")[-65536:]
        assert resident(world) < before + SLACK


def test_ten_thousand_connections_that_say_nothing(world: World) -> None:
    """They cost little, and the next agent is served."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = resident(world)
    with contextlib.ExitStack() as open_:
        for number in range(min(10_000, hard - 500)):
            own = (f"127.0.0.{number % 9 + 2}", 0)  # one source address has too few ports
            open_.enter_context(socket.create_connection(address(world), LIMIT, source_address=own))
        with world.connect(FREE) as agent:
            assert not agent.send(world.commands.increment).refused
        assert resident(world) < before + (200 << 20)
    eventually(lambda: len(recordings(world)) == 1, "only the agent had a session")


def test_an_upstream_that_resets_in_the_middle_of_a_result(world: World) -> None:
    """The agent hears of it at once; the recording tells what is known; then it is down, said clearly; then it is back."""
    assert isinstance(world, PostgresWorld)
    with detour(world.postgres.host, world.postgres.port) as way:
        world.start_edge(upstream=way.port)
        with client(world) as sock:
            sock.sendall(m.query(LARGE.encode()))
            sock.recv(65536)
            way.cut()
            said = heard(sock)
        assert b"FATAL" in said
        assert b"08006" in said
        (recording,) = recordings(world)
        assert [body.outcome for body in bodies(recording, Finished)] == [Outcome.UNKNOWN]
        with pytest.raises(ConnectionError, match=r"cannot be reached|refused") as failed, world.connect(FREE):
            pass
        assert world.injected not in str(failed.value)
    world.start_edge()
