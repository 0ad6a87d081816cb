"""What supervisor and workers say to each other: one JSON object a line over a socket pair that only they hold.

A worker tells that it serves, asks for a cancel to be handed to another worker, and answers questions about its
state; the supervisor asks, hands over cancels, and orders a reload or a drain. When the other end is gone, so is the
conversation: a worker without supervisor drains.
"""

import asyncio
import socket
from collections.abc import Callable

import msgspec

from edge_agent.metrics import Sample

LONGEST = 4 << 20  # bytes of a line


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """The worker listens, and has a policy or knows that it cannot get one now."""


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Hand this cancel key to worker `replica`."""

    replica: int
    key: bytes


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """How are you? Answered by `Status` with the same number."""

    number: int


class Status(msgspec.Struct, frozen=True, tag="status"):
    """A worker's state: `problems` keep it from being ready, `warnings` do not."""

    number: int
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()


class Reload(msgspec.Struct, frozen=True, tag="reload"):
    """Read edge.yaml again."""


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Stop: let operations in flight finish, tell those that wait, ship what can be shipped."""


type Message = Ready | Cancel | Ask | Status | Reload | Drain

_decode = msgspec.json.Decoder(Message).decode
_encode = msgspec.json.Encoder().encode


class Line:
    """One end of the conversation."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> "Line":
        """The conversation over this end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=LONGEST))

    def say(self, message: Message) -> None:
        """Send, unless the other end is gone."""
        if not self._writer.is_closing():
            self._writer.write(_encode(message) + b"\n")

    async def listen(self, heard: Callable[[Message], None]) -> None:
        """Call `heard` for each message, until the other end is gone."""
        while True:
            try:
                line = await self._reader.readline()
            except (ConnectionError, ValueError):
                return
            if not line.endswith(b"\n"):
                return
            heard(_decode(line))

    def close(self) -> None:
        self._writer.close()
