"""The PostgreSQL world: a real server, psycopg as the agent, the server's own log as the journal."""

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg

from sallyport.local_postgres import Postgres
from sallyport.stack import Stack
from tests.support.world import AGENT, FREE, GUARDED, POLICY, Answer, Commands, prepared

SCHEMA = """
CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL);
INSERT INTO counter VALUES (1, 0);
CREATE TABLE people (id int PRIMARY KEY, name text, email text, ssn text);
INSERT INTO people VALUES (1, 'Ada', 'canary-mail@example.com', '219-09-9999'), (2, 'Bo', 'canary-two@example.org', '457-55-5462');
CREATE TABLE notes (id serial PRIMARY KEY, note text);
GRANT ALL ON ALL TABLES IN SCHEMA public TO app_role;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app_role;
"""
SECRET = "AKIAIOSFODNN7EXAMPLE"


class PostgresConnection:
    """One psycopg connection."""

    def __init__(self, connection: psycopg.Connection[Any], notices: list[str]) -> None:
        self.connection = connection
        self.notices = notices

    def send(self, command: str) -> Answer:
        """Execute and collect everything the client can see."""
        before = len(self.notices)
        try:
            cursor = self.connection.execute(cast("LiteralString", command))
            rows = cursor.fetchall() if cursor.description else []
            text = f"{cursor.statusmessage} {rows} {self.notices[before:]}"
            return Answer(text)
        except psycopg.Error as error:
            fields = (error.sqlstate, str(error), error.diag.message_detail, error.diag.message_hint)
            text = " | ".join(str(field) for field in fields if field)
            return Answer(text, refused=error.sqlstate in {"42501", "55000"}, lost=self.connection.closed)


class PostgresWorld:
    """See `World`."""

    protocol = "postgres"
    canaries: tuple[str, ...] = ("canary-mail@example.com", "219-09-9999", "canary-two@example.org", "457-55-5462")
    commands = Commands(
        look="SELECT n FROM counter WHERE id = 1",
        increment="UPDATE counter SET n = n + 1 WHERE id = 1",
        forbidden="DROP TABLE counter",
        unreadable="SELEC n FROM counter",
        oversized="SELECT 1 -- " + "x" * (2 << 20),
        canary="SELECT email, ssn FROM people ORDER BY id",
        with_secret=f"INSERT INTO notes (note) VALUES ('{SECRET}')",
        secret=SECRET,
        marks={"look": "SELECT n FROM counter", "increment": "UPDATE counter", "forbidden": "DROP TABLE"},
    )

    def __init__(self, stack: Stack, postgres: Postgres, database: str, home: Path) -> None:
        self.stack, self.postgres, self.database, self.home = stack, postgres, database, home
        self.injected = postgres.password
        self.address = "127.0.0.1:0"

    def start_edge(self, **environment: str) -> None:
        """Start on the address of the first start."""
        upstream = f"postgresql://app_role@{self.postgres.host}:{self.postgres.port}/{self.database}?sslmode=disable"
        entry = "- {{name: {name}, protocol: postgres, upstream: '{upstream}', credential: env://UPSTREAM_PASSWORD}}\n"
        config = self.home / "edge.yaml"
        config.write_text(
            f"control_plane: {{url: {self.stack.url}}}\ndata_dir: {self.home}/edge\nhold: 60s\n"
            f"listeners: {{postgres: {self.address}}}\nresources:\n"
            + "".join(entry.format(name=name, upstream=upstream) for name in (FREE, GUARDED))
        )
        bound = self.stack.start_edge(config, UPSTREAM_PASSWORD=self.injected, **environment)
        self.address = bound["postgres"]

    @contextlib.contextmanager
    def connect(self, resource: str, *, key: str = "") -> Generator[PostgresConnection]:
        """Connect with psycopg, autocommit."""
        host, _, port = self.address.rpartition(":")
        notices: list[str] = []
        secret = key or (self.stack.keys / f"agent-{AGENT}").read_text().strip()
        connection = psycopg.connect(
            host=host, port=port, user=AGENT, password=secret, dbname=resource, sslmode="disable",
            autocommit=True, connect_timeout=15, application_name="worker",
        )  # fmt: skip
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        with contextlib.closing(connection):
            yield PostgresConnection(connection, notices)

    def counter(self) -> int:
        """Read directly."""
        return self.postgres.run("SELECT n FROM counter WHERE id = 1", self.database)[0][0]

    def journal(self) -> list[str]:
        """What the server executed for the injected role."""
        return [
            ran.text for ran in self.postgres.journal(self.database) if ran.role == "app_role" and ran.kind != "error"
        ]


@contextlib.contextmanager
def postgres_world(
    home: Path, postgres: Postgres, *, policy: str = POLICY, start: bool = True
) -> Generator[PostgresWorld]:
    """A fresh database behind a fresh stack; everything is stopped and dropped afterwards."""
    database = postgres.create_database(SCHEMA)
    resources = [{"name": name, "protocol": "postgres", "labels": {"kind": name}} for name in (FREE, GUARDED)]
    try:
        with prepared(home, resources, policy) as stack:
            world = PostgresWorld(stack, postgres, database, home)
            if start:
                world.start_edge()
            yield world
    finally:
        postgres.drop_database(database)
