"""What an edge would say of an HTTP operation before it is judged: the route that edge.yaml or its OpenAPI document gives it."""

from edge_agent.gateway import matched
from edge_agent.settings import ResourceSettings
from gateway_kernel.model import Json, Operation
from gateway_kernel.parse.http.text import HeadError, read


def route_of(operation: Operation, resource: ResourceSettings) -> dict[str, Json]:
    """The part of the context that names the route, {} where none matches. `operation` is read; its path may stand with or without the upstream's."""
    try:
        head = read(operation.text)
    except HeadError:
        return {}  # it has no normal form, and is refused as that
    base = tuple(part for part in resource.upstream.path.split("/") if part)
    segments = head.segments[len(base) :] if head.segments[: len(base)] == base else head.segments
    route = matched(resource.routes, head.method, segments)
    if route is None:
        return {}
    effects: list[Json] = [list(effect) for effect in route.effects]
    return {"route": {"id": route.id, "effects": effects, "speaks": route.speaks}}
