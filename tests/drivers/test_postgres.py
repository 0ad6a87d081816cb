"""Real clients under every shipped policy: what a tool or a driver does by itself must work before its user has said a word.

Each client runs once directly and once through the whole product, on the same database, and must see the same.
"""

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, LiteralString, NamedTuple, cast

import asyncpg
import psycopg
import pytest
from psycopg.types import TypeInfo

from sallyport.local_postgres import Postgres
from tests.support.guarded import Behind, Guarded, guarded

LABELS = {"pii": {"data": "pii"}, "production-guard": {"env": "prod"}, "read-only": dict[str, str]()}
POLICIES = [
    path for path in sorted(Path("examples/policies").glob("*.yaml")) if "protocol: postgres" in path.read_text()
]
LIMIT = 90.0  # seconds for one client program

SCHEMA = r"""
CREATE TABLE orders (id int PRIMARY KEY, item text NOT NULL DEFAULT 'bolt', total numeric(9, 2) CHECK (total >= 0), placed timestamptz);
CREATE INDEX orders_item ON orders (lower(item));
INSERT INTO orders SELECT i, 'item' || i, i, '2026-01-01' FROM generate_series(1, 20) i;
COMMENT ON TABLE orders IS 'what was ordered';
CREATE TYPE mood AS ENUM ('calm', 'cross');
CREATE TYPE place AS (street text, number int);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE moods (id int, mood mood, places place[], grade positive);
INSERT INTO moods VALUES (1, 'calm', ARRAY[ROW('Main', 1)::place], 3);
CREATE VIEW dear AS SELECT id, total FROM orders WHERE total > 10;
CREATE MATERIALIZED VIEW kept AS SELECT id FROM orders;
CREATE TABLE parts (id int, region text) PARTITION BY LIST (region);
CREATE TABLE parts_north PARTITION OF parts FOR VALUES IN ('north');
CREATE FUNCTION total_of(int) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT total FROM orders WHERE id = $1';
CREATE SEQUENCE ticket;
"""

PSQL = (
    r"\d", r"\d+", r"\d orders", r"\d+ orders", r"\d dear", r"\d+ dear", r"\d moods", r"\d parts", r"\d+ parts_north", r"\d kept",
    r"\d orders_pkey", r"\d ticket", r"\d mood", r"\d place", r"\dt", r"\dt+", r"\dt *.*orders", r"\df", r"\df+ total_of", r"\dn", r"\dn+",
    r"\l", r"\l+", r"\du", r"\du+", r"\dg", r"\dv", r"\dv+", r"\di", r"\di+", r"\dT", r"\dT+", r"\sf total_of", r"\sv dear",
    r"\ef total_of", r"\dm", r"\dP", r"\ds", r"\dD", r"\dp", r"\z orders", r"\ddp", r"\drds", r"\dx", r"\dE", r"\db", r"\dd", r"\dy",
    r"\dRp", r"\dRs", r"\des", r"\dew", r"\det", r"\deu", r"\dF", r"\dO", r"\dX", r"\dc pg_catalog.utf8_to_koi8_r", r"\dL", r"\dAc btree int4",
    r"\dconfig work_mem", r"\encoding", r"\lo_list", "SELECT 1 AS one \\gset", r"\echo :one",
    "SELECT id, total FROM orders ORDER BY id LIMIT 3 \\gdesc",
    "SELECT item FROM orders WHERE id = 3;", "SELECT id, mood FROM moods \\crosstabview id mood id",
)  # fmt: skip

