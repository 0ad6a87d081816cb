"""A name that comes to mean something else does not uncover what it meant before: live, on the server's own rules for names.

The server analyses a prepared statement or a cursor when it is made, and does not look again when a temporary table hides the relation
that it reads [ran]. So what is masked goes by what was analysed.
"""

from collections.abc import Iterator

import psycopg
import pytest

from sallyport.local_postgres import Postgres
from tests.support.guarded import Behind, Guarded, guarded
from tests.support.wire import FORMS, Told, tell

CANARY = b"CANARY"
POLICY = """
version: 1
default: deny
rules:
- {id: everything, when: "true", then: allow}
- {id: hide, when: "true", then: mask, mask: [{columns: ["customers.email"], with: redact}]}
"""
SCHEMA = """
CREATE TABLE customers (id int PRIMARY KEY, name text, email text);
INSERT INTO customers VALUES (1, 'Ada', 'CANARY-ada'), (2, 'Bob', 'CANARY-bob');
CREATE VIEW contacts AS SELECT id, email AS mail FROM customers;
CREATE SCHEMA other;
CREATE TABLE other.contacts (id int, mail text);
INSERT INTO other.contacts VALUES (9, 'plain');
"""
QUERY = "SELECT id, mail FROM contacts ORDER BY id"
SHADOW = "CREATE TEMP TABLE contacts (id int, mail text)"


@pytest.fixture(scope="module")
def databases(postgres: Postgres, postgres18: Postgres) -> Iterator[dict[str, str]]:
    """One on each server, by the server's version."""
    names = {"15": postgres.create_database(SCHEMA), "18": postgres18.create_database(SCHEMA)}
    yield names
    postgres.drop_database(names["15"])
    postgres18.drop_database(names["18"])


@pytest.fixture(scope="module", params=["15", "18"])
def behind(
    request: pytest.FixtureRequest,
    postgres: Postgres,
    postgres18: Postgres,
    databases: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Guarded]:
    """The product in front of the distribution's server, and of version 18."""
    server = {"15": postgres, "18": postgres18}[request.param]
    resources = {"shop": Behind(databases[request.param])}
    with guarded(tmp_path_factory.mktemp("names"), server, POLICY, resources) as found:
        yield found


class Agent:
    """One connection on which nothing hidden may ever arrive."""

    def __init__(self, behind: Guarded, connection: psycopg.Connection) -> None:
        self._tap = behind.tap
        self.connection = connection

    def ask(self, text: str, form: str = "simple") -> Told:
        self._tap.take()
        told = tell(self.connection, text, form)
        assert CANARY not in self._tap.take(), (text, form, told)
        return told

    def does(self, *texts: str) -> None:
        for text in texts:
            told = self.ask(text)
            assert not told.error, (text, told)


@pytest.fixture
def agent(behind: Guarded) -> Iterator[Agent]:
    """A fresh connection, whose temporary schema exists already: from then on the server looks no more."""
    with behind.connect("shop") as connection:
        found = Agent(behind, connection)
        found.does("CREATE TEMP TABLE first (x int)")
        yield found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("hold", ["", " WITH HOLD"])
@pytest.mark.parametrize("change", [SHADOW, "SET LOCAL search_path = other", "DROP VIEW contacts"])
def test_a_cursor_is_masked_as_it_was_declared(agent: Agent, change: str, hold: str, form: str) -> None:
    """Another table of that name, another search path, no relation at all: its rows come from where it was opened."""
    agent.does("BEGIN", f"DECLARE c CURSOR{hold} FOR {QUERY}", change)
    assert agent.ask("FETCH 1 FROM c", form).values[1] == b"***"
    assert agent.ask("FETCH ALL FROM c", form).values[1] == b"***"
    agent.does("ROLLBACK")


def test_a_cursor_declared_twice_is_the_first_one(agent: Agent) -> None:
    """The second DECLARE fails, and with it what it would have meant."""
    agent.does("BEGIN", f"DECLARE c CURSOR FOR {QUERY}", SHADOW, "SAVEPOINT a")
    assert agent.ask(f"DECLARE c CURSOR FOR {QUERY}").error == "42P03"
    agent.does("ROLLBACK TO a")
    assert agent.ask("FETCH ALL FROM c").values[1] == b"***"
    agent.does("ROLLBACK")


def test_a_held_cursor_outlives_its_transaction(agent: Agent) -> None:
    """After COMMIT it can still be fetched, masked as before."""
    agent.does("BEGIN", f"DECLARE c CURSOR WITH HOLD FOR {QUERY}", "COMMIT", SHADOW)
    assert agent.ask("FETCH ALL FROM c").values == [b"1", b"***", b"2", b"***"]
    agent.does("CLOSE c", "DROP TABLE pg_temp.contacts")


def test_a_mixture_with_a_name_that_moved_is_refused(agent: Agent) -> None:
    """One text cannot mean two relations by one name."""
    agent.does("BEGIN", f"DECLARE c CURSOR FOR {QUERY}", SHADOW)
    assert agent.ask(f"FETCH ALL FROM c; {QUERY}").error == "42501"
    agent.does("ROLLBACK")


