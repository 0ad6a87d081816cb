"""Through the gateway everything is as without it: results, types, errors and notices, for real clients.

One corpus of statements runs in order in one session directly and in one through the edge, on twin databases: under an
allow-all policy, and under one that masks other columns and records everything. Whatever a client can see must be equal.
"""

import asyncio
import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, LiteralString, cast

import asyncpg
import psycopg
import pytest

from sallyport.local_postgres import Postgres
from sallyport.stack import Stack

HERE = Path(__file__).parent
CORPUS = [line for line in (HERE / "corpus.sql").read_text().splitlines() if line and not line.startswith("--")]
AGENT = "equal-bot"
POLICIES = ("plain", "masked")
FIRST_USER_OID = 16384
"""Oids below are the server's own and equal everywhere; those above differ between twin databases."""

POLICY = """
version: 1
default: deny
rules:
- {id: everything, when: 'true', then: allow}
- id: hide-tokens
  when: resource.labels[?"data"].orValue("") == "pii"
  then: mask
  mask:
  - {columns: ["secrets.token"], with: redact, filter: allow}
  - {detect: [credit_card, iban], with: redact}
- {id: record, when: 'resource.labels[?"data"].orValue("") == "pii"', then: record, record: {responses: full}}
"""


def test_the_corpus_is_large_enough() -> None:
    """At least 300 statements."""
    assert len(CORPUS) >= 300


class Twins:
    """For each policy a resource behind the edge; `pair()` makes twin databases and yields where each is reached."""

    def __init__(self, postgres: Postgres, edge: str, key: str) -> None:
        self._postgres = postgres
        self._host, _, self._port = edge.rpartition(":")
        self._key = key

    @contextlib.contextmanager
    def pair(self, policy: str) -> Generator[tuple[dict[str, str], dict[str, str]]]:
        """Connection parameters (libpq names): directly, and through the edge."""
        postgres = self._postgres
        twins = [postgres.create_database((HERE / "schema.sql").read_text())]
        twins.append(postgres.create_database(template=twins[0]))  # a copy has the same oids
        try:
            direct = {"host": postgres.host, "port": str(postgres.port), "user": postgres.superuser}
            direct |= {"password": postgres.password, "dbname": twins[0], "sslmode": "disable"}
            edge = {"host": self._host, "port": self._port, "user": AGENT, "password": self._key}
            edge |= {"dbname": f"{policy}/{twins[1]}", "sslmode": "disable"}
            yield direct, edge
        finally:
            for name in twins:
                postgres.drop_database(name)


