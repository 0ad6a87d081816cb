"""Whole turns in the short way (`_turns`), where that was compiled; else every message is handled by itself."""

import asyncio
from typing import TYPE_CHECKING

from edge_agent.protocols.postgres.run import Run

if TYPE_CHECKING:
    from edge_agent._repeat import Repeats
    from edge_agent.protocols.postgres._turns import Turns
    from edge_agent.protocols.postgres.session import PostgresSession


class NoTurns:
    """Takes nothing."""

    resting = False

    def __init__(self) -> None:
        self.generation = 0
        self.operations = 0

    def sides(self, frontend: asyncio.Protocol, backend: asyncio.Protocol) -> tuple[asyncio.Protocol, asyncio.Protocol]:
        return frontend, backend

    def learn(self, run: Run) -> None:
        """Nothing is ever repeated."""

    def forget(self, name: bytes) -> None:
        """Nothing is known."""

    def unfold(self) -> None:
        """Nothing is folded."""


def turns(session: "PostgresSession", repeats: "Repeats | None") -> "Turns | NoTurns":
    """The turns of one session. `repeats` is there if and only if the compiled part is."""
    if repeats is None:
        return NoTurns()
    from edge_agent.protocols.postgres._turns import Turns

    return Turns(session, repeats)