@pytest.mark.parametrize(
    "use", ["EXECUTE p", "EXPLAIN (ANALYZE, VERBOSE) EXECUTE p", "CREATE TEMP TABLE taken AS EXECUTE p; TABLE taken"]
)
def test_a_statement_prepared_in_sql_means_what_its_names_mean_now(agent: Agent, use: str) -> None:
    """What is judged is what the server runs: it analyses the statement again."""
    agent.does(f"PREPARE p AS {QUERY}", SHADOW)
    for text in use.split("; "):
        told = agent.ask(text)
        assert not told.error, told
        assert not any(value and b"customers" in value for value in told.values), told
    agent.does("DROP TABLE pg_temp.contacts")
    assert agent.ask("EXECUTE p").values[1] == b"***"


@pytest.mark.parametrize("binary", [False, True])
def test_a_statement_of_the_protocol_means_what_its_names_mean_now(agent: Agent, behind: Guarded, binary: bool) -> None:
    """A driver keeps it for the whole session."""

    def read() -> list[tuple[int, str]]:
        behind.tap.take()
        rows = agent.connection.execute(QUERY, prepare=True, binary=binary).fetchall()
        assert CANARY not in behind.tap.take()
        return rows

    for _ in range(2):
        assert read() == [(1, "***"), (2, "***")]
    agent.does(SHADOW)
    assert read() == []
    agent.does("DROP TABLE pg_temp.contacts")
    assert read() == [(1, "***"), (2, "***")]


@pytest.mark.parametrize(
    "text",
    [
        f"{SHADOW}; {QUERY}",
        f"SET search_path = other; {QUERY}",
        f"DROP TABLE pg_temp.contacts; {QUERY}",
        f"BEGIN; {SHADOW}; ROLLBACK; {QUERY}",
        f"ROLLBACK; {QUERY}",
        f"ROLLBACK TO a; {QUERY}",
        f"DEALLOCATE ALL; PREPARE p AS {QUERY}; DROP TABLE pg_temp.contacts; EXECUTE p",
    ],
)
def test_one_text_cannot_move_a_name_and_use_it(agent: Agent, text: str) -> None:
    """Inside one Query nothing is asked between its statements."""
    agent.does("BEGIN", "SAVEPOINT a", SHADOW)
    agent.ask(text)
    agent.ask("ROLLBACK")


def test_a_result_with_other_columns_than_planned_is_withheld(
    agent: Agent, postgres: Postgres, postgres18: Postgres, databases: dict[str, str], behind: Guarded
) -> None:
    """Another session changes the table while this one still believes what it was told."""
    name = agent.ask("SELECT current_database()").values[0]
    assert name is not None
    server = postgres if databases["15"] == name.decode() else postgres18
    statement = "SELECT * FROM customers ORDER BY id"
    assert agent.ask(statement).values[:3] == [b"1", b"Ada", b"***"]
    try:
        server.run("ALTER TABLE customers ADD COLUMN more int", name.decode())
        for form in FORMS:
            assert set(agent.ask(statement, form).values) == {None}
    finally:
        server.run("ALTER TABLE customers DROP COLUMN more", name.decode())


NEW = (
    "UPDATE customers SET name = 'x' WHERE id = 1 RETURNING old.email, new.email",
    "UPDATE customers SET name = 'x' WHERE id = 1 RETURNING old, new",
    "UPDATE customers SET name = 'x' WHERE id = 1 RETURNING old.*, new.*",
    "UPDATE customers SET name = 'x' WHERE id = 1 RETURNING WITH (OLD AS o, NEW AS n) o.email, n.email || '!'",
    "DELETE FROM customers WHERE id = 1 RETURNING old.email || new.email",
    "INSERT INTO customers VALUES (1, 'x', 'y') ON CONFLICT (id) DO UPDATE SET name = 'z' RETURNING old.email, row_to_json(old)",
    "MERGE INTO customers c USING (VALUES (1)) v(i) ON c.id = v.i WHEN MATCHED THEN UPDATE SET name = 'x' RETURNING merge_action(), c.email",
    "MERGE INTO customers c USING (VALUES (1)) v(i) ON c.id = v.i WHEN MATCHED THEN DELETE RETURNING old.email, c.*, old",
    "SELECT t.* FROM customers c, JSON_TABLE(to_json(c)::jsonb, '$' COLUMNS (mail text PATH '$.email')) t",
    "SELECT JSON_VALUE(to_jsonb(c), '$.email'), JSON_QUERY(to_jsonb(c), '$.email') FROM customers c",
    "SELECT JSON_OBJECT('m': email), JSON_ARRAY(email), JSON_SERIALIZE(to_json(email)), JSON_SCALAR(email) FROM customers",
    "SELECT JSON_ARRAYAGG(email), JSON_OBJECTAGG(id: email) FROM customers",
    "SELECT ANY_VALUE(email), casefold(email), reverse(email::bytea) FROM customers",
    "SELECT JSON_EXISTS(to_jsonb(c), '$.email ? (@ starts with \"CANARY-a\")') FROM customers c",
    "COPY (MERGE INTO customers c USING (VALUES (1)) v(i) ON c.id = v.i WHEN MATCHED THEN DELETE RETURNING c.email) TO STDOUT",
)


@pytest.mark.parametrize("text", NEW)
def test_forms_of_newer_versions_are_masked_or_refused(agent: Agent, text: str) -> None:
    """RETURNING old and new, MERGE RETURNING, the SQL/JSON functions: nothing hidden comes back; older servers do not know them."""
    for form in FORMS:
        agent.does("BEGIN")
        told = agent.ask(text, form)
        assert not any(value in (b"t", b"f", b"\1", b"\0") for value in told.values), told
        agent.ask("ROLLBACK")
