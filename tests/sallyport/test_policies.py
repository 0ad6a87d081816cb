"""`sallyport policy`: exit codes, and what a reader is told."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sallyport.policies import app
from tests.sallyport.conftest import Command
from tests.sallyport.conftest import run as invoke

GUARD = "examples/policies/production-guard.yaml"
BAD = "version: 1\nrules:\n- {id: a, when: operation.verbb == 'x', then: allow}\n"
FAILING = """version: 1
rules:
- {id: reads, when: 'operation.effects.all(e, e.kind == "read")', then: allow}
tests:
- {name: wrong, agent: a, resource: {protocol: postgres}, operation: SELECT 1, expect: {verdict: deny}}
"""


def run(*arguments: str, text: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments), input=text)
    return result.exit_code, result.output


def test_check_tells_where_and_what(tmp_path: Path):
    """A policy that does not load ends 1 with its place; one that does ends 0."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    code, output = run("check", str(bad))
    assert code == 1
    assert f"{bad}:3:27: rule 'a': undefined field 'verbb' in Operation (did you mean 'verb'?)" in output
    assert run("check", GUARD)[0] == 0


def test_a_file_that_is_not_there_is_bad_usage():
    """A wrong path ends 2."""
    assert run("check", "no-such-policy.yaml")[0] == 2


def test_test_ends_one_if_a_case_fails(tmp_path: Path):
    """A failing case says what was expected and what came."""
    failing = tmp_path / "failing.yaml"
    failing.write_text(FAILING)
    code, output = run("test", str(failing), GUARD)
    assert code == 1
    assert "FAILED  wrong" in output
    assert "expected deny, got allow by reads" in output
    assert run("test", GUARD)[0] == 0


def test_explain_names_the_rule_and_why():
    """For a statement it says the verdict, the effects and each rule's answer."""
    code, output = run(
        "explain",
        "-",
        "--policy",
        GUARD,
        "--table",
        "orders=id,total",
        "--label",
        "env=prod",
        text="DELETE FROM orders WHERE id = 7",
    )
    assert code == 0
    assert "review" in output
    assert "prod-writes-need-a-person" in output
    assert "delete public.orders" in output


def test_explain_as_json():
    """The same as one JSON document."""
    code, output = run("explain", "SELECT total FROM orders", "--policy", GUARD, "--table", "orders=id,total", "--json")
    said = json.loads(output)
    assert code == 0
    assert (said["verdict"], said["rules"]) == ("allow", ["reads"])
    assert {"rule": "reads", "answer": "matched"}.items() <= said["answers"][0].items()


@pytest.mark.parametrize("arguments", [["--protocol", "gopher"], ["--label", "prod"]])
def test_explain_refuses_what_it_does_not_know(arguments: list[str]):
    """An unknown protocol, or a label without a value, ends 2."""
    assert run("explain", "SELECT 1", "--policy", GUARD, *arguments)[0] == 2


def test_explain_by_the_active_version(as_admin: Command):
    """Without `--policy` the control plane's active version is asked."""
    said = as_admin("policy", "explain", "SELECT 1", "--json")
    assert said.code == 0
    assert said.json["verdict"] in {"allow", "deny", "review"}


def test_push_a_draft(as_admin: Command):
    """A draft is stored; its number names it from then on."""
    said = as_admin("policy", "push", GUARD, "--draft", "--comment", "to be looked at", "--json")
    assert (said.code, said.json["active"], said.json["comment"]) == (0, False, "to be looked at")
    version = str(said.json["version"])
    assert as_admin("policy", "explain", "SELECT 1", "-p", version).code == 0
    assert as_admin("policy", "diff", version, GUARD).out == "no rule, group, default or test differs\n"
    assert f"version {int(version) + 1} is a draft" in as_admin("policy", "push", GUARD, "--draft").out


