"""The bypass corpus through the whole product: control plane, edge and PostgreSQL, with a tap on the client's side of the wire.

Whatever an evasion is, the agent is told no (or to wait), nothing of it reaches the server, the database is as it was, no hidden value is
in the bytes that the client received, and the connection stays usable. Its benign twin runs.
"""

import base64
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from edge_agent.protocols.postgres.catalogue import statement
from gateway_kernel.parse.sql.catalogue import KINDS, Question
from gateway_kernel.parse.sql.tree import parsed
from sallyport.local_postgres import Postgres
from tests.bypass import CANARY, POLICY, SCHEMA, Evasion, corpus
from tests.support.guarded import AGENT, Behind, Guarded, guarded
from tests.support.relay import Relay
from tests.support.wire import FORMS, tell

EVASIONS = corpus("postgres.txt")
WRONG_AT_PARSE = {("text", "0A000"), ("binary", "0A000")}
OURS = (
    "/* sallyport ",
    "refused by the gateway, so this transaction must end",
    *{statement(Question(kind, "", "")).decode().partition("'")[0] for kind in KINDS},
)
"""What the edge itself says to the server: questions about the context and the catalogue, and what aborts a transaction."""

SIGNS = tuple(
    sign.encode() if isinstance(sign, str) else sign
    for sign in (CANARY, CANARY.lower(), CANARY[::-1], CANARY.encode().hex(), base64.b64encode(CANARY.encode()))
)
"""A hidden value as it is, folded, backwards, in hex and in base64 (six bytes are eight characters, wherever they stop)."""

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
"""Everything that the corpus tries to change, as one value."""

SESSION = """
SELECT current_user, session_user, current_setting('search_path'), current_setting('standard_conforming_strings'),
    current_setting('client_encoding'), current_setting('session_replication_role'), current_setting('transaction_read_only')
"""


class Attacked:
    """One database behind the product, the agent's one connection, and a direct one that sees what is true."""

    def __init__(self, postgres: Postgres, database: str, behind: Guarded) -> None:
        self.behind = behind
        self.tap: Relay = behind.tap
        self._postgres = postgres
        self._database = database
        self._truth = postgres.connect(database)
        self.untouched = self.digest()
        self._agent: psycopg.Connection[Any] | None = None

    def agent(self) -> psycopg.Connection[Any]:
        """The connection, made anew only if a test before broke it."""
        if self._agent is None or self._agent.closed:
            self._agent = self.behind.connect("shop")
        return self._agent

    def digest(self) -> str:
        row = self._truth.execute(DIGEST.encode()).fetchone()
        assert row is not None
        return row[0]

    def ran(self) -> list[str]:
        """What the server began to execute for the edge since the last call."""
        entries = self._postgres.journal(self._database)
        self._postgres.clear_journal()
        return [entry.text for entry in entries if entry.application.startswith(f"{AGENT}/")]

    def close(self) -> None:
        for connection in (self._truth, self._agent):
            if connection is not None:
                connection.close()


@pytest.fixture(scope="module")
def attacked(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """One stack and one database for the whole corpus: nothing in it may leave a trace."""
    name = postgres.create_database(SCHEMA)
    edge = "hold: 50ms\nhold_in_transaction: 50ms"
    with guarded(
        tmp_path_factory.mktemp("bypass"), postgres, POLICY.read_text(), {"shop": Behind(name)}, edge=edge,
        SALLYPORT_OPEN_REVIEWS_PER_AGENT="1000",
    ) as behind:  # fmt: skip
        found = Attacked(postgres, name, behind)
        yield found
        assert behind.stack.control is not None
        assert behind.stack.control.process.poll() is None, "the control plane did not live to the end"
        found.close()
    postgres.drop_database(name)


def forms(text: str) -> tuple[str, ...]:
    """The extended protocol takes one statement at a time."""
    return FORMS if len(parsed(text).stmts) == 1 else FORMS[:1]


NEVER_RAN = frozenset({"26000", "34000", "42601"})
"""The edge's own answers, in the server's words, to a text that can never run: an unknown name, or no grammar for it."""


@pytest.mark.parametrize("evasion", EVASIONS, ids=lambda evasion: evasion.attack)
def test_an_evasion_gets_nowhere(evasion: Evasion, attacked: Attacked) -> None:
    """In each form: refused or held, or run with what is hidden left out; and nothing is different afterwards."""
    agent = attacked.agent()
    session = tell(agent, SESSION)
    attacked.ran()
    for form in forms(evasion.attack):
        attacked.tap.take()
        told = tell(agent, evasion.attack, form)
        received = attacked.tap.take()
        match evasion.verdict:
            case "deny":
                assert (told.refused and told.error == "42501") or told.error in NEVER_RAN, (form, told)
            case "review":
                # The server may call a text wrong at Parse, before there is a Bind to be held.
                assert (told.refused and told.error == "55000") or (form, told.error) in WRONG_AT_PARSE, (form, told)
            case "allow":
                assert not told.refused, (form, told)
            case _:
                pass
        assert not [sign for sign in SIGNS if sign in received], (form, received)
        assert told.usable, f"{form}: the connection cannot be used any more"
        ran = attacked.ran()
        if told.refused or told.error in NEVER_RAN:
            assert not told.values
            assert [text for text in ran if not text.startswith(OURS)] == []
    assert tell(agent, SESSION) == session
    assert attacked.digest() == attacked.untouched


@pytest.mark.parametrize("evasion", EVASIONS, ids=lambda evasion: evasion.twin)
def test_its_benign_twin_runs(evasion: Evasion, attacked: Attacked) -> None:
    """What looks like the attack and is none goes through, in each form."""
    agent = attacked.agent()
    for form in forms(evasion.twin):
        attacked.tap.take()
        told = tell(agent, evasion.twin, form)
        assert (told.error, told.usable) == ("", True), (form, told)
        assert not [sign for sign in SIGNS if sign in attacked.tap.take()]
        if evasion.twin.startswith("PREPARE"):
            assert tell(agent, "DEALLOCATE ALL").error == ""
