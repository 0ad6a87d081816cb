"""Names followed through a real catalogue, on the database of the bypass corpus."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from gateway_kernel.model import Facts, SqlFacts
from gateway_kernel.parse.sql.catalogue import Catalogue
from gateway_kernel.parse.sql.effects import HOUSEKEEPING, is_barrier, needs
from tests.bypass import SCHEMA
from tests.support.facts import operation_on
from tests.support.postgres import Postgres


@pytest.fixture(scope="module", params=["postgres", "postgres18"])
def shop(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the corpus's database, on the distribution's PostgreSQL and on 18."""
    server: Postgres = request.getfixturevalue(request.param)
    name = server.create_database(SCHEMA)
    with server.connect(name) as connection:
        yield connection
    server.drop_database(name)


def effects(facts: Facts) -> set[tuple[str, str, str]]:
    """Kind, object and via of each effect; the facts must be whole."""
    assert facts.complete, facts.problem
    return {(effect.kind.value, effect.object, effect.via) for effect in facts.effects}


def sql(facts: Facts) -> SqlFacts:
    """The facts of the SQL family."""
    assert isinstance(facts.family, SqlFacts)
    return facts.family


def test_a_view_of_a_view_leads_to_the_table(shop: psycopg.Connection[Any]) -> None:
    """Each step names the one before it."""
    assert effects(operation_on(shop, "SELECT address FROM contacts_twice").facts) == {
        ("read", "public.contacts_twice", ""),
        ("read", "public.contacts", "public.contacts_twice"),
        ("read", "public.customers", "public.contacts"),
    }


def test_a_delete_follows_cascades(shop: psycopg.Connection[Any]) -> None:
    """Rows elsewhere go with it."""
    assert effects(operation_on(shop, "DELETE FROM customers WHERE id = 1").facts) == {
        ("delete", "public.customers", ""),
        ("delete", "public.orders", "foreign key orders_customer_id_fkey"),
    }


def test_a_serial_column_draws_from_its_sequence(shop: psycopg.Connection[Any]) -> None:
    """A default is an expression like any other."""
    assert ("write", "public.audit_log_id_seq", "column id of public.audit_log") in effects(
        operation_on(shop, "INSERT INTO audit_log (what) VALUES ('x')").facts
    )


@pytest.mark.parametrize(("table", "other"), [("events", "events_2025"), ("events_2025", "events")])
def test_a_partition_and_its_table_are_read_together(shop: psycopg.Connection[Any], table: str, other: str) -> None:
    """A rule about one holds for the other."""
    kinds = {(kind, name) for kind, name, _ in effects(operation_on(shop, f"SELECT id FROM {table}").facts)}
    assert {("read", "public.events"), ("read", f"public.{other}")} <= kinds


def test_a_trigger_names_its_function(shop: psycopg.Connection[Any]) -> None:
    """`via` tells the approver why an insert runs code."""
    assert ("execute", "public.on_write", "trigger watched_write on public.watched") in effects(
        operation_on(shop, "INSERT INTO watched VALUES (1, 'x')").facts
    )
    assert effects(operation_on(shop, "DELETE FROM watched WHERE id = 1").facts) == {("delete", "public.watched", "")}


def test_an_index_expression_runs_when_rows_change(shop: psycopg.Connection[Any]) -> None:
    """And not when they are read."""
    assert "execute" in {kind for kind, _, _ in effects(operation_on(shop, "UPDATE indexed SET what = 'y'").facts)}
    assert "execute" not in {kind for kind, _, _ in effects(operation_on(shop, "SELECT * FROM indexed").facts)}


def test_a_constant_call_in_an_index_runs_when_planning(shop: psycopg.Connection[Any]) -> None:
    """The planner folds it for any query of that table."""
    shop.execute("CREATE TABLE planned (id integer)")
    shop.execute("CREATE INDEX planned_partial ON planned (id) WHERE fold('A') = 'a'")
    assert ("execute", "public.fold") in {
        (kind, name) for kind, name, _ in effects(operation_on(shop, "SELECT id FROM planned").facts)
    }


def test_a_temporary_table_hides_a_relation(shop: psycopg.Connection[Any]) -> None:
    """Only the session's own connection can say what the name means now."""
    with shop.transaction(force_rollback=True):
        shop.execute("CREATE TEMP VIEW titles AS SELECT purge() AS id")
        assert "execute" in {kind for kind, _, _ in effects(operation_on(shop, "SELECT id FROM titles").facts)}
    assert effects(operation_on(shop, "SELECT id FROM titles").facts) == {
        ("read", "public.titles", ""),
        ("read", "public.products", "public.titles"),
    }


def test_the_search_path_decides_what_a_name_means(shop: psycopg.Connection[Any]) -> None:
    """The same text, another relation."""
    with shop.transaction(force_rollback=True):
        shop.execute("SET LOCAL search_path = shadow, public")
        facts = operation_on(shop, "SELECT title FROM products").facts
        assert ("read", "public.customers", "shadow.products") in effects(facts)
        assert "public.customers.email" in sql(facts).columns


