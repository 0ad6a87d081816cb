"""`sallyport policy`: exit codes, and what a reader is told."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sallyport.policies import app

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
