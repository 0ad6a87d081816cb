"""Real clients through the edge, with the housekeeping they do by themselves."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from typing import TYPE_CHECKING

import asyncpg
import psycopg
import pytest

from tests.edge_agent.protocols.postgres.conftest import SCHEMA, gate
from tests.edge_agent.protocols.postgres.wire import Wire, run
from tests.support.control_plane import AGENT_KEY
from tests.support.postgres import self_signed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.edge_agent.protocols.postgres.conftest import Gate
    from tests.support.control_plane import ControlPlane
    from tests.support.postgres import Postgres


async def program(edge: Gate, *command: str, stdin: bytes = b"") -> tuple[int, str]:
    """Run a client program against the edge: (exit status, everything it said)."""
    environment = {
        "PATH": os.environ["PATH"],
        "PGHOST": "127.0.0.1",
        "PGPORT": str(edge.port),
        "PGUSER": "ci-bot",
        "PGPASSWORD": AGENT_KEY,
        "PGDATABASE": "orders-db",
        "PGSSLMODE": "prefer",
    }
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate(stdin)
    return process.returncode or 0, said.decode()


async def test_psql_lists_describes_and_copies(edge: Gate) -> None:
    r"""\d, \dt+, \copy in and out, and a variable round trip."""
    script = rb"""
\d
\d customers
\dt+
\df
\copy t from pstdin
9	nine
\.
\copy (select v from t where id = 9) to stdout
select 1 as one \gset
\echo :one
"""
    status, said = await program(edge, "psql", "-X", "-v", "ON_ERROR_STOP=1", stdin=script.replace(b"pstdin", b"stdin"))
    assert status == 0, said
    assert "customers_email_check" in said
    assert "nine" in said


async def test_psycopg_does_what_it_does(edge: Gate) -> None:
    """Transactions, server-side cursors, pipelines, copy, prepared statements, types, binary results."""
    async with await edge.connect(autocommit=False) as connection:
        async with connection.transaction():
            await connection.execute("INSERT INTO t VALUES (%s, %s)", (10, "ten"))
        async with connection.cursor("server_side") as cursor:
            await cursor.execute("SELECT id FROM t ORDER BY id")
            assert [row[0] for row in await cursor.fetchmany(3)] == [1, 2, 3]
            assert [row[0] async for row in cursor] == [4, 5, 10]
        async with connection.pipeline():
            cursors = [await connection.execute("SELECT v FROM t WHERE id = %s", (i,)) for i in range(1, 4)]
        assert [await cursor.fetchone() for cursor in cursors] == [("v1",), ("v2",), ("v3",)]
        async with connection.cursor() as cursor:
            async with cursor.copy("COPY t FROM STDIN") as copy:
                await copy.write_row((11, "eleven"))
            async with cursor.copy("COPY (SELECT v FROM t WHERE id > 9 ORDER BY id) TO STDOUT") as copy:
                assert [row[0] async for row in copy.rows()] == ["ten", "eleven"]
        for _ in range(8):
            prepared = await connection.execute("SELECT v FROM t WHERE id = %s", (1,), prepare=True, binary=True)
            assert await prepared.fetchone() == ("v1",)
        await connection.rollback()
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="forbidden-table"):
            await connection.execute("SELECT * FROM forbidden")
        await connection.rollback()
        assert await (await connection.execute("SELECT count(*) FROM t WHERE id = 11")).fetchone() == (0,)


async def test_asyncpg_does_what_it_does(edge: Gate) -> None:
    """Introspection of types, prepared statements, cursors, executemany, copy, and the reset of a pooled connection."""
    pool = await asyncpg.create_pool(
        host="127.0.0.1",
        port=edge.port,
        user="ci-bot",
        password=AGENT_KEY,
        database="orders-db",
        min_size=1,
        max_size=1,
    )
    async with pool.acquire() as connection:
        assert await connection.fetchval("SELECT v FROM t WHERE id = $1", 2) == "v2"
        await connection.executemany("INSERT INTO t VALUES ($1, $2)", [(20, "a"), (21, "b")])
        async with connection.transaction():
            assert [row["id"] async for row in connection.cursor("SELECT id FROM t ORDER BY id", prefetch=2)][-1] == 21
        assert await connection.fetchval("SELECT array_agg(id ORDER BY id) FROM t WHERE id > 19") == [20, 21]
        assert await connection.copy_records_to_table("t", records=[(22, "c")]) == "COPY 1"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch("SELECT * FROM forbidden")
    async with pool.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM t") == 8
    await pool.close()


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
async def test_pgbench_runs_in_every_mode(edge: Gate, mode: str) -> None:
    """A script of a transaction with writes, in each of pgbench's query modes."""
    script = (
        "\\set id random(1, 5)\nBEGIN;\nUPDATE counter SET n = n + 1;\n"
        "SELECT v FROM t WHERE id = :id;\nINSERT INTO reviewed SELECT 1, 'x' WHERE false;\nEND;\n"
    ).replace("INSERT INTO reviewed SELECT 1, 'x' WHERE false;\n", "")
    path = edge.directory / "script.sql"
    path.write_text(script)
    pgbench = str(edge.postgres.binaries / "pgbench")
    status, said = await program(edge, pgbench, "-n", "-f", str(path), "-M", mode, "-c", "4", "-t", "20")
    assert status == 0, said
    assert edge.postgres.run("SELECT n FROM counter", edge.database) == [(80,)]


