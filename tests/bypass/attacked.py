"""What the bypass tests ask of a protocol: to try a text on the agent's connection, and to tell what came of it, seen from outside.

The tests of `test_end_to_end` are written against `Attacked` and run for every protocol that has a room (`postgres_room`, `http_room`): adding
a protocol adds a room and a corpus, not tests.
"""

import base64
import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from tests.bypass import CANARY

SIGNS = tuple(
    sign.encode() if isinstance(sign, str) else sign
    for sign in (CANARY, CANARY.lower(), CANARY[::-1], CANARY.encode().hex(), base64.b64encode(CANARY.encode()))
)
"""A hidden value as it is, folded, backwards, in hex and in base64 (six bytes are eight characters, wherever they stop)."""


def leaked(received: bytes) -> list[bytes]:
    """The signs of what is hidden in what the client received."""
    return [sign for sign in SIGNS if sign in received]


class Came(enum.Enum):
    """What the agent was told of one text."""

    DENIED = "denied"
    WAITS = "a person must say yes"
    NEVER_RAN = "no text that could ever run, said the edge in the upstream's words"
    WRONG = "called wrong by the upstream before there was anything to hold"
    FAILED = "another error"
    RAN = "ran"


class Tried(NamedTuple):
    """What one text came to. `told` is the protocol's own account of it, for who reads a failure."""

    came: Came
    values: Sequence[bytes | None]
    """What it gave. A refusal is nothing given."""

    received: bytes
    """Whatever reached the client, as it came and as it reads."""

    ran: Sequence[str]
    """What the upstream really began to run for it, by the upstream's own journal; the edge's own questions are left out."""

    goes_on: bool
    """False if the connection cannot be used any more, though the protocol has an answer that leaves it open."""

    told: object


class Attacked(Protocol):
    """One upstream behind the product, the agent's one connection, and a look past both that sees what is true."""

    @property
    def untouched(self) -> object:
        """What `upstream` told before the first attack."""
        ...

    def forms(self, text: str) -> Sequence[str]:
        """The ways in which the protocol can carry this text."""
        ...

    def attempt(self, text: str, form: str) -> Tried:
        """Send it on the agent's connection and read everything that comes of it."""
        ...

    def put_away(self, text: str) -> None:
        """Take back what a text that ran left in the session."""
        ...

    def session(self) -> object:
        """What the agent's connection gives to one who asks it something harmless; raise if it does not serve."""
        ...

    def upstream(self) -> object:
        """Everything that the corpus tries to change, as one value."""
        ...
