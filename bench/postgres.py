"""PostgreSQL through the gateway against a direct connection, with pgbouncer beside it.

Unique bind values, small results recorded in full; how the gateway runs is told in `gateway`.
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from pathlib import Path

from bench.ab import Measure, Row, rates, row
from bench.gateway import AGENT, HERE, gateway, installed
from bench.wire import Reader
from sallyport.local_postgres import (
    Postgres,
    account,
    distribution_binaries,
    packaged_binaries,
    running_postgres,
)
from sallyport.ports import unused_port

SCALE = 1  # pgbench's: 100,000 accounts
BIG = 1_000_000  # rows of the bulk read
GOALS = {"pg_prepared_c8": 0.55, "pg_simple_c1": 0.45, "pg_rows_1m": 0.9, "pg_rows_1m_masked": 0.3}
PLAIN, MASKED = "plain", "masked"
BULK = "SELECT id, email, city FROM people"


def run(rounds: int, seconds: int) -> list[Row]:
    """Measure everything; the rows of the result, the gateway's first."""
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(running_postgres())
        database = _prepare(postgres)
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=HERE)))
        key, edge = stack.enter_context(_gateway(home, postgres, database))
        pooler = stack.enter_context(_pgbouncer(postgres, database))
        targets = {
            "direct": _target(postgres.port, "trusted_role", "", database),
            "edge": _target(edge, AGENT, key, PLAIN),
            "edge masked": _target(edge, AGENT, key, MASKED),
        }
        if pooler:
            targets["pgbouncer"] = _target(pooler, "trusted_role", "", database)
        return [*_transactions(targets, rounds, seconds), *_bulk(targets, rounds)]


type Target = dict[str, str]


def _target(port: int, user: str, password: str, database: str) -> Target:
    return {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": user, "PGPASSWORD": password, "PGDATABASE": database}


def _transactions(targets: dict[str, Target], rounds: int, seconds: int) -> list[Row]:
    rows: list[Row] = []
    names = [name for name in targets if name != "edge masked"]
    for title, mode, clients in (("pg_prepared_c8", "prepared", 8), ("pg_simple_c1", "simple", 1)):
        found = rates({name: _pgbench(targets[name], mode, clients, seconds) for name in names}, rounds)
        rows.append(row(title, GOALS[title], found["edge"], found["direct"]))
        if "pgbouncer" in found:
            rows.append(row(f"{title}_pgbouncer", 0, found["pgbouncer"], found["direct"]))
    return rows


def _pgbench(target: Target, mode: str, clients: int, seconds: int) -> Measure:
    binary = shutil.which("pgbench") or str((distribution_binaries() or packaged_binaries()) / "pgbench")
    command = [binary, "-S", "-n", "-M", mode, "-c", str(clients), "-j", "1", "-T", str(seconds), "-s", str(SCALE)]
    environment = {**os.environ, **target, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}

    def measure() -> float:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=seconds + 60, check=False
        )
        tps = re.search(r"tps = ([\d.]+)", done.stdout)
        if done.returncode or not tps:
            raise RuntimeError(f"pgbench against port {target['PGPORT']}: {done.stderr.strip()[-500:]}")
        return float(tps[1])

    return measure


def _bulk(targets: dict[str, Target], rounds: int) -> list[Row]:
    found = rates({name: _read_all(target) for name, target in targets.items()}, rounds)
    rows = [
        row("pg_rows_1m", GOALS["pg_rows_1m"], found["edge"], found["direct"]),
        row("pg_rows_1m_masked", GOALS["pg_rows_1m_masked"], found["edge masked"], found["direct"]),
    ]
    return rows + (
        [row("pg_rows_1m_pgbouncer", 0, found["pgbouncer"], found["direct"])] if "pgbouncer" in found else []
    )


def _read_all(target: Target) -> Measure:
    def measure() -> float:
        reader = Reader(
            target["PGHOST"], int(target["PGPORT"]), target["PGUSER"], target["PGPASSWORD"], target["PGDATABASE"]
        )
        _, seconds = reader.read_all(BULK)
        reader.close()
        return BIG / seconds

    return measure


def _prepare(postgres: Postgres) -> str:
    database = postgres.create_database(
        f"CREATE TABLE people AS SELECT n AS id, 'person' || n || '@example.com' AS email, 'city ' || n % 1000 AS city"
        f" FROM generate_series(1, {BIG}) AS n"
    )
    environment = {**os.environ, "PGPASSWORD": postgres.password, "PGHOST": postgres.host, "PGPORT": str(postgres.port)}
    command = [str(postgres.binaries / "pgbench"), "-i", "-q", "-s", str(SCALE), "-U", postgres.superuser, database]
    subprocess.run(command, env=environment, capture_output=True, check=True, timeout=120)
    postgres.run("GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC", database)
    postgres.run("VACUUM ANALYZE", database)
    return database


def _gateway(home: Path, postgres: Postgres, database: str) -> contextlib.AbstractContextManager[tuple[str, int]]:
    """The product; yields the agent's key and the edge's port."""
    resources = {PLAIN: {"env": "bench"}, MASKED: {"env": "bench", "data": "pii"}}
    upstream = f"'postgresql://trusted_role@{postgres.host}:{postgres.port}/{database}?sslmode=disable'"
    entries = [{"name": name, "upstream": upstream, "credential": "env://NO_PASSWORD"} for name in resources]
    return gateway(home, "postgres", resources, entries, NO_PASSWORD="unused")


@contextlib.contextmanager
def _pgbouncer(postgres: Postgres, database: str) -> Generator[int]:
    """A pgbouncer in session mode in front of the same database; yields its port, 0 if it cannot be had."""
    binary = installed("pgbouncer", "pgbouncer")
    if binary is None:
        print("pgbouncer is not installed and could not be: its rows are left out")
        yield 0
        return
    with tempfile.TemporaryDirectory(prefix="bench-pgbouncer-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        port = unused_port()
        (directory / "users.txt").write_text('"trusted_role" ""\n')
        (directory / "pgbouncer.ini").write_text(
            f"[databases]\n{database} = host={postgres.host} port={postgres.port} user=trusted_role\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = session\nmax_client_conn = 100\ndefault_pool_size = 50\n"
            f"auth_file = {directory}/users.txt\n"
        )
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [binary, "-q", str(directory / "pgbouncer.ini")], stdout=log, stderr=log, **account()
            )
        try:
            yield port
        finally:
            process.terminate()
            process.wait(timeout=20)
