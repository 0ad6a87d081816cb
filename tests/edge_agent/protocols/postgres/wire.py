"""A client that speaks protocol 3 by hand: it sends exactly the bytes a test says, which no driver would."""

from __future__ import annotations

import asyncio
import struct

from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.postgres.codec import BackendCodec, Message
from tests.support.control_plane import AGENT_KEY

LIMIT = 15.0  # seconds for any answer


class Wire:
    """One connection through the edge, after authentication."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.process = 0
        self.secret = b""
        self._codec = BackendCodec(64 * m.MiB)
        self._unread: list[Message] = []

    @classmethod
    async def connect(cls, port: int, **parameters: str) -> Wire:
        """Connect as the agent and wait for ReadyForQuery."""
        wire = cls(*await asyncio.open_connection("127.0.0.1", port))
        wire.send(m.startup({"user": "ci-bot", "database": "orders-db", **parameters}))
        assert (await wire.message())[1][5:9] == struct.pack("!I", m.AUTH_CLEARTEXT)
        wire.send(m.message(m.PASSWORD, AGENT_KEY.encode() + b"\0"))
        for kind, raw in await wire.until_ready():
            if kind == m.BACKEND_KEY_DATA:
                wire.process, wire.secret = m.read_backend_key(raw)
        return wire

    def send(self, *messages: bytes) -> None:
        self.writer.write(b"".join(messages))

    async def message(self) -> Message:
        """The next message; type 0 when the connection ended."""
        async with asyncio.timeout(LIMIT):
            while not self._unread:
                data = await self.reader.read(65536)
                if not data:
                    return 0, b""
                self._unread = self._codec.feed(data)
        return self._unread.pop(0)

    async def until(self, *kinds: int) -> list[Message]:
        """All messages up to one of these types, or the end of the connection."""
        found = [await self.message()]
        while found[-1][0] not in (*kinds, 0):
            found.append(await self.message())
        return found

    async def until_ready(self) -> list[Message]:
        return await self.until(m.READY_FOR_QUERY)

    async def query(self, sql: str) -> Answer:
        self.send(m.query(sql.encode()))
        return Answer(await self.until_ready())

    async def sync(self, *messages: bytes) -> Answer:
        """Send messages and a Sync."""
        self.send(*messages, m.SYNC_MESSAGE)
        return Answer(await self.until_ready())

    def close(self) -> None:
        self.writer.close()


class Answer:
    """The messages up to a ReadyForQuery."""

    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages

    @property
    def kinds(self) -> str:
        """The type bytes, in order."""
        return "".join(chr(kind) for kind, _ in self.messages)

    @property
    def status(self) -> str:
        kind, raw = self.messages[-1]
        return chr(raw[5]) if kind == m.READY_FOR_QUERY else ""

    @property
    def errors(self) -> list[dict[str, str]]:
        return [m.read_report(raw) for kind, raw in self.messages if kind == m.ERROR_RESPONSE]

    @property
    def codes(self) -> list[str]:
        return [error["C"] for error in self.errors]

    @property
    def tags(self) -> list[str]:
        return [m.read_tag(raw)[0] for kind, raw in self.messages if kind == m.COMMAND_COMPLETE]

    @property
    def rows(self) -> list[tuple[bytes | None, ...]]:
        return [_columns(raw) for kind, raw in self.messages if kind == m.DATA_ROW]


def _columns(raw: bytes) -> tuple[bytes | None, ...]:
    at, columns = 7, []
    for _ in range(int.from_bytes(raw[5:7])):
        size = int.from_bytes(raw[at : at + 4], signed=True)
        at += 4
        columns.append(None if size < 0 else raw[at : at + size])
        at += max(size, 0)
    return tuple(columns)


def run(sql: str, *values: bytes | None, portal: bytes = b"", statement: bytes = b"", max_rows: int = 0) -> bytes:
    """Parse, Bind, Describe, Execute of one statement."""
    bound = m.Bind(portal, statement, (0,) * len(values), values, ())
    return m.parse(statement, sql.encode()) + m.bind(bound) + m.describe(b"P", portal) + m.execute(portal, max_rows)
