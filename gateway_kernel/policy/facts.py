"""What a condition can ask about: the families of facts, their fields and types, and which of them change between executions.

The families are declared once, as structs; `cel` makes protobuf messages of them so that a condition is type-checked, and
docs/policy.md is checked against them. A field that is not listed in `changing` depends on the statement, the agent and the
resource alone, which lets `evaluate` remember what a rule said of it.
"""

from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway_kernel.errors import UnreadableFactError
from gateway_kernel.model import (
    SECOND,
    Effect,
    HttpFacts,
    Instant,
    Json,
    KubernetesFacts,
    Operation,
    Parameter,
    Session,
    SqlFacts,
    SshFacts,
)
from gateway_kernel.parse.readers import reader_for


class AgentView(msgspec.Struct, frozen=True):
    """Who connects, as far as rules may know."""

    name: str
    groups: tuple[str, ...]
    claims: dict[str, str]
    issuer: str


class ResourceView(msgspec.Struct, frozen=True):
    """The target."""

    name: str
    protocol: str
    labels: dict[str, str]


class SessionView(msgspec.Struct, frozen=True):
    """What the session has used so far."""

    id: str
    started: datetime
    operations: int
    rows_read: int
    bytes_read: int
    rows_written: int
    reviews: int
    tainted: tuple[str, ...]


class OperationView(msgspec.Struct, frozen=True):
    """The command, whatever its language."""

    verb: str
    effects: tuple[Effect, ...]
    text: str
    size: int
    complete: bool


class SqlView(SqlFacts, frozen=True):
    """`SqlFacts` and the bound parameters as text."""

    parameters: tuple[str, ...] = ()


class HttpView(msgspec.Struct, frozen=True):
    """`HttpFacts` as rules know them, and the body as JSON."""

    method: str = ""
    path: str = ""
    segments: tuple[str, ...] = ()
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    host: str = ""
    body: Json = None
    azure: dict[str, str] = {}


class TimeView(msgspec.Struct, frozen=True):
    """When the operation is judged, in UTC. `weekday` is 1 (Monday) to 7, as in ISO 8601."""

    now: datetime
    hour: int
    weekday: int


class FactFamily(msgspec.Struct, frozen=True):
    """One CEL variable. `of` is the model's family that an operation must have for it; None where every operation does.

    The fields in `alone` may be impossible to tell while the others are plain. CEL gets each as a variable of its own (`http.body`), so that
    a condition which is decided without it is not spoilt.
    """

    name: str
    view: type[msgspec.Struct]
    changing: frozenset[str] = frozenset()
    of: type | None = None
    alone: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of its fields."""
        return self.view.__struct_fields__


FAMILIES: tuple[FactFamily, ...] = (
    FactFamily("agent", AgentView),
    FactFamily("resource", ResourceView),
    FactFamily("session", SessionView, changing=frozenset(SessionView.__struct_fields__)),
    FactFamily("operation", OperationView, changing=frozenset({"size"})),
    FactFamily("sql", SqlView, changing=frozenset({"parameters"}), of=SqlFacts),
    FactFamily("http", HttpView, changing=frozenset({"body"}), of=HttpFacts, alone=("query", "headers", "body")),
    FactFamily("k8s", KubernetesFacts, of=KubernetesFacts),
    FactFamily("ssh", SshFacts, of=SshFacts),
    FactFamily("time", TimeView, changing=frozenset(TimeView.__struct_fields__)),
)
BY_NAME: dict[str, FactFamily] = {family.name: family for family in FAMILIES}
ALONE: dict[str, FactFamily] = {f"{family.name}.{field}": family for family in FAMILIES for field in family.alone}


def values_of(
    family: str, wanted: frozenset[str], operation: Operation, session: Session, now: Instant
) -> dict[str, Any] | None:
    """Return the fields of one family, or of one of `ALONE`, for this operation; None where its protocol has no such family.

    `wanted` names the fields that are asked for, `*` all of them: what nobody asks for is not worked out. Raise
    `UnreadableFactError` where a field cannot be told, which is never to be taken for an absent one.
    """
    if family in ALONE:
        return _of_protocol(ALONE[family], [family.partition(".")[2]], operation)
    names = [name for name in BY_NAME[family].fields if name in wanted or "*" in wanted]
    match family:
        case "agent":
            return {name: getattr(session.agent, name) for name in names}
        case "resource":
            return {name: getattr(session.resource, name) for name in names}
        case "session":
            return {name: _datetime(session.started) if name == "started" else getattr(session, name) for name in names}
        case "operation":
            return {name: _operation(name, operation) for name in names}
        case "time":
            moment = _datetime(now)
            said = {"now": moment, "hour": moment.hour, "weekday": moment.isoweekday()}
            return {name: said[name] for name in names}
        case _:
            return _of_protocol(BY_NAME[family], names, operation)


def _operation(name: str, operation: Operation) -> Any:
    match name:
        case "text":
            return operation.text
        case "size":
            return operation.size
        case "effects":
            effects = operation.facts.effects
            return [{"kind": effect.kind.value, "object": effect.object, "via": effect.via} for effect in effects]
        case _:
            return getattr(operation.facts, name)


def _datetime(instant: Instant) -> datetime:
    seconds, micros = divmod(instant, SECOND)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


def _of_protocol(family: FactFamily, names: list[str], operation: Operation) -> dict[str, Any] | None:
    facts = operation.facts.family
    if family.of is None or not isinstance(facts, family.of):
        return None
    values: dict[str, Any] = {}
    for name in names:
        match family.name, name:
            case "sql", "parameters":
                values[name] = [_parameter(operation.protocol, parameter) for parameter in operation.parameters]
            case "http", "body":
                values[name] = _exact(reader_for(operation.protocol).asked(operation, name))
            case _ if isinstance(facts, HttpFacts) and name in facts.unreadable:
                raise UnreadableFactError(facts.unreadable[name])
            case _:
                values[name] = getattr(facts, name)
    return values


def _parameter(protocol: str, parameter: Parameter) -> str:
    """A bound value as its server would print it; NULL is "". A binary form that the protocol's reader cannot say is no fact."""
    text = reader_for(protocol).parameter_text(parameter)
    if text is None:
        raise UnreadableFactError(f"a parameter of type {parameter.type!r} came in a form that cannot be shown as text")
    return text


def _exact(value: Json) -> Json:
    """A JSON body as CEL takes it: numbers are doubles, so a whole number beyond 2^53 is said as text instead of rounded."""
    match value:
        case bool():
            return value
        case int():
            return float(value) if abs(value) <= 2**53 else str(value)
        case dict():
            return {key: _exact(item) for key, item in value.items()}
        case list() | tuple():
            return [_exact(item) for item in value]
        case _:
            return value
