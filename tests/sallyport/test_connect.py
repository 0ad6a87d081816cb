"""`sallyport connect`: lines to paste."""

import shlex
from pathlib import Path

import pytest

from tests.sallyport.conftest import run


def test_lines_for_postgres():
    """psql, environment and URL, without any key in them."""
    said = run("connect", "orders-db", "--agent", "ci-bot", "--edge", "10.0.0.5:6432", "--json").json
    assert said["url"] == "postgresql://ci-bot@10.0.0.5:6432/orders-db"
    assert said["psql"] == 'PGPASSWORD="$SALLYPORT_AGENT_KEY" psql postgresql://ci-bot@10.0.0.5:6432/orders-db'
    assert "PGHOST=10.0.0.5 PGPORT=6432 PGUSER=ci-bot PGDATABASE=orders-db" in said["environment"]


@pytest.mark.parametrize(
    ("edge", "url"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080/billing"),
        ("[::1]:8080", "http://[::1]:8080/billing"),
        ("edge.example:443", "https://edge.example:443/billing"),
    ],
)
def test_lines_for_http(edge: str, url: str):
    """curl, base URL and key for client libraries; the key itself is not in them."""
    said = run("connect", "billing", "--agent", "ci-bot", "--edge", edge, "--protocol", "http", "--json").json
    assert said["url"] == url
    assert shlex.split(said["curl"]) == ["curl", "-H", "Authorization: Bearer $SALLYPORT_AGENT_KEY", f"{url}/"]
    assert shlex.split(said["environment"]) == ["export", f"API_BASE_URL={url}", "API_KEY=$SALLYPORT_AGENT_KEY"]


def test_http_names_cannot_leave_their_place():
    """Whatever a name holds, pasting the line runs only curl."""
    arguments = ("x'; touch /tmp/pwned #", "--agent", "a", "--edge", "h:1", "--protocol", "http")
    said = run("connect", *arguments, "--json").json
    assert shlex.split(said["curl"])[3:] == [f"{said['url']}/"]


def test_names_cannot_leave_their_place():
    """Whatever a name holds, pasting the line runs only psql."""
    said = run("connect", "x'; touch /tmp/pwned #", "--agent", "a b$(id)", "--edge", "h:1", "--json").json
    assert shlex.split(said["psql"])[1:] == ["psql", said["url"]]
    assert "$(" not in said["url"]
    assert " " not in said["url"]


@pytest.mark.parametrize("edge", ["nohost", "host:", "host:port", ":5432"])
def test_an_address_that_is_none(edge: str):
    """Exit 2 and what was expected."""
    said = run("connect", "r", "--agent", "a", "--edge", edge)
    assert said.code == 2
    assert "host:port" in said.error


def test_an_unknown_protocol():
    """Exit 2 and those that are known."""
    said = run("connect", "r", "--agent", "a", "--edge", "h:1", "--protocol", "gopher")
    assert said.code == 2
    assert "postgres" in said.error


def test_the_address_that_up_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Without `--edge` it is what `sallyport up` started; without that, exit 2 says so."""
    monkeypatch.setenv("SALLYPORT_HOME", str(tmp_path))
    assert "sallyport up" in run("connect", "r", "--agent", "a").error
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "listener-postgres").write_text("127.0.0.1:7777\n")
    assert run("connect", "r", "--agent", "a", "--json").json["url"] == "postgresql://a@127.0.0.1:7777/r"
