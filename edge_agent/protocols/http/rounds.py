"""The short way of requests that an agent sends again on one connection (`_rounds`), where it was compiled."""

from typing import TYPE_CHECKING

from edge_agent import repeat

try:
    from edge_agent.protocols.http import _rounds
except ImportError:  # no C compiler when the environment was set up; see tools/build_extensions.py
    _rounds = None

if TYPE_CHECKING:
    from edge_agent.protocols.http._rounds import Rounds
    from edge_agent.protocols.http.exchange import Exchange
    from edge_agent.protocols.http.frontend import Frontend


class NoRounds:
    """Takes nothing."""

    taken = 0
    busy = False

    def learn(self, raw: bytes, exchange: "Exchange") -> None:
        """Nothing is ever repeated."""

    def client(self, data: bytes) -> bool:
        """Nothing is known."""
        return False

    def server(self, data: bytes) -> bool:
        """Nothing is under way."""
        return False

    def unfold(self) -> None:
        """Nothing is folded."""


def rounds(frontend: "Frontend") -> "Rounds | NoRounds":
    """The rounds of one connection."""
    return _rounds.Rounds(frontend) if repeat.COMPILED and _rounds is not None else NoRounds()
