"""`sallyport up` as a process: it comes up with every address, is used by the other commands, and starts again on what it left."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from sallyport.local_postgres import Postgres
from sallyport.ports import unused_port
from tests.sallyport.conftest import run

ROOT = Path(__file__).parents[2]
LIMIT = 60.0
"""Seconds for a start, and for a stop."""
POLICY = "version: 1\nrules:\n- {id: reads, when: 'operation.effects.all(e, e.kind == \"read\")', then: allow}\n"


class Up:
    """What is needed to start it, any number of times."""

    def __init__(self, home: Path, postgres: Postgres) -> None:
        self.home = home
        self.port = unused_port()
        (home / "policy.yaml").write_text(POLICY)
        self.config = home / "edge.yaml"
        self.config.write_text(
            f"control_plane: {{url: 'http://127.0.0.1:{self.port}'}}\n"
            f"data_dir: {home}/edge\n"
            "listeners: {postgres: 127.0.0.1:0}\n"
            "resources:\n"
            "- name: orders-db\n"
            "  protocol: postgres\n"
            f"  upstream: postgresql://{postgres.superuser}@{postgres.host}:{postgres.port}/postgres?sslmode=disable\n"
            "  credential: env://ORDERS_PASSWORD\n"
            "  labels: {env: test}\n"
        )
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SALLYPORT_")},
            "SALLYPORT_HOME": str(home / "state"),
            "ORDERS_PASSWORD": postgres.password,
        }

    def command(self, *more: str) -> list[str]:
        words = [
            "up",
            "--config",
            str(self.config),
            "--policy",
            str(self.home / "policy.yaml"),
            "--port",
            str(self.port),
        ]
        return [sys.executable, "-m", "sallyport", *words, "--agent", "ci-bot", "--approver", "dana@example.com", *more]

    @contextmanager
    def running(self) -> Generator[dict[str, Any]]:
        """Started, with what it printed; stopped by SIGTERM, which must end 0."""
        process = subprocess.Popen(
            self.command("--json"), cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if line == "}\n":
                    break
            yield json.loads(said)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT) == 0


@pytest.fixture(scope="module")
def up(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Up:
    """One state directory for the tests of this module."""
    return Up(tmp_path_factory.mktemp("up"), postgres)


@pytest.mark.parametrize("start", ["first", "again"])
def test_up_serves_and_starts_again(up: Up, start: str, monkeypatch: pytest.MonkeyPatch):
    """An agent reads through it; the other commands find address and keys by themselves; the keys of the first start still hold."""
    with up.running() as said:
        host, _, port = said["listeners"]["postgres"].rpartition(":")
        key = Path(said["keys"]["ci-bot"]).read_text().strip()
        dsn = f"host={host} port={port} user=ci-bot dbname=orders-db password={key} sslmode=disable"
        with psycopg.connect(dsn, autocommit=True) as agent:
            assert agent.execute("SELECT 1 AS one").fetchall() == [(1,)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                agent.execute("DROP TABLE nothing")
        monkeypatch.setenv("SALLYPORT_HOME", up.environment["SALLYPORT_HOME"])
        (found,) = run("agent", "list", "--json").json
        assert (found["name"], len(found["keys"])) == ("ci-bot", 1)
        assert run("review", "list", "--json").json == []
        assert said["listeners"]["postgres"] in run("connect", "orders-db", "--agent", "ci-bot", "--json").json["url"]
    kept = up.home / "state" / "keys"
    assert kept.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in kept.iterdir()} == {0o600}


def test_up_refuses_settings_that_do_not_load(up: Up, tmp_path: Path):
    """Exit 2 and the place, before anything is started."""
    bad = tmp_path / "edge.yaml"
    bad.write_text(up.config.read_text().replace("resources:", "resourcess:"))
    command = [bad if word == str(up.config) else word for word in up.command()]
    said = subprocess.run(command, cwd=ROOT, env=up.environment, capture_output=True, text=True, timeout=LIMIT)
    assert said.returncode == 2
    assert "did you mean 'resources'" in said.stderr