STARTUPS = {
    "jdbc": (
        "SET extra_float_digits = 3", "SET application_name = 'PostgreSQL JDBC Driver'", "SELECT current_schema()",
        "SHOW TRANSACTION ISOLATION LEVEL",
        "SELECT version()", "SELECT current_setting('server_version_num')", "SET statement_timeout = 0", "BEGIN", "SELECT 1", "COMMIT", "",
        "SELECT t.typname,t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON t.typnamespace = n.oid WHERE n.nspname  != 'pg_toast'"
        " AND (t.typrelid = 0 OR (SELECT c.relkind = 'c' FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid)) AND t.typname = 'mood'",
        "SELECT NULL AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME, d.description AS REMARKS FROM pg_catalog.pg_namespace n,"
        " pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_description d ON (c.oid = d.objoid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass)"
        " WHERE c.relnamespace = n.oid AND c.relname LIKE 'orders' AND c.relkind IN ('r','p') ORDER BY TABLE_SCHEM, TABLE_NAME",
        "SELECT result.TABLE_SCHEM, result.COLUMN_NAME, result.KEY_SEQ FROM (SELECT n.nspname AS TABLE_SCHEM, a.attname AS COLUMN_NAME,"
        " (information_schema._pg_expandarray(i.indkey)).n AS KEY_SEQ, information_schema._pg_expandarray(i.indkey) AS KEYS, a.attnum AS A_ATTNUM"
        " FROM pg_catalog.pg_class ct JOIN pg_catalog.pg_attribute a ON (ct.oid = a.attrelid)"
        " JOIN pg_catalog.pg_namespace n ON (ct.relnamespace = n.oid)"
        " JOIN pg_catalog.pg_index i ON (a.attrelid = i.indrelid) WHERE true AND ct.relname = 'orders' AND i.indisprimary) result"
        " WHERE result.A_ATTNUM = (result.KEYS).x ORDER BY 1, 2, 3",
    ),
    "sqlalchemy": (
        "BEGIN", "select pg_catalog.version()", "select current_schema()", "show standard_conforming_strings", "SHOW default_transaction_isolation",
        "ROLLBACK", "SELECT CAST('test plain returns' AS VARCHAR(60)) AS anon_1", "show transaction isolation level",
        "SELECT pg_catalog.pg_class.relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_catalog.pg_namespace.oid ="
        " pg_catalog.pg_class.relnamespace WHERE pg_catalog.pg_class.relname = 'orders' AND pg_catalog.pg_class.relkind = ANY (ARRAY['r', 'p', 'f',"
        " 'v', 'm']) AND pg_catalog.pg_table_is_visible(pg_catalog.pg_class.oid) AND pg_catalog.pg_namespace.nspname != 'pg_catalog'",
        "SELECT pg_catalog.pg_attribute.attname AS name, pg_catalog.format_type(pg_catalog.pg_attribute.atttypid, pg_catalog.pg_attribute.atttypmod)"
        " AS format_type, (SELECT pg_catalog.pg_get_expr(pg_catalog.pg_attrdef.adbin, pg_catalog.pg_attrdef.adrelid) AS pg_get_expr_1 FROM"
        " pg_catalog.pg_attrdef WHERE pg_catalog.pg_attrdef.adrelid = pg_catalog.pg_attribute.attrelid AND pg_catalog.pg_attrdef.adnum ="
        " pg_catalog.pg_attribute.attnum AND pg_catalog.pg_attribute.atthasdef) AS \"default\", pg_catalog.pg_attribute.attnotnull AS not_null"
        " FROM pg_catalog.pg_class LEFT OUTER JOIN pg_catalog.pg_attribute ON pg_catalog.pg_class.oid = pg_catalog.pg_attribute.attrelid AND"
        " pg_catalog.pg_attribute.attnum > 0 AND NOT pg_catalog.pg_attribute.attisdropped WHERE pg_catalog.pg_class.relname = 'orders'"
        " ORDER BY pg_catalog.pg_class.relname, pg_catalog.pg_attribute.attnum",
        "SELECT t.typname, e.enumlabel FROM pg_catalog.pg_type t JOIN pg_catalog.pg_enum e ON e.enumtypid = t.oid ORDER BY e.enumsortorder",
    ),
    "npgsql": (
        "SELECT version()", "DISCARD TEMP", "DISCARD SEQUENCES", "UNLISTEN *", "SELECT pg_advisory_unlock_all()", "RESET ALL", "CLOSE ALL",
        "DISCARD PLANS",
        "SELECT ns.nspname, t.oid, t.typname, t.typtype, t.typnotnull, t.elemtypoid FROM (SELECT typ.oid, typ.typnamespace, typ.typname, typ.typtype,"
        " typ.typrelid, typ.typnotnull, typ.relkind, elemtyp.oid AS elemtypoid"
        " FROM (SELECT typ.oid, typnamespace, typname, typrelid, typtype, typelem,"
        " typnotnull, relkind FROM pg_type AS typ LEFT JOIN pg_class AS cls ON (cls.oid = typ.typrelid)) AS typ LEFT JOIN pg_type AS elemtyp ON"
        " elemtyp.oid = typ.typelem) AS t JOIN pg_namespace AS ns ON (ns.oid = typnamespace) WHERE typtype IN ('e', 'd') ORDER BY 2",
    ),
    "libpq and poolers": (
        "SET DateStyle = 'ISO'", "SET IntervalStyle = 'iso_8601'", "SET TimeZone = 'UTC'", "SET client_min_messages TO warning",
        "SET idle_in_transaction_session_timeout = 60000", "SET lock_timeout = 5000", "SHOW server_version", "DISCARD ALL",
        "DEALLOCATE ALL", "SELECT set_config('jit', 'off', false)",
        "BEGIN READ ONLY", "SELECT 1", "ROLLBACK", "START TRANSACTION ISOLATION LEVEL REPEATABLE READ", "SAVEPOINT a",
        "RELEASE SAVEPOINT a", "COMMIT",
        "SELECT pg_is_in_recovery()", ";",
    ),
}  # fmt: skip
"""What drivers and tools send by themselves when they connect, look round, or give a connection back to a pool."""


