"""The PostgreSQL world: a real server, psycopg as the agent, the server's own log as the journal."""

import contextlib
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg

from sallyport.local_postgres import Postgres
from sallyport.stack import Stack
from tests.support.world import (
    AGENT,
    FREE,
    GUARDED,
    PATIENCE,
    POLICY,
    Answer,
    Commands,
    Connection,
    begin,
    eventually,
    failpoint,
    kill,
    kill_edge,
    prepared,
    recordings,
)

SCHEMA = """
CREATE TABLE counter (id int PRIMARY KEY, n int NOT NULL);
INSERT INTO counter VALUES (1, 0);
CREATE TABLE people (id int PRIMARY KEY, name text, email text, ssn text);
INSERT INTO people VALUES (1, 'Ada', 'canary-mail@example.com', '219-09-9999'), (2, 'Bo', 'canary-two@example.org', '457-55-5462');
CREATE TABLE notes (id serial PRIMARY KEY, note text);
GRANT ALL ON ALL TABLES IN SCHEMA public TO app_role;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app_role;
"""
REFUSED = {"42501", "55000", "54000", "53400", "58000"}
"""Denied; waits for people; too large to be judged; too many reviews; not to be recorded."""
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
            return Answer(text, refused=error.sqlstate in REFUSED, lost=self.connection.closed)


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
        marks={
            "look": "SELECT n FROM counter",
            "increment": "UPDATE counter",
            "forbidden": "DROP TABLE",
            "unreadable": "SELEC n",
            "oversized": "xxxxxxxx",
        },
    )

    def __init__(self, stack: Stack, postgres: Postgres, database: str, home: Path) -> None:
        self.stack, self.postgres, self.database, self.home = stack, postgres, database, home
        self.injected = postgres.password
        self.address = "127.0.0.1:0"
        self.since = self.kills = 0
        self.journal_before = 0
        self.plain = True  # the edge runs with nothing added to its settings

    def start_edge(self, settings: str = "", *, upstream: int = 0, control: str = "") -> None:
        """Start on the address of the first start; an edge that runs is killed first."""
        if self.stack.edge is not None and self.stack.edge.process.poll() is None:
            kill_edge(self)
        port = upstream or self.postgres.port
        target = f"postgresql://app_role@{self.postgres.host}:{port}/{self.database}?sslmode=disable"
        entry = "- {{name: {name}, protocol: postgres, upstream: '{upstream}', credential: env://UPSTREAM_PASSWORD}}\n"
        config = self.home / "edge.yaml"
        config.write_text(
            f"control_plane: {{url: {control or self.stack.url}}}\ndata_dir: {self.home}/edge\nhold: 60s\n{settings}health: 127.0.0.1:0\n"
            f"listeners: {{postgres: {self.address}}}\nresources:\n"
            + "".join(entry.format(name=name, upstream=target) for name in (FREE, GUARDED))
        )
        file = str(failpoint(self, "edge"))
        bound = self.stack.start_edge(config, UPSTREAM_PASSWORD=self.injected, SALLYPORT_FAILPOINT_FILE=file)
        self.address = bound["postgres"]
        self.plain, self.kills = not (settings or upstream or control), 0

    def fresh(self) -> None:
        """See `World`."""
        edge = self.stack.edge
        if not self.plain or self.kills >= PATIENCE or edge is None or edge.process.poll() is not None:
            self.start_edge()
        eventually(self._listens, "the edge accepts connections")
        begin(self)
        self.journal_before = 0
        self.journal_before = len(self.journal())

    def _listens(self) -> bool:
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), 5).close()
        except ConnectionError:
            return False
        return True

    def padded(self, command: str, size: int) -> str:
        """A comment behind it."""
        return f"{command} -- {'x' * size}"

    def text(self, command: str) -> str:
        """The command itself."""
        return command

    def opened(self, connection: Connection) -> None:
        """Login did it."""
        eventually(lambda: recordings(self, closed=False), "the session's opening is sealed and shipped")

    @contextlib.contextmanager
    def connect(self, resource: str, *, key: str = "") -> Generator[PostgresConnection]:
        """Connect with psycopg, autocommit."""
        host, _, port = self.address.rpartition(":")
        notices: list[str] = []
        secret = key or (self.stack.keys / f"agent-{AGENT}").read_text().strip()
        try:
            connection = psycopg.connect(
                host=host, port=port, user=AGENT, password=secret, dbname=resource, sslmode="disable",
                autocommit=True, connect_timeout=15, application_name="worker",
            )  # fmt: skip
        except psycopg.OperationalError as error:
            raise ConnectionError(str(error)) from error
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
        with contextlib.closing(connection):
            yield PostgresConnection(connection, notices)

    def counter(self) -> int:
        """Read directly."""
        return self.postgres.run("SELECT n FROM counter WHERE id = 1", self.database)[0][0]

    def journal(self) -> list[str]:
        """What the server executed for the injected role."""
        ran = [
            ran.text for ran in self.postgres.journal(self.database) if ran.role == "app_role" and ran.kind != "error"
        ]
        return ran[self.journal_before :]


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
            try:
                yield world
            finally:
                kill(world)
    finally:
        postgres.drop_database(database)
