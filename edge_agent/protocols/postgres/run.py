"""One operation of a PostgreSQL session, from its judgement to its outcome: the driver's `Channel`.

It keeps what the recording needs to know of the answer (rows, bytes, digest, as much of the body as the policy says) and tells the
session to carry out what the driver decided. It sends nothing itself.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from edge_agent.gateway import Admitting
from edge_agent.kept import Kept, recorded_of_response
from edge_agent.protocols.postgres import messages as m
from gateway_kernel.audit import Finished, Outcome
from gateway_kernel.commands import Refuse, Result
from gateway_kernel.judge import Judgement
from gateway_kernel.model import EffectKind, Facts, Instant, Operation, Parameter
from gateway_kernel.parse.sql.effects import QUIET

if TYPE_CHECKING:
    from edge_agent.protocols.postgres.session import PostgresSession

_AWAITED = frozenset((EffectKind.TRANSACTION, EffectKind.TRANSFER))
_CHANGES_MEANING = frozenset((EffectKind.SESSION, EffectKind.EXECUTE, EffectKind.PRIVILEGE, EffectKind.SCHEMA))
_NAMING = frozenset(("PREPARE", "DEALLOCATE", "DISCARD", "DECLARE", "CLOSE"))

type Sink = Callable[[bytes, int, int], bytes]
"""Masks the complete row or copy frames of `data[start:end]`."""


class Traits(msgspec.Struct, frozen=True):
    """What the session must know of an operation's facts. `meaning`: what later texts mean may differ after it; `names`: prepared
    statements or cursors may have come or gone; `barrier`: nothing behind it is judged before the server has answered it."""

    facts: Facts
    verbs: tuple[str, ...]
    meaning: bool
    names: bool
    barrier: bool


_traits: dict[int, Traits] = {}
_REMEMBERED = 4096


def traits_of(facts: Facts) -> Traits:
    """The traits of these facts; computed once for each `Facts` object, which readers share between operations."""
    found = _traits.get(id(facts))
    if found is not None and found.facts is facts:
        return found
    verbs: tuple[str, ...] = getattr(facts.family, "verbs", ())
    meaning = any(
        effect.kind in _CHANGES_MEANING and not (effect.kind is EffectKind.SESSION and effect.object in QUIET)
        for effect in facts.effects
    )
    names = facts.has(EffectKind.EXECUTE) or any(verb in _NAMING for verb in verbs)
    barrier = meaning or any(effect.kind in _AWAITED for effect in facts.effects)
    if len(_traits) >= _REMEMBERED:
        _traits.clear()
    _traits[id(facts)] = traits = Traits(facts, verbs, meaning, names, barrier)
    return traits


def parameters(bound: m.Bind, types: tuple[int, ...]) -> tuple[Parameter, ...]:
    """The values of a Bind; `types` are the oids as far as they are known."""
    known = len(types)
    return tuple(
        [
            Parameter(str(types[at]) if at < known else "0", value, "binary" if bound.formats[at] else "text")
            for at, value in enumerate(bound.values)
        ]
    )


class Run:
    """An operation on its way. `raw` is the Query or Bind that brought it; `portal` and `bound` are there for a Bind."""

    __slots__ = (
        "barrier",
        "bound",
        "changed",
        "done",
        "error",
        "exceeded",
        "executed",
        "fields",
        "forwarded",
        "handle",
        "judgement",
        "masked",
        "max_rows",
        "operation",
        "portal",
        "raw",
        "response",
        "result",
        "rows",
        "savepoint",
        "sensitive",
        "session",
        "settled",
        "sink",
        "spooled",
        "started",
        "suspended",
        "tag",
    )  # fmt: skip

    def __init__(
        self, session: "PostgresSession", operation: Operation, raw: bytes, bound: m.Bind | None = None
    ) -> None:
        self.session = session
        self.operation = operation
        self.raw = raw
        self.bound = bound
        self.portal = bound.portal if bound is not None else b""
        self.judgement: Judgement | None = None
        self.handle: Admitting | None = None
        self.done: Callable[[Result], None] | None = None
        self.max_rows: int | None = None
        self.settled = False  # forwarded or refused: the gate has spoken
        self.forwarded = False
        self.executed = False
        self.suspended = False
        self.exceeded = False
        self.savepoint = False
        self.error = ""
        self.tag = ""
        self.result = 0  # which of the results with rows is arriving
        self.changed = 0
        self.rows = 0
        self.started = 0
        self.sink: Sink | None = None
        self.fields: tuple[m.Field, ...] = ()
        self.sensitive = False
        self.masked: dict[str, int] = {}
        self.response = Kept(0)
        self.spooled: object = None
        self.barrier = False

    # The driver's side

    @property
    def hold(self) -> float:
        return self.session.hold

    def waiting(self, review: str, url: str) -> None:
        if not self.settled:
            self.session.waiting(review, url)

    def forward(self, judgement: Judgement, max_rows: int | None, done: Callable[[Result], None]) -> None:
        self.judgement = judgement
        self.operation = judgement.operation
        self.max_rows = max_rows
        self.done = done
        if self.settled:  # the agent is gone, or its segment failed, while the gate was still deciding
            self.finish(Outcome.NOT_SENT, "the agent was gone")
            return
        self.settled = True
        self.barrier = traits_of(judgement.operation.facts).barrier
        self.sensitive = judgement.mask.sensitive
        self.response.limit = recorded_of_response(judgement, self.session.kernel)
        self.started = self.session.gateway.now()
        self.session.carry_out(self)

    def resume(self, judgement: Judgement, started: Instant, done: Callable[[Result], None]) -> None:
        """Take over an operation that was forwarded by `turns`."""
        self.judgement = judgement
        self.done = done
        self.settled = self.forwarded = True
        self.response.limit = recorded_of_response(judgement, self.session.kernel)
        self.started = started

    def refuse(self, refusal: Refuse) -> None:
        if not self.settled:
            self.settled = True
            self.session.refused(self, refusal)

    # The session's side

    @property
    def traits(self) -> Traits:
        return traits_of(self.operation.facts)

    @property
    def verbs(self) -> tuple[str, ...]:
        return traits_of(self.operation.facts).verbs

    def finish(self, outcome: Outcome, detail: str = "") -> None:
        """Tell the driver the outcome, once."""
        done, self.done = self.done, None
        if done is None:
            return
        response = self.response.record("postgres", rows=self.rows or self.changed, masked=self.masked)
        micros = self.session.gateway.now() - self.started if self.started else 0
        finished = Finished(self.operation.id, outcome, detail or self.error or self.tag, response, micros)
        done(Result(finished, outcome))
