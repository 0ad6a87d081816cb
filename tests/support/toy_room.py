"""A protocol room as small as one can be, for tests of everything around rooms: one line a command, one line an answer.

    < ci-bot spa_k1_…          agent and key            > welcome | no <reason>
    < read 1                   read, write or delete     > waiting <review> | done <text> | refused <rule> <reason>
    < cancel                   while one is held

What "upstream" did is kept in `ToyRoom.ran`; with `paused` set, results wait until a test finishes them. It takes the name of a protocol that has
a reader, but makes its facts itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edge_agent.gateway import IdentityRefusedError, LimitReachedError
from gateway_kernel.audit import Finished, Outcome, ResponseRecord
from gateway_kernel.commands import Result
from gateway_kernel.model import Effect, EffectKind, Facts, Operation, SqlFacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_agent.gateway import Admitting, Gateway
    from gateway_kernel.commands import Refuse
    from gateway_kernel.judge import Judgement
    from gateway_kernel.model import Session

_numbers = itertools.count()


def operation(text: str) -> Operation:
    """`read x`, `write x`, `delete x` or `schema x` as an operation with facts."""
    kind = EffectKind(text.split()[0])
    facts = Facts(kind.upper(), (Effect(kind, text.partition(" ")[2]),), SqlFacts(statements=1))
    name = f"op-{os.getpid()}-{next(_numbers)}"
    return Operation(name, "postgres", text, size=len(text), facts=facts)


class ToyRoom:
    """One room. `journal`, if set, gets a line for each operation that runs "upstream", as it begins to run."""

    name = "postgres"
    tls_first = False

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.paused = False
        self.unfinished: list[Callable[[], None]] = []
        self.began = asyncio.Event()
        self.idle = asyncio.Event()
        self.connected: set[_Connection] = set()
        self.cancelled: list[bytes] = []
        journal = os.environ.get("TOY_JOURNAL", "")
        self.journal = Path(journal) if journal else None

    def connections(self, gateway: Gateway) -> Callable[[], asyncio.BaseProtocol]:
        return lambda: _Connection(self, gateway)

    def cancel(self, key: bytes) -> None:
        self.cancelled.append(key)

    async def drain(self, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while any(connection.busy for connection in self.connected):
                self.idle.clear()
                await self.idle.wait()
        for connection in tuple(self.connected):
            connection.transport.close()

    def run(self, text: str, finish: Callable[[], None]) -> None:
        self.ran.append(text)
        self.began.set()
        if self.journal is not None:
            with self.journal.open("a") as file:
                file.write(text + "\n")
        if self.paused:
            self.unfinished.append(finish)
        else:
            finish()


class ToyChannel:
    """One operation's way to agent and upstream."""

    def __init__(self, connection: _Connection, hold: float) -> None:
        self._connection = connection
        self._hold = hold

    @property
    def hold(self) -> float:
        return self._hold

    def waiting(self, review: str, url: str) -> None:
        self._connection.say(f"waiting {review}")

    def forward(self, judgement: Judgement, max_rows: int | None, done: Callable[[Result], None]) -> None:
        text = judgement.operation.text

        def finish() -> None:
            response = ResponseRecord("toy", text.encode(), hashlib.sha256(text.encode()).hexdigest(), 1, len(text))
            finished = Finished(judgement.operation.id, Outcome.COMPLETED, "OK", response)
            done(Result(finished, Outcome.COMPLETED))
            self._connection.over(f"done {text}")

        self._connection.room.run(text, finish)

    def refuse(self, refusal: Refuse) -> None:
        verdict = refusal.verdict
        self._connection.over(f"refused {verdict.rules[0] if verdict.rules else 'default'} {verdict.reason}")


class _Connection(asyncio.Protocol):
    def __init__(self, room: ToyRoom, gateway: Gateway) -> None:
        self.room = room
        self.gateway = gateway
        self.busy = False
        self._buffer = b""
        self._session: Session | None = None
        self._admitting: Admitting | None = None
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.room.connected.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\n" in self._buffer:
            line, self._buffer = self._buffer.split(b"\n", 1)
            self._line(line.decode())

    def _line(self, line: str) -> None:
        if self._session is None:
            self._task = asyncio.get_running_loop().create_task(self._hello(line))
        elif line == "cancel":
            if self._admitting is not None:
                self._admitting.withdraw()
        elif line.startswith("forward-cancel "):
            self.gateway.forward_cancel(int(line.split()[1]), b"key")
        else:
            self.busy = True
            admitting = self.gateway.admit(operation(line), self._session, ToyChannel(self, self.gateway.hold))
            self._admitting = admitting if self.busy else None

    async def _hello(self, line: str) -> None:
        name, _, key = line.partition(" ")
        guarded = self.gateway.guarded("orders-db")
        try:
            if guarded is None:
                self.say("no such resource")
                self.transport.close()
                return
            agent = await self.gateway.identify(name, key, resource="orders-db", peer="127.0.0.1:1")
            self._session = self.gateway.open_session(agent, guarded, peer="127.0.0.1:1", client="toy")
        except (IdentityRefusedError, LimitReachedError) as error:
            self.say(f"no {error}")
            self.transport.close()
            return
        self.say(f"welcome {self.gateway.replica}")

    def say(self, text: str) -> None:
        self.transport.write(text.encode() + b"\n")

    def over(self, text: str) -> None:
        self.busy = False
        self.room.idle.set()
        self._admitting = None
        self.say(text)

    def connection_lost(self, exc: Exception | None) -> None:
        self.room.connected.discard(self)
        self.room.idle.set()
        if self._admitting is not None:
            self._admitting.abandon()
        if self._session is not None:
            self.gateway.close_session(self._session, "the agent left")
