"""The shipped policies: their own tests hold, every rule is needed, and drivers work under each of them."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest
import yaml
from psycopg.types import TypeInfo

from gateway_kernel.judge import judge
from gateway_kernel.model import Agent, Operation, Resource, Session
from gateway_kernel.parse.readers import reader_for
from gateway_kernel.parse.sql.effects import HOUSEKEEPING
from gateway_kernel.policy import Policy, load, selftest
from tests.support.postgres import Postgres

FILES = sorted(Path("examples/policies").glob("*.yaml"))
POLICIES = {path.stem: load(path.read_text(), path.name) for path in FILES}
DATABASES = [name for name, policy in POLICIES.items() if policy.cases[0].resource.protocol == "postgres"]
"""The policies for databases: drivers must work under them."""
TABLES = {
    "orders": ("id", "total"),
    "pgbench_accounts": ("aid", "bid", "abalance", "filler"),
    "pgbench_branches": ("bid", "bbalance", "filler"),
    "pgbench_tellers": ("tid", "bid", "tbalance", "filler"),
}
SCHEMA = "CREATE TABLE orders (id int PRIMARY KEY, total int); CREATE VIEW big AS SELECT id FROM orders; CREATE TYPE mood AS ENUM ('a')"
HOUSEKEEPING_RULE = "driver-housekeeping"


def cases() -> Iterator[tuple[str, str]]:
    for name, policy in POLICIES.items():
        for rule in policy.rules:
            yield name, rule.id


def test_the_four_templates_are_shipped():
    """Read-only, production guard and PII for databases, and one for HTTP APIs are there."""
    assert set(DATABASES) >= {"read-only", "production-guard", "pii"}
    assert "http-api" in POLICIES


@pytest.mark.parametrize("name", POLICIES)
def test_a_shipped_policy_passes_its_own_tests(name: str):
    """`sallyport policy test` passes, without a warning at loading."""
    policy = POLICIES[name]
    assert policy.warnings == ()
    assert policy.cases
    assert {result.name: result.differences for result in selftest.run(policy) if not result.passed} == {}


@pytest.mark.parametrize(("name", "rule"), list(cases()))
def test_every_rule_is_needed(name: str, rule: str):
    """Without any one rule a test of its policy fails."""
    document = yaml.safe_load(POLICIES[name].text)
    document["rules"] = [entry for entry in document["rules"] if entry["id"] != rule]
    mutant = load(yaml.safe_dump(document, sort_keys=False))
    assert not all(result.passed for result in selftest.run(mutant)), f"no test of {name} misses {rule}"


@pytest.mark.parametrize("name", DATABASES)
def test_housekeeping_is_the_named_list(name: str):
    """The list in each policy is exactly the reader's list of what drivers do by themselves: no more is allowed."""
    (rule,) = [rule for rule in POLICIES[name].rules if rule.id == HOUSEKEEPING_RULE]
    listed = set(yaml.safe_load(rule.condition.text.split("e.object in ", 1)[1].strip().removesuffix("))")))
    assert listed == HOUSEKEEPING


def refusals(policy: Policy, statements: list[str]) -> dict[str, str]:
    """The statements that `policy` does not simply allow, with the reason."""
    reader, session = reader_for("postgres"), Session("s", Agent("bot"), Resource("db", "postgres"), 0)
    found: dict[str, str] = {}
    for text in statements:
        operation = reader.declare(Operation("o", "postgres", text, size=len(text)), TABLES)
        verdict = judge(operation, session, policy, 0).verdict
        if verdict.decision.value != "allow":
            found[text] = f"{verdict.decision} by {verdict.rules}: {verdict.reason} {operation.facts.effects}"
    return found


def psql(server: Postgres, database: str) -> None:
    commands = r"\d \d+ \dt \d orders \d+ orders \d big \dn \dT \df \du \l \di \dv \x".replace(" \\", "\n\\")
    subprocess.run(
        ["psql", "--no-psqlrc", "--quiet", server.url(database)],
        input=commands,
        text=True,
        check=True,
        capture_output=True,
        timeout=60,
    )


def with_psycopg(server: Postgres, database: str) -> None:
    with psycopg.connect(server.url(database)) as connection:
        connection.execute("SELECT %s::int", (1,))
        TypeInfo.fetch(connection, "mood")
        with connection.transaction():
            connection.execute("SELECT id FROM orders", prepare=True)
        connection.rollback()
        connection.read_only = True
        connection.execute("SELECT 1")


async def with_asyncpg(server: Postgres, database: str) -> None:
    pool = await asyncpg.create_pool(server.url(database), min_size=1, max_size=1, timeout=30)
    for _ in range(2):
        async with pool.acquire() as connection, connection.transaction():
            await connection.fetch("SELECT id, 'a'::mood, ARRAY['a'::mood] FROM orders")
    await pool.close()


def pgbench(server: Postgres, database: str, protocol: str) -> None:
    options = ["-S", "-n", "-t", "2", "-M", protocol]
    subprocess.run(["pgbench", *options, server.url(database)], check=True, capture_output=True, timeout=60)


def ran(server: Postgres, database: str, act: Callable[[], None]) -> list[str]:
    """What the server itself says was executed on `database` while `act` ran."""
    before = len(server.journal(database))
    act()
    return [entry.text for entry in server.journal(database)[before:] if entry.kind != "error"]


def refused_anywhere(statements: list[str]) -> dict[str, dict[str, str]]:
    """What any shipped policy refuses of these statements, by policy."""
    return {name: found for name in DATABASES if (found := refusals(POLICIES[name], statements))}


@pytest.mark.parametrize("client", [psql, with_psycopg])
def test_clients_work_under_every_policy(client: Callable[[Postgres, str], None], postgres: Postgres, database: str):
    """Everything that psql's backslash commands and psycopg really send is allowed."""
    postgres.run(SCHEMA, database)
    statements = ran(postgres, database, lambda: client(postgres, database))
    assert len(statements) > 3
    assert refused_anywhere(statements) == {}


async def test_asyncpg_works_under_every_policy(postgres: Postgres, database: str):
    """asyncpg's introspection of types, its pool's reset and its transactions are allowed."""
    postgres.run(SCHEMA, database)
    before = len(postgres.journal(database))
    await with_asyncpg(postgres, database)
    statements = [entry.text for entry in postgres.journal(database)[before:]]
    assert any("RESET ALL" in text for text in statements)
    assert any("pg_catalog.pg_type" in text for text in statements)
    assert refused_anywhere(statements) == {}


def test_pgbench_reads_under_every_policy(postgres: Postgres, database: str):
    """pgbench's read-only run is allowed in each of the protocol's three forms."""
    subprocess.run(
        ["pgbench", "-i", "-q", "-s", "1", postgres.url(database)], check=True, capture_output=True, timeout=60
    )
    for protocol in ("simple", "extended", "prepared"):
        statements = ran(postgres, database, lambda form=protocol: pgbench(postgres, database, form))
        assert len(statements) > 2
        assert refused_anywhere(statements) == {}
