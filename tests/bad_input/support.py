"""What the tests of bad input over HTTP share: where the edge is, what it holds, and raw requests to it."""

import contextlib
import resource
from collections.abc import Generator
from pathlib import Path

from tests.support.world import AGENT, FREE, World, workers
from tests.support.worlds.http import HttpWorld

SLACK = 48 << 20  # bytes by which the edge may grow


@contextlib.contextmanager
def survivor(world: World) -> Generator[None]:
    """Whatever happens in the block: the same process serves the next agent, unless another edge was started."""
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
    assert isinstance(world, HttpWorld)
    host, _, port = world.address.rpartition(":")
    return host, int(port)


def asked(world: World, name: str, line: str, *headers: str, body: bytes = b"") -> bytes:
    """A request with the agent's key to the resource of that name; a length is added if there is a body."""
    method, _, target = line.partition(" ")
    key = (world.stack.keys / f"agent-{AGENT}").read_text().strip()
    lines = [f"{method} /{name}{target} HTTP/1.1", "Host: edge", f"Authorization: Bearer {key}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "".join(f"{each}\r\n" for each in lines).encode("latin-1") + b"\r\n" + body
