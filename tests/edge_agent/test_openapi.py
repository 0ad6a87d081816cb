"""OpenAPI documents become routes; what is wrong in one is said with file, line and column."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from edge_agent.gateway import Route
from edge_agent.openapi import OpenApiError, routes

DOCUMENT = """\
openapi: 3.0.3
info: {title: Billing, version: 1.0}
servers: [{url: "https://billing.example/v1"}]
paths:
  /orders/{id}:
    parameters: [{name: id, in: path, required: true, schema: {type: number, minimum: 0.5}}]
    get: {operationId: getOrder, responses: {}}
    delete: {operationId: deleteOrder, responses: {}}
  /orders/search:
    post:
      operationId: searchOrders
      x-sallyport-effects: [{kind: read, object: orders}]
  /graphql:
    x-sallyport-speaks: graphql
    post: {}
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "billing.yaml"
    path.write_text(text)
    return path


def of(*segments: str, method: str, **more: object) -> Route:
    return Route(segments, frozenset({method}), **more)  # pyright: ignore[reportArgumentType] -- a table of cases


EXPECTED = (
    of("v1", "orders", "", method="GET", id="getOrder"),
    of("v1", "orders", "", method="DELETE", id="deleteOrder"),
    of("v1", "orders", "search", method="POST", id="searchOrders", effects=(("read", "orders"),)),
    of("v1", "graphql", method="POST", speaks="graphql"),
)


def test_operations_are_routes_below_the_documents_server(tmp_path: Path) -> None:
    """Named by operationId, with effects where the document says them, else by method."""
    assert routes(write(tmp_path, DOCUMENT), below_server=True) == EXPECTED


def test_json_is_read_as_well(tmp_path: Path) -> None:
    """On one line, as generators write it."""
    path = tmp_path / "billing.json"
    path.write_text(json.dumps(yaml.safe_load(DOCUMENT)))
    assert routes(path, below_server=True) == EXPECTED


def test_the_upstreams_own_path_stands_for_the_documents_server(tmp_path: Path) -> None:
    """Where edge.yaml names one, what agents ask for is below it."""
    found = routes(write(tmp_path, DOCUMENT), below_server=False)
    assert found[0].segments == ("orders", "")


def test_variables_of_a_server_have_their_defaults(tmp_path: Path) -> None:
    """As a client would send it that knows no more."""
    servers = (
        "servers: [{url: 'https://{region}.example/{base}/x', variables: {region: {default: eu}, base: {default: v3}}}]"
    )
    text = DOCUMENT.replace('servers: [{url: "https://billing.example/v1"}]', servers)
    assert routes(write(tmp_path, text), below_server=True)[0].segments == ("v3", "x", "orders", "")


def test_a_path_may_be_a_reference_within_the_document(tmp_path: Path) -> None:
    """OpenAPI 3.1 keeps shared paths under components."""
    text = (
        "openapi: 3.1.0\npaths:\n  /a: {$ref: '#/components/pathItems/x~1y'}\n"
        "components: {pathItems: {x/y: {get: {operationId: a}}}}\n"
    )
    assert routes(write(tmp_path, text), below_server=True) == (of("a", method="GET", id="a"),)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("openapi: 3.0.3", "openapi: 2.0.0", "1:10: only OpenAPI 3 is read, this says '2.0.0'"),
        ("openapi: 3.0.3", "swagger: '2.0'", "1:1: `openapi: 3.x.y` is missing"),
        ("openapi: 3.0.3", "- 1", ": this is neither YAML nor JSON"),
        ("    get:", "    gett:", "7:11: unknown key 'gett' in a path (did you mean 'get'?)"),
        ("operationId: deleteOrder", "operationId: getOrder", "stands twice; the first is in line 7"),
        ("/orders/search:", "/orders/{id}:", "9:3: the key '/orders/{id}' stands twice"),
        ("/graphql:", "graphql:", "the path 'graphql' does not begin with `/`"),
        ("/graphql:", "/orders/{number}:", "graphql"),
        ("kind: read", "kind: reed", "x-sallyport-effects: Invalid enum value 'reed'"),
        ("object: orders", "objekt: orders", "unknown field `objekt`"),
        ("speaks: graphql", "speaks: soap", "14:25: x-sallyport-speaks: expected graphql or json-rpc"),
        ("    post: {}", "    post: []", "15:11: expected a mapping, found a list"),
        ("    post: {}", "    post: {operationId: [1]}", "expected text, found a list"),
        ("    post: {}", "    $ref: other.yaml", "is another document; bundle"),
        ("    post: {}", "    $ref: '#/nowhere'", "points to nothing"),
        ("billing.example/v1\"}", "a.example/v1\"}, {url: /v2}", "3:10: the servers have different paths"),
    ],
)  # fmt: skip
def test_a_mistake_says_where_it_is(tmp_path: Path, before: str, after: str, said: str) -> None:
    """A route that is missing would be judged by its method alone, so nothing is passed over."""
    assert before in DOCUMENT
    path = write(tmp_path, DOCUMENT.replace(before, after, 1))
    if said == "graphql":
        assert len(routes(path, below_server=True)) == 4  # another method of a path that is written in two ways
        return
    with pytest.raises(OpenApiError) as caught:
        routes(path, below_server=True)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")


def test_paths_that_differ_in_names_alone_are_one(tmp_path: Path) -> None:
    """OpenAPI calls them identical and invalid."""
    text = DOCUMENT.replace("/graphql:\n    x-sallyport-speaks: graphql\n    post:", "/orders/{number}:\n    get:")
    with pytest.raises(OpenApiError, match=r"14:10: the same path and method stand twice; the first is in line 7"):
        routes(write(tmp_path, text), below_server=True)


@pytest.mark.parametrize("text", ["", "openapi: 3.0.0\npaths: {}\n", "a: [\n", "[" * 100_000])
def test_what_is_no_description_is_refused(tmp_path: Path, text: str) -> None:
    """An empty one would name nothing, and nobody would notice."""
    with pytest.raises(OpenApiError, match=r"billing\.yaml:[0-9]+:[0-9]+: "):
        routes(write(tmp_path, text), below_server=True)


def test_a_missing_document_is_named(tmp_path: Path) -> None:
    """The path and the reason."""
    with pytest.raises(OpenApiError, match=r"billing\.yaml: cannot be read: No such file"):
        routes(tmp_path / "billing.yaml", below_server=True)
