"""What the server still owes: one entry for each message that was sent to it, in order.

Protocol 3 answers strictly in order, so the head of the queue says whose answer is arriving, whether the client may see it, and what
ends it. An error in the extended protocol makes the server skip all that was sent up to Sync; so does `Owed.skip`.
"""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_agent.protocols.postgres import messages as m

if TYPE_CHECKING:
    from edge_agent.protocols.postgres.run import Run

type Answered = Callable[[bool, bytes], None]
"""Called when an entry is answered: (True, the message that ended it), or (False, the ErrorResponse) if it failed or was skipped."""


class Expect:
    """The answer to one message. `kind` is the type byte that was sent; `shown` lets the client see it.

    `ready` is for a Query: whether its ReadyForQuery is shown. `instead` replaces the error that is expected (an abort of ours).
    `rows` collects DataRows that are not shown and were asked for by `done`.
    """

    __slots__ = ("done", "instead", "kind", "ready", "rows", "run", "shown")

    def __init__(
        self,
        kind: int,
        run: "Run | None" = None,
        *,
        shown: bool = True,
        done: Answered | None = None,
        ready: bool = True,
        instead: bytes | None = None,
    ) -> None:
        self.kind = kind
        self.run = run
        self.shown = shown
        self.done = done
        self.ready = ready
        self.instead = instead
        self.rows: list[bytes] = []


ENDS = {
    m.PARSE: frozenset((m.PARSE_COMPLETE,)),
    m.BIND: frozenset((m.BIND_COMPLETE,)),
    m.CLOSE: frozenset((m.CLOSE_COMPLETE,)),
    m.DESCRIBE: frozenset((m.ROW_DESCRIPTION, m.NO_DATA)),
    m.EXECUTE: frozenset((m.COMMAND_COMPLETE, m.EMPTY_QUERY_RESPONSE, m.PORTAL_SUSPENDED)),
    m.QUERY: frozenset((m.READY_FOR_QUERY,)),
    m.SYNC: frozenset((m.READY_FOR_QUERY,)),
}
"""Which backend message ends the answer to a frontend message."""

_RESULT = frozenset((m.COMMAND_COMPLETE, m.EMPTY_QUERY_RESPONSE, m.ROW_DESCRIPTION))
_COPY = frozenset((m.COPY_IN_RESPONSE, m.COPY_OUT_RESPONSE, m.COPY_DATA, m.COPY_DONE))
WITHIN = {
    m.PARSE: frozenset[int](),
    m.BIND: frozenset[int](),
    m.CLOSE: frozenset[int](),
    m.DESCRIBE: frozenset((m.PARAMETER_DESCRIPTION,)),
    m.EXECUTE: _COPY,
    m.QUERY: _COPY | _RESULT,
    m.SYNC: frozenset[int](),
}
"""Which backend messages may come before the one that ends the answer."""


class Owed(deque[Expect]):
    """The queue of answers that the server owes."""

    def skip(self) -> list[Expect]:
        """Take out what the server skips after an error: all entries up to, and not including, the next Sync."""
        skipped: list[Expect] = []
        while self and self[0].kind != m.SYNC:
            skipped.append(self.popleft())
        return skipped