class Under(NamedTuple):
    """One policy in force, and the way round it."""

    policy: str
    edge: Guarded
    direct: dict[str, str]

    def sides(self) -> tuple[dict[str, str], dict[str, str]]:
        """Connection parameters: directly, and through the edge."""
        return self.direct, self.edge.parameters("shop")


@pytest.fixture(scope="module")
def shop(postgres: Postgres) -> Iterator[str]:
    """The database, with pgbench's tables."""
    name = postgres.create_database(SCHEMA)
    subprocess.run(
        ["pgbench", "-i", "-q", "-s", "1", postgres.url(name)], check=True, capture_output=True, timeout=LIMIT
    )
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="module", params=POLICIES, ids=lambda path: path.stem)
def under(
    request: pytest.FixtureRequest, postgres: Postgres, shop: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Under]:
    """The whole product under one shipped policy."""
    path: Path = request.param
    direct = {"host": postgres.host, "port": str(postgres.port), "user": "postgres", "password": postgres.password}
    direct |= {"dbname": shop, "sslmode": "disable"}
    resources = {"shop": Behind(shop, LABELS[path.stem])}
    with guarded(tmp_path_factory.mktemp(path.stem), postgres, path.read_text(), resources) as edge:
        yield Under(path.stem, edge, direct)


