"""Requests for the tests of this room, written as in a policy's tests."""

from gateway_kernel.model import HttpFacts, Json, Operation
from gateway_kernel.parse.http.reader import READER

type Said = list[tuple[str, str, str]]


def declared(text: str, **context: Json) -> Operation:
    """The operation that a person wrote down, read."""
    return READER.declare(Operation("o", "http", text, context=context), {})


def routed(text: str, *effects: tuple[str, str], speaks: str = "", id: str = "") -> Operation:  # noqa: A002 - the field's name
    """The same with a route that matched."""
    return declared(text, route={"id": id, "effects": [list(effect) for effect in effects], "speaks": speaks})


def family(operation: Operation) -> HttpFacts:
    """Its HTTP facts."""
    found = operation.facts.family
    assert isinstance(found, HttpFacts)
    return found


def effects(operation: Operation) -> Said:
    """Its effects as (kind, object, via)."""
    return [(effect.kind.value, effect.object, effect.via) for effect in operation.facts.effects]
