"""Routes: how a path is written in edge.yaml or OpenAPI, and which route a request has."""

from __future__ import annotations

import pytest

from edge_agent.gateway import Route, matched
from edge_agent.routes import PathError, segments_of


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/", ()),
        ("/orders", ("orders",)),
        ("/orders/", ("orders",)),
        ("/orders/{id}/items", ("orders", "", "items")),
        ("/files/**", ("files", "**")),
        ("/a%20b/gr%C3%BC%C3%9Fe", ("a b", "grüße")),
        ("/orders/{id}.json", ("orders", "{}.json")),
        ("/v1/{from}-{to}:batch", ("v1", "{}-{}:batch")),
    ],
)
def test_a_path_is_taken_apart_and_decoded(path: str, segments: tuple[str, ...]) -> None:
    """As requests are, so that the two can be compared."""
    assert segments_of(path) == segments


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("orders", "does not begin with `/`"),
        ("/orders?x=1", "has a query"),
        ("/a//b", "has the segment ''"),
        ("/a/../b", r"has the segment '\.\.'"),
        ("/a/*", "write {name} for one segment"),
        ("/**/a", "write {name} for one segment"),
        ("/a/{id", "a brace without its partner"),
        ("/a/{}", "a brace without its partner"),
        ("/a/{x}{y}", "side by side"),
        ("/a%2Fb", "an escaped slash"),
        ("/a%zz", "begins no escape"),
        ("/a%ff", "not UTF-8"),
    ],
)
def test_a_path_that_cannot_be_matched_says_why(path: str, said: str) -> None:
    """It is not taken for something near it."""
    with pytest.raises(PathError, match=said):
        segments_of(path)


def route(path: str, *methods: str) -> Route:
    return Route(segments_of(path), frozenset(methods), f"{' '.join(methods)} {path}".strip())


ROUTES = (
    route("/orders", "GET"),
    route("/orders/{id}", "GET", "DELETE"),
    route("/orders/search", "GET"),
    route("/orders/{id}.csv", "GET"),
    route("/orders/{number}", "GET"),
    route("/files/**"),
    route("/files/public/{name}", "GET"),
    route("/ranges/{from}-{to}", "GET"),
    route("/"),
)


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("GET", "/orders", "GET /orders"),
        ("GET", "/orders/", "GET /orders"),
        ("GET", "/orders/7", "GET DELETE /orders/{id}"),
        ("GET", "/orders/7/", "GET DELETE /orders/{id}"),
        ("HEAD", "/orders/7", "GET DELETE /orders/{id}"),
        ("GET", "/orders/search", "GET /orders/search"),
        ("DELETE", "/orders/search", "GET DELETE /orders/{id}"),
        ("GET", "/orders/7.csv", "GET /orders/{id}.csv"),
        ("GET", "/orders/.csv", "GET DELETE /orders/{id}"),
        ("POST", "/orders", None),
        ("GET", "/Orders", None),
        ("GET", "/orders/7/items", None),
        ("PUT", "/files", "/files/**"),
        ("PUT", "/files/a/b/c", "/files/**"),
        ("GET", "/files/public/a", "GET /files/public/{name}"),
        ("PUT", "/files/public/a", "/files/**"),
        ("GET", "/ranges/1-2", "GET /ranges/{from}-{to}"),
        ("GET", "/ranges/--", None),
        ("GET", "/ranges/---", "GET /ranges/{from}-{to}"),
        ("GET", "/", "/"),
        ("GET", "/else", None),
    ],
)
def test_text_goes_before_a_placeholder_and_else_the_first(method: str, path: str, named: str | None) -> None:
    """A slash at the end does not count; HEAD is GET where no route names it."""
    found = matched(ROUTES, method, tuple(path[1:].split("/")))
    assert (found.id if found else None) == named


def test_a_placeholder_is_never_nothing() -> None:
    """`/orders/` is the collection, not an order without a number."""
    assert matched((route("/orders/{id}"),), "GET", ("orders", "")) is None
    assert matched((route("/orders/{id}/items"),), "GET", ("orders", "", "items")) is None