@pytest.fixture(scope="module")
def twins(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    """One stack with a resource for each policy."""
    home = tmp_path_factory.mktemp("equality")
    with Stack(home) as stack:
        url = stack.start_control_plane()
        stack.push_policy(POLICY)
        key = stack.add_agent(AGENT)
        labels: dict[str, dict[str, str]] = {"plain": {}, "masked": {"data": "pii"}}
        stack.register_edge([{"name": name, "protocol": "postgres", "labels": labels[name]} for name in POLICIES])
        upstream = f"postgresql://{postgres.superuser}@{postgres.host}:{postgres.port}/postgres?sslmode=disable"
        entries = "".join(
            f"- {{name: {name}, protocol: postgres, upstream: '{upstream}', credential: env://TWIN_PASSWORD}}\n"
            for name in POLICIES
        )
        config = home / "edge.yaml"
        config.write_text(
            f"control_plane: {{url: {url}}}\ndata_dir: {home}/edge\n"
            f"listeners: {{postgres: 127.0.0.1:0}}\nresources:\n{entries}"
        )
        bound = stack.start_edge(config, TWIN_PASSWORD=postgres.password)
        yield Twins(postgres, bound["postgres"], key)


type Transcript = list[tuple[str, Any]]


def through_psycopg(parameters: dict[str, str], *, binary: bool) -> Transcript:
    """Extended protocol where a statement allows it; text or binary results."""
    told: Transcript = []
    notices: list[Any] = []
    with psycopg.connect(**parameters, autocommit=True, connect_timeout=15) as connection:  # type: ignore[arg-type]
        connection.add_notice_handler(lambda notice: notices.append((notice.severity, notice.message_primary)))
        for statement in CORPUS:
            cursor = connection.cursor(binary=binary)
            notices.clear()
            try:
                # An empty parameter tuple makes psycopg use the extended protocol.
                cursor.execute(cast("LiteralString", statement), () if "%" not in statement else None)
                told.append((statement, (_seen(cursor), notices.copy())))
            except psycopg.Error as error:
                told.append((statement, (_complaint(error), notices.copy())))
    return told


def _seen(cursor: psycopg.Cursor[Any]) -> Any:
    columns = None
    if cursor.description is not None:
        columns = [
            (column.name, column.type_code if column.type_code < FIRST_USER_OID else "user")
            for column in cursor.description
        ]
    rows = [tuple(map(repr, row)) for row in cursor.fetchall()] if columns is not None else None
    return cursor.statusmessage, columns, rows


def _complaint(error: psycopg.Error) -> Any:
    diag = error.diag
    return (
        diag.severity, error.sqlstate, diag.message_primary, diag.message_detail, diag.message_hint, diag.statement_position,
        diag.context, diag.table_name, diag.column_name, diag.constraint_name,
    )  # fmt: skip


def through_asyncpg(parameters: dict[str, str]) -> Transcript:
    """Prepared statements, binary results, and the driver's own look at the catalogue."""
    return asyncio.run(_asyncpg(parameters))


async def _asyncpg(parameters: dict[str, str]) -> Transcript:
    told: Transcript = []
    connection = await asyncpg.connect(
        host=parameters["host"],
        port=int(parameters["port"]),
        user=parameters["user"],
        password=parameters["password"],
        database=parameters["dbname"],
        ssl=False,
        timeout=15,
    )
    try:
        for statement in CORPUS:
            try:
                rows = await connection.fetch(statement)
                told.append((statement, [tuple((name, repr(value)) for name, value in row.items()) for row in rows]))
            except asyncpg.PostgresError as error:
                told.append((statement, (type(error).__name__, getattr(error, "sqlstate", ""), str(error))))
            except (asyncpg.InterfaceError, NotImplementedError, ValueError) as error:
                told.append((statement, (type(error).__name__, str(error))))
    finally:
        await connection.close(timeout=15)
    return told


def through_psql(parameters: dict[str, str]) -> Transcript:
    """The simple protocol and psql's own rendering."""
    environment = {**os.environ} | {
        f"PG{name}": value
        for name, value in zip(
            ("HOST", "PORT", "USER", "PASSWORD", "DATABASE", "SSLMODE"), parameters.values(), strict=True
        )
    }
    script = "\n".join(
        f"\\echo >>> {number}\n{statement}\n;"
        for number, statement in enumerate(CORPUS)
        if "unterminated" not in statement
    )
    done = subprocess.run(
        ["psql", "-X", "-v", "VERBOSITY=default", "-P", "pager=off", "-f", "-"],
        input=script, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
    )  # fmt: skip
    parts = re.sub(r"PID \d+", "PID", done.stdout).split(">>> ")
    return [(CORPUS[int(part.split("\n", 1)[0])], part) for part in parts[1:]]


CLIENTS: dict[str, Callable[[dict[str, str]], Transcript]] = {
    "psql": through_psql,
    "psycopg-text": lambda parameters: through_psycopg(parameters, binary=False),
    "psycopg-binary": lambda parameters: through_psycopg(parameters, binary=True),
    "asyncpg": through_asyncpg,
}


OPAQUE = ("add_one", "shout", "people_like", "two()", "DO $$", "bump", "nowhere")
"""Code of the database's users may read what is masked: under a masking policy its results and messages are withheld.

So are the messages about names that nobody knows, which may come to mean anything (docs/masking-sql.md).
"""
REDUCED = ("VALUES (999, 1)", "VALUES (1, -1)", "much too long", "TRUNCATE people")
"""A trigger of a user's stands on this table: what the server says of it is reduced to SQLSTATE and constraint."""
BLIND = ("::pair", "tsquery", "tsvector", "jsonpath", "circle", "regclass", "SELECT p FROM", "xml", "ROW(1,")
"""Binary values of types that no detector can read are withheld where a policy demands detection (docs/masking.md)."""


def compared(transcript: Transcript, policy: str, client: str) -> Transcript:
    """What must be equal: all of it, but for what a masking policy must withhold although no masked column is named."""
    if policy == "plain":
        return transcript
    withheld = OPAQUE + REDUCED + (BLIND if client in {"psycopg-binary", "asyncpg"} else ())
    return [told for told in transcript if not any(word in told[0] for word in withheld)]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_sees_the_same_with_and_without_the_gateway(twins: Twins, client: str, policy: str) -> None:
    """Statement by statement: rows, column names and types, command tags, errors with all their fields, notices."""
    with twins.pair(policy) as (direct, edge):
        expected, seen = CLIENTS[client](direct), CLIENTS[client](edge)
    expected, seen = (compared(transcript, policy, client) for transcript in (expected, seen))
    differences = [(one, other) for one, other in zip(expected, seen, strict=False) if one != other]
    assert not differences, "\n".join(f"{one}\n  but through the edge\n{other}\n" for one, other in differences[:12])
    assert len(expected) == len(seen)
