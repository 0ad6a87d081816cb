"""What a request does: by its method, by what overrides it, by the resource's table of routes, and by the commands in its body.

Effects are added up, never weighed: a POST that says it is a DELETE writes and deletes. What is not known is `unknown`, and so denied.
"""

import msgspec

from gateway_kernel.model import Effect, EffectKind
from gateway_kernel.parse.http import azure, graphql, json_rpc, pairs
from gateway_kernel.parse.http.body import OVERRIDE, Body
from gateway_kernel.parse.http.headers import METHOD_OVERRIDES, canonical
from gateway_kernel.parse.http.text import Head

METHODS = {
    "GET": EffectKind.READ,
    "HEAD": EffectKind.READ,
    "OPTIONS": EffectKind.READ,
    "POST": EffectKind.WRITE,
    "PUT": EffectKind.WRITE,
    "PATCH": EffectKind.WRITE,
    "DELETE": EffectKind.DELETE,
    "MESSAGE": EffectKind.WRITE,  # a WebSocket message: not a method on the wire
}
_KINDS = {kind.value: kind for kind in EffectKind}
_SPEAKS = {"graphql": graphql.effects, "json-rpc": json_rpc.effects}


class RouteContext(msgspec.Struct, frozen=True):
    """The route of edge.yaml or of an OpenAPI document that matched: `effects` are pairs of kind and object."""

    id: str = ""
    effects: tuple[tuple[str, str], ...] = ()
    speaks: str = ""


NO_ROUTE = RouteContext()


class Found(msgspec.Struct, frozen=True):
    """The effects, and one sentence for each thing that could not be told."""

    effects: tuple[Effect, ...]
    problems: tuple[str, ...] = ()


def of(head: Head, body: Body, route: RouteContext, service: azure.Azure) -> Found:
    """What the request does. Without problems there is at least one effect, and none is `unknown`."""
    problems: list[str] = []
    speak = _SPEAKS.get(route.speaks)
    if route.speaks and speak is None:
        problems.append(f"The route speaks {route.speaks!r}, which nobody here understands.")
    said = speak(head, body, _named(route)) if speak is not None else None
    if said is not None:
        effects = list(said[0])
        problems.extend(said[1])
    elif route.effects and speak is None:
        effects = [Effect(_KINDS.get(kind, EffectKind.UNKNOWN), name or head.path) for kind, name in route.effects]
    else:
        kind = service.kind or METHODS.get(head.method)
        effects = [Effect(kind, head.path)] if kind is not None else []
        if kind is None:
            problems.append(f"The method {head.method!r} is not known; a route of the resource can say what it does.")
        if head.segments and head.segments[-1].casefold() in _BATCHES:
            problems.append("It is a batch of requests, of which each must be judged: send them one by one.")
    if not route.effects:
        effects.extend(service.effects)
        problems.extend(service.problems)
    for how, method in _overrides(head, body):
        kind = METHODS.get(method.upper())
        if kind is None or method.upper() == "MESSAGE":
            problems.append(f"It asks by {how} for the method {method!r}, which is not known.")
        else:
            effects.append(Effect(kind, head.path, how))
    if body.hidden:
        problems.append(f"The body may name another method ({OVERRIDE}) where it cannot be read.")
    effects = list(dict.fromkeys(effects))
    if any(effect.kind is EffectKind.UNKNOWN for effect in effects):
        problems.append("The route says that what it does is unknown.")
    return Found(tuple(effects), tuple(dict.fromkeys(problems)))


_BATCHES = frozenset({"$batch"})
"""OData 11.7: a batch has requests of any kind in its body."""


def _named(route: RouteContext) -> dict[str, EffectKind]:
    """What a route that speaks another language says of its commands: object (the command's name) -> kind."""
    return {name: _KINDS.get(kind, EffectKind.UNKNOWN) for kind, name in route.effects}


def _overrides(head: Head, body: Body) -> list[tuple[str, str]]:
    """How and to what the method is overridden. An empty value overrides nothing."""
    found = [(canonical(name), value) for name, value in head.headers if canonical(name) in METHOD_OVERRIDES]
    if head.query:
        found += [("query", value) for value in pairs.every(head.query, OVERRIDE)]
    found += [("body", value) for value in body.methods]
    return [(how, method.strip()) for how, value in found for method in value.split(",") if method.strip()]