def test_an_execute_is_read_as_what_it_runs(shop: psycopg.Connection[Any]) -> None:
    """By the text under its name; without one it is unknown."""
    facts = operation_on(shop, "EXECUTE p(7)", behind="DELETE FROM orders WHERE id = $1").facts
    assert (facts.verb, effects(facts)) == ("EXECUTE", {("delete", "public.orders", "")})
    unknown = operation_on(shop, "EXECUTE p(7)").facts
    assert not unknown.complete
    assert "'p'" in unknown.problem


def test_a_fetch_is_read_as_its_cursor(shop: psycopg.Connection[Any]) -> None:
    """Also where the text under the name is the whole DECLARE."""
    for behind in ("SELECT purge()", "DECLARE c CURSOR FOR SELECT purge()"):
        assert ("execute", "public.purge", "") in effects(operation_on(shop, "FETCH 1 FROM c", behind=behind).facts)


def test_a_change_of_meaning_inside_a_text_is_a_barrier(shop: psycopg.Connection[Any]) -> None:
    """What follows cannot be known before the server has answered."""
    for first in ("SET search_path = shadow", "CREATE TABLE x (a integer)", "SELECT purge()", "ROLLBACK"):
        found = effects(operation_on(shop, f"{first}; SELECT title FROM products").facts)
        assert any(kind == "execute" and via.startswith("names used after") for kind, _, via in found), first
    harmless = effects(operation_on(shop, "SET extra_float_digits = 3; SELECT title FROM products").facts)
    assert "execute" not in {kind for kind, _, _ in harmless}


@pytest.mark.parametrize(
    ("text", "barrier"),
    [
        ("SELECT 1", False),
        ("SET statement_timeout = 1", False),
        ("BEGIN", False),
        ("INSERT INTO orders VALUES (9)", False),
        ("SET ROLE x", True),
        ("RESET ALL", True),
        ("ROLLBACK TO s", True),
        ("COMMIT", True),
        ("CREATE TABLE n (a integer)", True),
        ("SELECT purge()", True),
    ],
)
def test_what_is_a_barrier(shop: psycopg.Connection[Any], text: str, barrier: bool) -> None:
    """Nothing behind a barrier is judged until the server has answered it."""
    assert is_barrier(operation_on(shop, text).facts) is barrier


def test_what_poolers_send_is_housekeeping(shop: psycopg.Connection[Any]) -> None:
    """asyncpg's and pgbouncer's reset queries have no session effect that is not on the list."""
    texts = (
        "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL",
        "DISCARD ALL",
        "SELECT set_config('jit', 'off', false)",
    )
    for text in texts:
        found = effects(operation_on(shop, text).facts)
        assert {name for kind, name, _ in found if kind == "session"} <= HOUSEKEEPING
        assert {kind for kind, _, _ in found} <= {"session", "transaction", "read"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DELETE FROM orders", False),
        ("DELETE FROM orders WHERE true", False),
        ("DELETE FROM orders WHERE 1 = 1", False),
        ("DELETE FROM orders WHERE id = 1", True),
        ("DELETE FROM orders WHERE id = $1", True),
        ("UPDATE orders SET state = 'x' WHERE id = 1; DELETE FROM orders", False),
        ("WITH d AS (DELETE FROM orders RETURNING id) SELECT id FROM d WHERE id = 1", False),
        ("EXPLAIN DELETE FROM orders", False),
        ("TRUNCATE orders", False),
        ("SELECT id FROM orders", False),
        ("SELECT id FROM orders WHERE id = 1", True),
        ("INSERT INTO orders VALUES (9)", False),
    ],
)
def test_has_where(shop: psycopg.Connection[Any], text: str, expected: bool) -> None:
    """A WHERE that depends on nothing is none."""
    assert sql(operation_on(shop, text).facts).has_where is expected


def test_columns_are_named_by_their_tables(shop: psycopg.Connection[Any]) -> None:
    """Through aliases, stars, joins, and the columns that are written."""
    assert set(sql(operation_on(shop, "SELECT c.name, o.* FROM customers c JOIN orders o ON o.customer_id = c.id").facts).columns) == {
        "public.customers.name", "public.customers.id", "public.orders.id", "public.orders.customer_id", "public.orders.amount",
        "public.orders.state",
    }  # fmt: skip
    assert sql(operation_on(shop, "UPDATE orders SET state = 'x' WHERE id = 1").facts).columns == (
        "public.orders.state",
        "public.orders.id",
    )


def test_verbs_and_functions_are_told(shop: psycopg.Connection[Any]) -> None:
    """A text of several verbs has none of its own."""
    facts = operation_on(shop, "SELECT upper(title) FROM products; DELETE FROM orders WHERE id = 1").facts
    assert (facts.verb, sql(facts).verbs, sql(facts).statements) == ("MULTIPLE", ("SELECT", "DELETE"), 2)
    assert sql(facts).functions == ("pg_catalog.upper",)
    assert operation_on(shop, "").facts.verb == "EMPTY"


def test_a_text_with_open_questions_is_unknown() -> None:
    """`needs` says what to ask, and a reader without the answers refuses."""
    assert {question.key for question in needs("SELECT f(a) FROM s.t WHERE a = 1", Catalogue())} == {"f", "s.t", "="}


def test_a_relation_that_is_not_there_is_read_by_name(shop: psycopg.Connection[Any]) -> None:
    """The server's own error is the better answer."""
    assert effects(operation_on(shop, "SELECT * FROM nowhere.at_all").facts) == {("read", "nowhere.at_all", "")}
