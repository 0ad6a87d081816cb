"""edge.yaml is a public contract: what loads, and what every mistake says."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from edge_agent.gateway import Route, matched
from edge_agent.settings import CredentialReference, SettingsError, edge_key, edge_name, load, seconds, size
from edge_agent.settings_file import EffectKind
from gateway_kernel import model

PROTOCOLS = ("postgres", "http")

WHOLE = """\
control_plane: {url: http://127.0.0.1:7071}
data_dir: ./data
hold: 300s
hold_in_transaction: 5s
policy_max_age: 1h
revocation_max_age: 5m
durability: local
listeners: {http: 127.0.0.1:8080, postgres: 127.0.0.1:0}
resources:
- name: orders-db
  protocol: postgres
  upstream: postgresql://app@db.internal:5432/orders?sslmode=verify-full&sslrootcert=ca.pem
  credential: keyvault://orders-vault/orders-rw
  labels: {env: prod, data: pii}
  mode: enforce
- name: billing
  protocol: http
  upstream: https://billing.internal
  credential: {header: Authorization, value: "Bearer {secret}", secret: keyvault://orders-vault/billing-key}
"""


def write(directory: Path, text: str) -> Path:
    path = directory / "edge.yaml"
    path.write_text(text)
    return path


def problem(directory: Path, before: str, after: str) -> str:
    """What the whole example says with one thing changed."""
    assert before in WHOLE
    with pytest.raises(SettingsError) as caught:
        load(write(directory, WHOLE.replace(before, after, 1)), PROTOCOLS)
    return str(caught.value).removeprefix(f"{directory}/")


def test_the_contracts_example_loads(tmp_path: Path) -> None:
    """Durations are seconds, paths absolute, the URL taken apart, defaults filled in."""
    settings = load(write(tmp_path, WHOLE), PROTOCOLS)
    assert (settings.hold, settings.hold_in_transaction) == (300, 5)
    assert (settings.policy_max_age, settings.revocation_max_age) == (3600, 300)
    assert settings.data_dir == tmp_path / "data"
    assert [(each.protocol, str(each.address)) for each in settings.listeners] == [
        ("http", "127.0.0.1:8080"),
        ("postgres", "127.0.0.1:0"),
    ]
    orders, billing = settings.resources
    assert (orders.upstream.host, orders.upstream.port, orders.upstream.path) == ("db.internal", 5432, "/orders")
    assert orders.upstream.username == "app"
    assert orders.upstream.options["sslmode"] == "verify-full"
    assert orders.upstream.options["sslrootcert"] == str(tmp_path / "ca.pem")
    assert orders.credential == CredentialReference("keyvault", "orders-vault/orders-rw")
    assert (orders.labels, orders.mode) == ({"env": "prod", "data": "pii"}, "enforce")
    assert billing.credential == CredentialReference(
        "keyvault", "orders-vault/billing-key", "Authorization", "Bearer {secret}"
    )
    assert (billing.upstream.port, settings.workers, settings.health) == (443, 1, None)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("hold: 300s", "hodl: 300s", "edge.yaml:3:1: unknown key 'hodl' (did you mean 'hold'?)"),
        ("  mode: enforce", "  mod: enforce", "edge.yaml:15:3: unknown key 'mod' (did you mean 'mode'?)"),
        ("hold: 300s", "hold: 5 minutes", "edge.yaml:3:7: expected a duration such as 300s, 5m or 1h"),
        ("hold: 300s", "hold: 300", "edge.yaml:3:7: expected a duration"),
        ("mode: enforce", "mode: observ", "edge.yaml:15:9: 'observ' is not one of enforce, observe"),
        ("durability: local", "durability: disk", "edge.yaml:7:13: 'disk' is not one of control_plane, local"),
        ("name: billing", "name: orders-db", "edge.yaml:16:9: a second resource is named 'orders-db'"),
        ("protocol: http", "protocol: htttp", "edge.yaml:17:13: unknown protocol 'htttp' (did you mean 'http'?)"),
        ("postgres: 127.0.0.1:0", "postgrse: 127.0.0.1:0", "unknown protocol 'postgrse' (did you mean 'postgres'?)"),
        ("{http: 127.0.0.1:8080, ", "{", "edge.yaml:17:13: resource 'billing' has no listener: add `http`"),
        ("127.0.0.1:8080", "127.0.0.1", "edge.yaml:8:19: expected host:port, found '127.0.0.1'"),
        ("127.0.0.1:8080", "127.0.0.1:80800", "expected host:port"),
        ("app@db", "app:hunter2@db", "edge.yaml:12:13: a password stands in the URL; put it behind `credential:"),
        ("keyvault://orders-vault/orders-rw", "s3cr3t-value", "edge.yaml:13:15: expected a credential reference"),
        ("keyvault://orders-vault/orders-rw", "keyvault://orders-vault", "expected keyvault://vault/secret"),
        ("keyvault://orders-vault/orders-rw", "env://", "env:// names nothing"),
        ('"Bearer {secret}"', '"Bearer"', "the value has no `{secret}` in it"),
        ("postgresql://app@db.internal:5432/orders", "db.internal/orders", "expected a URL such as"),
        (":5432", "", "the URL names no port"),
        ("http://127.0.0.1:7071", "http://control.example", "http:// is for loopback only"),
        ("http://127.0.0.1:7071", "ftp://control.example", "expected an http:// or https:// URL"),
        ("data_dir: ./data", "tls: {cert: no.pem, key: no.key}", "no.pem: no such file"),
        ("data_dir: ./data", "workers: 0", "edge.yaml:2:10: expected a whole number"),
        ("data_dir: ./data", "spool: {quota: 1KiB}", "expected at least 1024KiB"),
        ("data_dir: ./data", "hold: 1s", "edge.yaml:3:1: the key 'hold' stands twice"),
        ("  protocol: http\n", "", "'protocol' is missing"),
        ("resources:", "resources: {", "edge.yaml:"),
        (
            "https://billing.internal",
            "http://billing.internal",
            "edge.yaml:18:13: http:// is for loopback only: a credential",
        ),
        ("https://billing.internal", "ftp://billing.internal:21", "expected an https:// URL"),
        (
            "https://billing.internal",
            "https://billing.internal/a/../b",
            "edge.yaml:18:13: the path '/a/../b' has the segment",
        ),
        (
            "{header: Authorization,",
            "{header: Authorization, query: key,",
            "edge.yaml:19:15: write either `header` or `query`",
        ),
        ("{header: Authorization,", "{", "edge.yaml:19:15: write either `header` or `query`"),
        ("header: Authorization", "header: 'X Key'", "'X Key' is no name of a header"),
        ("header: Authorization", "header: Host", "the header 'Host' is the edge's own"),
        ("header: Authorization", "haeder: Authorization", "unknown key 'haeder' (did you mean 'header'?)"),
        (
            '{header: Authorization, value: "Bearer {secret}", secret: keyvault://orders-vault/billing-key}',
            "entra://",
            "edge.yaml:19:15: no Entra scope is known for billing.internal; write it: entra://api://",
        ),
        ("  mode: enforce", "  routes: [{path: /a}]", "edge.yaml:15:11: `routes` is for resources of protocol http"),
        ("  mode: enforce", "  openapi: a.yaml", "edge.yaml:15:12: `openapi` is for resources of protocol http"),
        (
            "keyvault://orders-vault/orders-rw",
            "{header: X, value: '{secret}', secret: env://A}",
            "edge.yaml:13:15: a credential goes into a header or query at protocol http only",
        ),
        (
            "  protocol: http",
            "  protocol: http\n  routes: [{path: orders}]",
            "edge.yaml:18:19: the path 'orders' does not begin",
        ),
        (
            "  protocol: http",
            "  protocol: http\n  routes: [{path: /a, methods: [get]}]",
            "edge.yaml:18:33: expected a method in upper case",
        ),
        (
            "  protocol: http",
            "  protocol: http\n  routes: [{path: /a, effects: [{kind: reed}]}]",
            "(did you mean 'read'?)",
        ),
        ("  protocol: http", "  protocol: http\n  routes: [{path: /a, speaks: soap}]", "'soap' is not one of"),
        (
            "  protocol: http",
            "  protocol: http\n  routes: [{path: /a, ids: x}]",
            "unknown key 'ids' (did you mean 'id'?)",
        ),
        ("  protocol: http", "  protocol: http\n  openapi: gone.yaml", "gone.yaml: cannot be read: No such file"),
    ],
)
def test_a_mistake_says_where_it_is_and_what_to_do(tmp_path: Path, before: str, after: str, said: str) -> None:
    """File, line, column, what, and the nearest valid word."""
    assert said in problem(tmp_path, before, after)


def test_routes_are_below_the_upstreams_path_and_those_of_the_file_go_before_the_document(tmp_path: Path) -> None:
    """`routes` and `openapi` together: what edge.yaml says of a path holds."""
    (tmp_path / "billing.yaml").write_text(
        "openapi: 3.1.0\nservers: [{url: /v1}]\npaths:\n  /orders/{id}: {get: {operationId: fromDocument}, put: {operationId: putOrder}}\n"
    )
    text = WHOLE.replace("https://billing.internal", "https://billing.internal/v2") + (
        "  openapi: ./billing.yaml\n  routes:\n"
        "  - {path: '/orders/{id}', methods: [GET, POST], id: getOrder, effects: [{kind: read, object: orders}]}\n"
        "  - {path: /graphql, speaks: graphql}\n"
    )
    routes = load(write(tmp_path, text), PROTOCOLS).resources[1].routes
    order = ("orders", "")
    assert routes == (
        Route(order, frozenset({"GET", "POST"}), "getOrder", (("read", "orders"),)),
        Route(("graphql",), speaks="graphql"),
        Route(order, frozenset({"GET"}), "fromDocument"),
        Route(order, frozenset({"PUT"}), "putOrder"),
    )
    found = matched(routes, "GET", ("orders", "7"))
    assert found is not None
    assert found.id == "getOrder"


def test_mistakes_in_an_openapi_document_have_their_own_places(tmp_path: Path) -> None:
    """Beside those of edge.yaml, each with its file."""
    (tmp_path / "billing.yaml").write_text("openapi: 3.1.0\npaths:\n  orders: {}\n")
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, WHOLE.replace("app@db", "app:x@db") + "  openapi: billing.yaml\n"), PROTOCOLS)
    here, there = str(caught.value).splitlines()
    assert here.startswith(f"{tmp_path}/edge.yaml:12:13: a password stands")
    assert there == f"{tmp_path}/billing.yaml:3:11: the path 'orders' does not begin with `/`"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1.2.3"])
def test_plain_http_is_for_loopback(tmp_path: Path, host: str) -> None:
    """Where nobody can listen in."""
    text = WHOLE.replace("https://billing.internal", f"http://{host}:8000")
    assert load(write(tmp_path, text), PROTOCOLS).resources[1].upstream.options["scheme"] == "http"


def test_kinds_of_effect_are_those_of_the_model() -> None:
    """All but those that no single request has."""
    assert {*get_args(EffectKind)} == {*model.EffectKind} - {"tunnel", "transaction"}


def test_what_may_be_a_secret_is_not_repeated_in_an_error(tmp_path: Path) -> None:
    """Who wrote a password in place of a reference does not find it in the log."""
    assert "s3cr3t-value" not in problem(tmp_path, "keyvault://orders-vault/orders-rw", "s3cr3t-value")
    assert "hunter2" not in problem(tmp_path, "app@db", "app:hunter2@db")


def test_every_problem_is_said_at_once(tmp_path: Path) -> None:
    """Nobody fixes a file one error a start."""
    with pytest.raises(SettingsError) as caught:
        load(write(tmp_path, WHOLE.replace("hold:", "hodl:").replace("mode:", "mod:")), PROTOCOLS)
    assert len(str(caught.value).splitlines()) >= 2


def test_a_missing_file_is_named() -> None:
    """The path and the reason."""
    with pytest.raises(SettingsError, match=r"/nowhere/edge.yaml: cannot be read: No such file"):
        load(Path("/nowhere/edge.yaml"), PROTOCOLS)


def test_a_listener_may_have_its_own_certificate(tmp_path: Path) -> None:
    """The top-level one serves the others."""
    for name in ("a.pem", "a.key", "b.pem", "b.key"):
        (tmp_path / name).write_text("")
    text = WHOLE.replace("data_dir: ./data", "tls: {cert: a.pem, key: a.key}").replace(
        "postgres: 127.0.0.1:0", "postgres: {address: '127.0.0.1:0', tls: {cert: b.pem, key: b.key}}"
    )
    http, postgres = load(write(tmp_path, text), PROTOCOLS).listeners
    assert http.tls is not None
    assert http.tls.cert == str(tmp_path / "a.pem")
    assert postgres.tls is not None
    assert postgres.tls.key == str(tmp_path / "b.key")


def test_limits_of_a_resource_override_those_for_all(tmp_path: Path) -> None:
    """Sizes and rates, per agent and per resource."""
    text = WHOLE.replace(
        "data_dir: ./data", "limits: {agent: {connections: 5}, resource: {operations_per_second: 10}}"
    ).replace("  mode: enforce", "  limits: {connections: 3, statement: 2MiB}")
    settings = load(write(tmp_path, text), PROTOCOLS)
    orders, billing = settings.resources
    assert settings.agent_limits.connections == 5
    assert (orders.limits.connections, orders.limits.statement) == (3, 2 << 20)
    assert billing.limits.operations_per_second == 10


@pytest.mark.parametrize(("text", "value"), [("500ms", 0.5), ("300s", 300), ("5m", 300), ("1h", 3600), ("2d", 172800)])
def test_durations(text: str, value: float) -> None:
    """A number and a unit."""
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "5", "-1s", "1.5h", "1 h", "1w", "s"])
def test_what_is_no_duration(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="not a duration"):
        seconds(text)


@pytest.mark.parametrize(("text", "value"), [("512", 512), ("64KiB", 65536), ("1 GiB", 1 << 30), ("7B", 7)])
def test_sizes(text: str, value: int) -> None:
    """Binary units only."""
    assert size(text) == value


def test_the_edge_key_names_the_edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """edge.yaml may repeat the name, and must then agree."""
    settings = load(write(tmp_path, WHOLE), PROTOCOLS)
    assert edge_name(settings) == "edge-1"
    other = load(write(tmp_path, WHOLE + "edge: edge-2\n"), PROTOCOLS)
    with pytest.raises(SettingsError, match="'edge-2', but the key"):
        edge_name(other)
    monkeypatch.setenv("SALLYPORT_EDGE_KEY", "nonsense")
    with pytest.raises(SettingsError, match="does not look like") as caught:
        edge_key()
    assert "nonsense" not in str(caught.value)
    monkeypatch.delenv("SALLYPORT_EDGE_KEY")
    with pytest.raises(SettingsError, match="is not set"):
        edge_key()