def test_push_refuses_what_does_not_load(as_admin: Command, tmp_path: Path):
    """The place stands in the error; nothing is stored."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    said = as_admin("policy", "push", str(bad))
    assert said.code == 1
    assert "bad.yaml:3:27" in said.error
    bad.write_text(FAILING)
    assert "wrong" in as_admin("policy", "push", str(bad)).error


def test_diff_names_rules_and_keys(tmp_path: Path):
    """Added, removed and changed rules with the old and new value; comments do not count."""
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    rules = "- {id: a, when: 'true', then: allow}\n- {id: b, when: 'true', then: deny}\n"
    old.write_text(f"version: 1\nrules:\n{rules}")
    new.write_text(
        "version: 1  # comment\nrules:\n- {id: c, when: 'true', then: record, record: {responses: full}}\n- {id: a, when: 'false', then: allow}\n"
    )
    said = invoke("policy", "diff", str(old), str(new))
    assert said.code == 0
    assert said.out.splitlines() == ["+ rule c", "- rule b", "~ rule a", "    when", "      - true", "      + false"]
    found = invoke("policy", "diff", str(old), str(new), "--json").json
    assert (found["added"], found["removed"], found["changed"][0]["rule"]) == (["c"], ["b"], "a")
    assert invoke("policy", "diff", str(old), str(old), "--json").json["changed"] == []


def test_diff_refuses_what_does_not_load(tmp_path: Path):
    """Exit 1 with the problem; exit 2 for a file that is not there."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(BAD)
    assert invoke("policy", "diff", str(bad), GUARD).code == 1
    assert invoke("policy", "diff", "none.yaml", GUARD).code == 2


def test_check_and_test_as_json():
    """Every policy with its rules and tests."""
    files = sorted(map(str, Path("examples/policies").glob("*.yaml")))
    assert [one["file"] for one in invoke("policy", "check", *files, "--json").json] == files
    assert all(case["passed"] for one in invoke("policy", "test", *files, "--json").json for case in one["tests"])


HTTP_POLICY = """version: 1
rules:
- {id: reads, when: 'operation.effects.all(e, e.kind == "read")', then: allow}
- {id: small, when: 'operation.verb == "refund" && http.body.amount < 100.0', then: allow}
"""
EDGE = """control_plane: {url: http://127.0.0.1:7071}
listeners: {http: 127.0.0.1:0}
resources:
- name: billing
  protocol: http
  upstream: https://billing.internal/v1
  routes:
  - {path: "/orders/{id}/refunds", methods: [POST], id: refund}
  - {path: /orders/search, methods: [POST], effects: [{kind: read, object: orders}]}
"""


def explained(directory: Path, operation: str, *arguments: str) -> dict[str, Any]:
    (directory / "policy.yaml").write_text(HTTP_POLICY)
    (directory / "edge.yaml").write_text(EDGE)
    policy = str(directory / "policy.yaml")
    code, output = run("explain", operation, "--policy", policy, "--protocol", "http", "--json", *arguments)
    assert code == 0, output
    return json.loads(output)


def test_explain_reads_a_request(tmp_path: Path):
    """Line, headers and body, as one writes them; without routes the method says what it does."""
    assert explained(tmp_path, "GET /orders/7?x=1")["verdict"] == "allow"
    said = explained(tmp_path, 'POST /orders/7/refunds\nContent-Type: application/json\n\n{"amount": 10}')
    assert (said["verdict"], said["effects"][0]["kind"]) == ("deny", "write")


@pytest.mark.parametrize("path", ["/orders", "/v1/orders"])
def test_explain_takes_the_routes_of_an_edge(tmp_path: Path, path: str):
    """What the edge would be told there, with the upstream's own path or without it."""
    routes = ("--config", str(tmp_path / "edge.yaml"), "--resource", "billing")
    said = explained(tmp_path, f"POST {path}/search", *routes)
    assert (said["verdict"], said["effects"]) == ("allow", [{"kind": "read", "object": "orders", "via": ""}])
    small, large = (
        explained(tmp_path, f'POST {path}/7/refunds\nContent-Type: application/json\n\n{{"amount": {amount}}}', *routes)
        for amount in (10, 1000)
    )
    assert (small["verdict"], small["rules"], large["verdict"]) == ("allow", ["small"], "deny")


def test_explain_by_an_edge_that_does_not_load_or_lacks_the_resource(tmp_path: Path):
    """Bad usage, with what is wrong and what there is."""
    (tmp_path / "edge.yaml").write_text(EDGE)
    said = invoke("policy", "explain", "GET /", "-p", GUARD, "--config", str(tmp_path / "edge.yaml"))
    assert (said.code, "there are: billing" in said.error) == (2, True)
    (tmp_path / "edge.yaml").write_text(EDGE.replace("path: /orders/search", "path: orders"))
    said = invoke("policy", "explain", "GET /", "-p", GUARD, "--config", str(tmp_path / "edge.yaml"))
    assert (said.code, "edge.yaml:9:12: the path 'orders'" in said.error) == (2, True)
