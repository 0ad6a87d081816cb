"""The `tests` section of a policy: what a case looks like, and the operation and session that it stands for.

`selftest` runs cases. The shape is part of the document, so a misspelt key in a test is an error of the policy.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from gateway_kernel.model import SECOND, Agent, Instant, Json, Mode, Operation, Parameter, Resource, Session
from gateway_kernel.verdict import Responses

Moment = Annotated[
    str,
    msgspec.Meta(
        pattern=r"\A[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9](:[0-5][0-9])?(Z|[+-][0-2][0-9]:[0-5][0-9])\Z",
        description="a time such as 2026-03-02T22:30:00Z",
    ),
]
Text = Annotated[str, msgspec.Meta(min_length=1)]
NOON: Moment = "2026-01-01T12:00:00Z"
"""When a case says nothing else: a Thursday."""


class CaseAgent(msgspec.Struct, frozen=True):
    """Who asks, where a name is not enough."""

    name: Text
    groups: tuple[str, ...] = ()
    claims: dict[str, str] = {}
    issuer: str = "sallyport"


class CaseResource(msgspec.Struct, frozen=True):
    """Which resource; its protocol says how the operation is read."""

    protocol: Text
    name: Text = "resource"
    labels: dict[str, str] = {}


class CaseSession(msgspec.Struct, frozen=True):
    """What the session has used so far; `usage` by cap key, for example `agent:rows_read:3600`."""

    operations: int = 0
    rows_read: int = 0
    bytes_read: int = 0
    rows_written: int = 0
    reviews: int = 0
    tainted: tuple[str, ...] = ()
    usage: dict[str, int] = {}
    mode: Mode = "enforce"


class CaseParameter(msgspec.Struct, frozen=True):
    """A bound value with its protocol's type name or number, in text form."""

    type: Text
    value: str | None


class Expectation(msgspec.Struct, frozen=True):
    """What must come out. What is not written is not compared.

    `rules` made the verdict (as a set). `masks` has one entry for each result column: a strategy or `none`, or the word `withheld`
    alone. `detect` are the detectors at work, `rewrites` the final text (white space aside).
    """

    verdict: Literal["allow", "review", "deny"]
    rules: tuple[str, ...] | None = None
    reason: str | None = None
    masks: tuple[str, ...] | None = None
    detect: tuple[str, ...] | None = None
    rewrites: str | None = None
    read_only: bool | None = None
    limit: int | None = None
    responses: Responses | None = None


class Case(msgspec.Struct, frozen=True):
    """One test of a policy."""

    name: Text
    agent: Text | CaseAgent
    resource: CaseResource
    operation: Text
    expect: Expectation
    parameters: tuple[str | CaseParameter | None, ...] = ()
    session: CaseSession = CaseSession()
    context: dict[str, Json] = {}
    tables: dict[str, tuple[Text, ...]] = {}
    now: Moment = NOON


def instant(moment: str) -> Instant:
    """A `Moment` in microseconds. Raise `ValueError` for a day or hour that does not exist."""
    return round(datetime.fromisoformat(moment).timestamp()) * SECOND


def session_of(case: Case) -> Session:
    """The session that the case describes."""
    agent = Agent(case.agent) if isinstance(case.agent, str) else _agent(case.agent)
    resource = Resource(case.resource.name, case.resource.protocol, case.resource.labels)
    used = case.session
    return Session(
        id="test",
        agent=agent,
        resource=resource,
        started=instant(case.now),
        mode=used.mode,
        operations=used.operations,
        rows_read=used.rows_read,
        bytes_read=used.bytes_read,
        rows_written=used.rows_written,
        reviews=used.reviews,
        tainted=used.tainted,
        usage=dict(used.usage),
    )


def _agent(agent: CaseAgent) -> Agent:
    return Agent(agent.name, agent.groups, agent.claims, agent.issuer)


def operation_of(case: Case, context: dict[str, Json]) -> Operation:
    """The operation that the case describes, unread, in `context`."""
    return Operation(
        id="test",
        protocol=case.resource.protocol,
        text=case.operation,
        parameters=tuple(_parameter(parameter) for parameter in case.parameters),
        context=context,
        size=len(case.operation.encode()),
    )


def _parameter(parameter: str | CaseParameter | None) -> Parameter:
    if isinstance(parameter, CaseParameter):
        value = parameter.value
        return Parameter(parameter.type, None if value is None else value.encode())
    return Parameter("text", None if parameter is None else parameter.encode())