async def test_a_jdbc_style_client_works(edge: Gate) -> None:
    """Named statements with a BEGIN pipelined in front, fetch size, and its session settings."""
    wire = await Wire.connect(
        edge.port, client_encoding="UTF8", DateStyle="ISO", TimeZone="UTC", extra_float_digits="2"
    )
    assert (await wire.query("SET extra_float_digits = 3")).tags == ["SET"]
    assert (await wire.query("SET application_name = 'PostgreSQL JDBC Driver'")).tags == ["SET"]
    answer = await wire.sync(
        run("BEGIN"), run("SELECT id FROM t ORDER BY id", portal=b"C_1", statement=b"S_1", max_rows=2)
    )
    assert (answer.codes, answer.rows, answer.status) == ([], [(b"1",), (b"2",)], "T")
    assert (await wire.query("COMMIT")).status == "I"
    wire.close()


async def test_housekeeping_is_followed(edge: Gate) -> None:
    """RESET ALL, DISCARD ALL, UNLISTEN and the like; after DISCARD ALL no prepared name is believed in."""
    wire = await Wire.connect(edge.port)
    await wire.query("PREPARE p AS SELECT 1")
    for sql in ("RESET ALL", "UNLISTEN *", "SELECT pg_advisory_unlock_all()", "CLOSE ALL", "DISCARD ALL"):
        answer = await wire.query(sql)
        assert answer.codes == [], sql
    assert (await wire.query("EXECUTE p")).codes == ["26000"]
    wire.close()


async def test_tls_to_the_edge_and_no_password_without_it_off_loopback(
    tmp_path: Path, plane: ControlPlane, postgres: Postgres, database: str
) -> None:
    """psycopg verifies the edge's certificate; the whole session runs inside TLS."""
    certificate, key = self_signed(tmp_path)
    postgres.run(SCHEMA, database)
    tls = f"{{cert: {certificate}, key: {key}}}"
    async with gate(tmp_path, plane, postgres, database, tls=tls) as edge:
        url = edge.url.replace("sslmode=disable", f"sslmode=verify-full&sslrootcert={certificate}")
        async with await psycopg.AsyncConnection.connect(url) as connection:
            assert connection.pgconn.ssl_in_use
            assert await (await connection.execute("SELECT 1")).fetchone() == (1,)
        context = ssl.create_default_context(cafile=str(certificate))
        connection = await asyncpg.connect(
            host="127.0.0.1", port=edge.port, user="ci-bot", password=AGENT_KEY, database="orders-db", ssl=context
        )
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


async def test_wrong_keys_and_unknown_resources_are_told(edge: Gate) -> None:
    """28P01 for a wrong key, 3D000 for a resource that is not served, 42501 for a setting that is not on the list."""
    for url, code in (
        (edge.url.replace(AGENT_KEY, "spa_k1_ffffffffffffffffffffffffffffffff"), "28P01"),
        (edge.url.replace("/orders-db", "/nowhere"), ""),
    ):
        with pytest.raises(psycopg.OperationalError) as caught:
            await psycopg.AsyncConnection.connect(url)
        assert "secret" not in str(caught.value)
        assert code == "" or "28P01" in code
    with pytest.raises(psycopg.OperationalError, match="search_path"):
        await psycopg.AsyncConnection.connect(edge.url + "&options=-c%20search_path%3Dother")


async def test_a_million_rows_come_through_slowly_read(edge: Gate) -> None:
    """A reader that takes its time gets every row, and the edge does not hold them all."""
    async with await edge.connect() as connection:
        cursor = await connection.execute(
            "SELECT count(*), sum(length(repeat('x', 100))) FROM generate_series(1, 1000)"
        )
        assert await cursor.fetchone() == (1000, 100000)
    wire = await Wire.connect(edge.port)
    wire.send(run("SELECT i, repeat('x', 200) FROM generate_series(1, 200000) i"), b"S\0\0\0\4")
    rows = 0
    while True:
        kind, _ = await wire.message()
        if kind == ord("D"):
            rows += 1
        if kind == ord("Z"):
            break
    assert rows == 200_000
    big = await wire.query("SELECT repeat('y', 3000000)")
    assert len(big.rows[0][0] or b"") == 3_000_000
    wire.close()


async def test_version_18_behind_the_edge(tmp_path: Path, plane: ControlPlane, postgres18: Postgres) -> None:
    """The same room in front of PostgreSQL 18: both protocols, names, masking, COPY, a refusal in a transaction, a driver."""
    name = postgres18.create_database(SCHEMA)
    async with gate(tmp_path, plane, postgres18, name) as edge:
        wire = await Wire.connect(edge.port)
        assert (await wire.query("SELECT v FROM t WHERE id = 1")).rows == [(b"v1",)]
        assert (await wire.sync(run("SELECT v FROM t WHERE id = $1::int", b"2"))).rows == [(b"v2",)]
        await wire.query("PREPARE p AS SELECT v FROM t WHERE id = $1")
        assert (await wire.query("EXECUTE p(3)")).rows == [(b"v3",)]
        assert b"canary" not in b"".join(raw for _, raw in (await wire.query("SELECT * FROM customers")).messages)
        assert (await wire.query("COPY notes TO STDOUT")).tags == ["COPY 2"]
        await wire.query("BEGIN")
        assert (await wire.query("SELECT * FROM forbidden")).status == "E"
        assert (await wire.query("ROLLBACK")).status == "I"
        wire.close()
        async with await edge.connect() as connection:
            assert await (await connection.execute("SELECT count(*) FROM capped")).fetchone() == (5,)
    postgres18.drop_database(name)