def program(parameters: dict[str, str], *command: str, text: str = "") -> str:
    """Run a client program: everything it said. It must succeed."""
    names = {
        "host": "HOST",
        "port": "PORT",
        "user": "USER",
        "password": "PASSWORD",
        "dbname": "DATABASE",
        "sslmode": "SSLMODE",
    }
    environment = {f"PG{names[key]}": value for key, value in parameters.items()}
    done = subprocess.run(
        command, input=text, env={**os.environ, **environment, "LC_ALL": "C", "EDITOR": "true"}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_every_shipped_policy_is_tried() -> None:
    """A new policy needs its labels here."""
    assert {path.stem for path in POLICIES} == set(LABELS)


def test_psql_looks_round(under: Under) -> None:
    r"""The \d family, \sf, \gset, \gdesc, \crosstabview: the same output, line by line, and no error."""
    script = "\n".join(f"\\qecho >>> {number}\n{command}" for number, command in enumerate(PSQL))
    expected, seen = (program(side, "psql", "-X", "-P", "pager=off", "-f", "-", text=script) for side in under.sides())
    assert "what was ordered" in expected
    assert "CREATE OR REPLACE FUNCTION public.total_of" in expected
    assert "ERROR" not in expected
    parts = zip(seen.split(">>> "), expected.split(">>> "), strict=True)
    assert [(one, other) for one, other in parts if one != other] == []


@pytest.mark.parametrize("form", ["simple", "extended", "prepared"])
def test_pgbench_selects(under: Under, form: str) -> None:
    """Fifty transactions without a failure."""
    said = program(under.edge.parameters("shop"), "pgbench", "-S", "-n", "-c", "1", "-t", "50", "-M", form)
    assert "number of transactions actually processed: 50/50" in said
    assert "number of failed transactions: 0 " in said


@pytest.mark.parametrize("driver", STARTUPS)
@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
def test_a_driver_starts_up(under: Under, driver: str, extended: bool) -> None:
    """What it sends by itself is answered as the server answers it."""

    def answers(parameters: dict[str, str]) -> list[Any]:
        told: list[Any] = []
        with psycopg.connect(**parameters, autocommit=True) as connection:  # type: ignore[arg-type]
            for text in STARTUPS[driver]:
                cursor = connection.execute(cast("LiteralString", text), () if extended else None)
                told.append((text, cursor.statusmessage, cursor.fetchall() if cursor.description else None))
        return told

    expected, seen = (answers(side) for side in under.sides())
    assert seen == expected


def psycopg_session(parameters: dict[str, str]) -> list[Any]:
    """Transactions, savepoints, types, prepared statements, binary results, a server-side cursor, a pipeline, a pool's reset."""
    told: list[Any] = []
    with psycopg.connect(**parameters) as connection:  # type: ignore[arg-type]
        told.append(connection.execute("SELECT %s::int, %s::text", (1, "x")).fetchall())
        info = TypeInfo.fetch(connection, "mood")
        told.append(info is not None and info.name)
        connection.commit()
        with connection.transaction():
            told.append(connection.execute("SELECT id, total FROM orders ORDER BY id LIMIT 3", prepare=True).fetchall())
            with connection.transaction():
                told.append(
                    connection.execute("SELECT count(*) FROM orders WHERE id > %s", (3,), binary=True).fetchall()
                )
        told += [connection.execute("SELECT item FROM orders WHERE id = %s", (4,)).fetchall() for _ in range(8)]
        connection.rollback()
        connection.read_only = True
        told.append(connection.execute("SELECT mood FROM moods").fetchall())
        connection.rollback()
        with connection.cursor("walk") as cursor:
            cursor.execute("SELECT id FROM dear ORDER BY id")
            told += [cursor.fetchmany(3), cursor.fetchone(), cursor.fetchall()]
        connection.rollback()
        connection.read_only = None
        connection.autocommit = True
        with connection.pipeline():
            cursors = [connection.execute("SELECT item FROM orders WHERE id = %s", (i,)) for i in range(1, 4)]
        told.append([cursor.fetchall() for cursor in cursors])

        # What pools for psycopg do with a connection that comes back, and before they hand it out.
        for reset in ("", "SELECT 1", "RESET ALL", "DISCARD ALL"):
            told.append(connection.execute(cast("LiteralString", reset)).statusmessage)
            told.append(connection.execute("SELECT count(*) FROM orders").fetchall())
    return told


async def _asyncpg_session(parameters: dict[str, str]) -> list[Any]:
    told: list[Any] = []
    pool = await asyncpg.create_pool(
        host=parameters["host"], port=int(parameters["port"]), user=parameters["user"], password=parameters["password"],
        database=parameters["dbname"], ssl=False, min_size=1, max_size=2, timeout=15, command_timeout=15,
    )  # fmt: skip
    async with pool:
        for _ in range(2):
            async with pool.acquire() as connection:
                told.append(repr(await connection.fetch("SELECT id, mood, grade FROM moods")))
                told.append(await connection.fetchval("SELECT places FROM moods WHERE id = $1", 1))
                statement = await connection.prepare("SELECT item FROM orders WHERE id = $1")
                told += [await statement.fetchval(number) for number in (1, 2)]
                told.append([attribute.name for attribute in statement.get_attributes()])
                async with connection.transaction(readonly=True):
                    cursor = await connection.cursor("SELECT id FROM orders ORDER BY id")
                    told.append([row["id"] for row in await cursor.fetch(100)])
                async with connection.transaction(), connection.transaction():
                    told.append(await connection.fetchval("SELECT count(*) FROM dear"))
                await connection.reload_schema_state()
    return told


def asyncpg_session(parameters: dict[str, str]) -> list[Any]:
    """Introspection of types, prepared statements, a cursor in a transaction, a pool that resets."""
    return asyncio.run(_asyncpg_session(parameters))


@pytest.mark.parametrize("session", [psycopg_session, asyncpg_session])
def test_a_driver_works(under: Under, session: Callable[[dict[str, str]], list[Any]]) -> None:
    """It gets the same as from the server itself."""
    expected, seen = (session(side) for side in under.sides())
    if under.policy == "pii":
        # Its detectors cannot look into an array of composites: that value is withheld whole.
        expected = [None if value == [("Main", 1)] else value for value in expected]
    assert seen == expected
