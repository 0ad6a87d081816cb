"""PostgreSQL for the bypass tests: a database behind the product, with a tap on the client's side of the wire."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from edge_agent.protocols.postgres.catalogue import statement
from gateway_kernel.parse.sql.catalogue import KINDS, Question
from gateway_kernel.parse.sql.tree import parsed
from sallyport.local_postgres import Postgres
from tests.bypass import POLICY, SCHEMA, corpus
from tests.bypass.attacked import Attacked, Came, Tried
from tests.support.guarded import Behind, Guarded, guarded
from tests.support.wire import FORMS, Told, tell

ATTACKS = TWINS = corpus("postgres.txt")

NEVER_RAN = frozenset({"26000", "34000", "42601"})
"""The edge's own answers, in the server's words, to a text that can never run: an unknown name, or no grammar for it."""

WRONG_AT_PARSE = {("text", "0A000"), ("binary", "0A000")}
"""The server may call a text wrong at Parse, before there is a Bind to be held."""

OURS = (
    "/* sallyport ",
    "refused by the gateway, so this transaction must end",
    *{statement(Question(kind, "", "")).decode().partition("'")[0] for kind in KINDS},
)
"""What the edge itself says to the server: questions about the context and the catalogue, and what aborts a transaction."""

DIGEST = r"""
SELECT md5(string_agg(part, E'\n' ORDER BY part)) FROM (
    SELECT c.oid::regclass || query_to_xml('SELECT * FROM ' || c.oid::regclass || ' t ORDER BY t::text', true, false, '')::text
    FROM pg_class c WHERE c.relkind IN ('r', 'm') AND c.relnamespace IN ('public'::regnamespace, 'shadow'::regnamespace)
    UNION ALL SELECT 'ticket ' || last_value || is_called FROM ticket
    UNION ALL SELECT 'log ' || last_value || is_called FROM audit_log_id_seq
    UNION ALL SELECT concat_ws(' ', oid, relname, relkind, relrowsecurity, relacl, relnatts, reloptions) FROM pg_class
        WHERE relnamespace IN ('public'::regnamespace, 'shadow'::regnamespace)
    UNION ALL SELECT concat_ws(' ', oid, proname, provolatile, prosrc, proacl) FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT concat_ws(' ', oid, rolname, rolsuper) FROM pg_roles
    UNION ALL SELECT concat_ws(' ', setdatabase, setrole, setconfig) FROM pg_db_role_setting
    UNION ALL SELECT concat_ws(' ', objoid, description) FROM pg_description WHERE objoid >= 16384
    UNION ALL SELECT 'large ' || oid FROM pg_largeobject_metadata
    UNION ALL SELECT 'extension ' || extname FROM pg_extension
    UNION ALL SELECT concat_ws(' ', ev_class, rulename) FROM pg_rewrite WHERE oid >= 16384
    UNION ALL SELECT concat_ws(' ', name, setting) FROM pg_file_settings
) parts(part)
"""

SESSION = """
SELECT current_user, session_user, current_setting('search_path'), current_setting('standard_conforming_strings'),
    current_setting('client_encoding'), current_setting('session_replication_role'), current_setting('transaction_read_only')
"""


class PostgresRoom:
    """One database behind the product, the agent's one connection, and a direct one that sees what is true."""

    def __init__(self, postgres: Postgres, database: str, behind: Guarded) -> None:
        self._behind = behind
        self._postgres = postgres
        self._database = database
        self._truth = postgres.connect(database)
        self._agent: psycopg.Connection[Any] | None = None
        self._unread = False  # the journal holds what no attempt sent
        self.untouched = self.upstream()

    def forms(self, text: str) -> tuple[str, ...]:
        """The extended protocol takes one statement at a time."""
        return FORMS if len(parsed(text).stmts) == 1 else FORMS[:1]

    def attempt(self, text: str, form: str) -> Tried:
        """One text through libpq; every byte of the answer is in the tap."""
        agent = self._connection()
        if self._unread:
            self._ran()
        self._behind.tap.take()
        told = tell(agent, text, form)
        received = self._behind.tap.take()
        ran = [each for each in self._ran() if not each.startswith(OURS)]
        return Tried(_came(told, form), told.values, received, ran, told.usable, told)

    def put_away(self, text: str) -> None:
        """A prepared statement keeps its name."""
        if text.startswith("PREPARE"):
            told = self._tell("DEALLOCATE ALL")
            assert told.error == "", told

    def session(self) -> Told:
        """Who the agent is to the server, and what later texts mean."""
        told = self._tell(SESSION)
        assert (told.error, told.usable) == ("", True), told
        return told

    def upstream(self) -> str:
        """A digest of the database."""
        row = self._truth.execute(DIGEST.encode()).fetchone()
        assert row is not None, "the digest has one row"
        return row[0]

    def close(self) -> None:
        """End both connections."""
        for connection in (self._truth, self._agent):
            if connection is not None:
                connection.close()

    def _connection(self) -> psycopg.Connection[Any]:
        """The agent's, made anew only if a test before broke it."""
        if self._agent is None or self._agent.closed:
            self._agent = self._behind.connect("shop")
            self._unread = True
        return self._agent

    def _tell(self, text: str) -> Told:
        self._unread = True
        return tell(self._connection(), text)

    def _ran(self) -> list[str]:
        """What the server began to execute here since the last call, by whatever name it was asked, but for our own look at the truth."""
        entries = self._postgres.journal(self._database)
        self._postgres.clear_journal()
        self._unread = False
        return [entry.text for entry in entries if entry.pid != self._truth.info.backend_pid]


def _came(told: Told, form: str) -> Came:
    if told.refused:
        return Came.DENIED if told.error == "42501" else Came.WAITS
    if told.error in NEVER_RAN:
        return Came.NEVER_RAN
    if (form, told.error) in WRONG_AT_PARSE:
        return Came.WRONG
    return Came.FAILED if told.error else Came.RAN


@pytest.fixture(scope="module")
def over_postgres(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """One stack and one database for the whole corpus: nothing in it may leave a trace."""
    name = postgres.create_database(SCHEMA)
    edge = "hold: 50ms\nhold_in_transaction: 50ms"
    with guarded(
        tmp_path_factory.mktemp("bypass"), postgres, POLICY.read_text(), {"shop": Behind(name)}, edge=edge,
        SALLYPORT_OPEN_REVIEWS_PER_AGENT="1000",
    ) as behind:  # fmt: skip
        room = PostgresRoom(postgres, name, behind)
        yield room
        assert behind.stack.control is not None, "there is a control plane"
        assert behind.stack.control.process.poll() is None, "the control plane did not live to the end"
        room.close()
    postgres.drop_database(name)
