"""The server fixtures: a journal that missed a statement would make other tests pass for nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from tests.support.postgres import Postgres


def test_the_journal_holds_simple_and_extended_statements_and_errors(postgres: Postgres, database: str) -> None:
    """Each way to execute leaves one entry with its text, its parameters and the role that ran it."""
    with postgres.connect(database) as connection:
        connection.execute("SELECT 1 AS simple", prepare=False)
        connection.execute("SELECT %s::int AS extended", (7,))
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/0")
    ran = postgres.journal(database)
    assert [(entry.kind, entry.text) for entry in ran] == [
        ("statement", "SELECT 1 AS simple"),
        ("execute", "SELECT $1::int AS extended"),
        ("statement", "SELECT 1/0"),
        ("error", "SELECT 1/0"),
    ]
    assert ran[1].parameters == "$1 = '7'"
    assert ran[3].sqlstate == "22012"


def test_version_18_runs_beside_version_15(postgres: Postgres, postgres18: Postgres) -> None:
    """Two servers of two versions are up at once on two ports."""
    versions = [server.run("SHOW server_version_num")[0][0][:2] for server in (postgres, postgres18)]
    assert versions == ["15", "18"]
