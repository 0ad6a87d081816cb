"""The catalogue questions as SQL, on the distribution's PostgreSQL and on version 18."""

from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
import pytest

from edge_agent.protocols.postgres.catalogue import UNREADABLE, statement
from gateway_kernel.model import Json
from gateway_kernel.parse.sql.catalogue import KINDS, Callable, Catalogue, Question, QuestionKind, Relation, Type
from tests.bypass import SCHEMA
from tests.support.facts import operation_on
from tests.support.postgres import Postgres

OPERANDS = ("name", "oid", "text", "bigint", "integer", '"char"')


@pytest.fixture(scope="module", params=["postgres", "postgres18"])
def shop(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database with something of everything."""
    server: Postgres = request.getfixturevalue(request.param)
    name = server.create_database(SCHEMA)
    with server.connect(name) as connection:
        yield connection
    server.drop_database(name)


def asked(connection: psycopg.Connection[Any], kind: QuestionKind, name: str, schema: str = "") -> Json:
    """The JSON that this server answers, checked for its shape: one row of one text column."""
    question = Question(kind, schema, name)
    cursor = connection.execute(statement(question))
    assert cursor.description is not None
    assert [column.type_code for column in cursor.description] == [25]
    ((text,),) = cursor.fetchall()
    answer: Json = msgspec.json.decode(text)
    Catalogue().knowing(question, answer)
    return answer


def relation(connection: psycopg.Connection[Any], name: str, schema: str = "") -> Relation:
    """The relation that this name means."""
    return msgspec.convert(asked(connection, "relation", name, schema), Relation)


def functions(connection: psycopg.Connection[Any], name: str, schema: str = "") -> list[Callable]:
    """The candidates for this name."""
    return msgspec.convert(asked(connection, "function", name, schema), list[Callable])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["none", "", "it's", 'a"b', "a\\'; DROP TABLE orders; --", "$1", "$2", "x" * 200, "ä.b", "%s"]
)
def test_a_name_that_means_nothing_is_answered(shop: psycopg.Connection[Any], kind: QuestionKind, name: str) -> None:
    """Whatever the name: no error, which would abort the client's own transaction."""
    assert asked(shop, kind, name) in (None, [])
    assert asked(shop, kind, "orders" if kind == "relation" else "x", name or "none") in (None, [])


def test_every_relation_and_type_is_answered(shop: psycopg.Connection[Any]) -> None:
    """Also views, indexes, sequences, partitions, toast tables, and everything in the system schemas."""
    for schema, name in shop.execute(
        "SELECT nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
    ).fetchall():
        assert asked(shop, "relation", name, schema) is not None
    for schema, name in shop.execute(
        "SELECT nspname, typname FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace WHERE t.oid >= 16384"
    ).fetchall():
        assert asked(shop, "type", name, schema) is not None


def test_a_relation_is_told_with_all_that_hangs_on_it(shop: psycopg.Connection[Any]) -> None:
    """Columns, defaults, checks, index expressions, references."""
    found = relation(shop, "customers")
    assert (found.label, found.kind, found.builtin) == ("public.customers", "r", False)
    assert [column.name for column in found.columns] == ["id", "name", "email", "ssn", "card", "balance", "note"]
    assert found.columns[5].default == "0"
    assert found.checks == ("(length(card) < 64)",)
    assert found.indexes == ("lower(email)",)
    assert [(reference.table, reference.on_delete) for reference in found.references] == [("orders", "c")]


def test_views_rules_triggers_and_policies_are_told(shop: psycopg.Connection[Any]) -> None:
    """As text that the kernel parses again: the dependencies of the server leave out its own objects."""
    assert "purge()" in relation(shop, "cleaned").definition
    (rule,) = relation(shop, "ruled").rules
    assert (rule.event, "DELETE FROM audit_log" in rule.text.replace("public.", "")) == ("i", True)
    (trigger,) = relation(shop, "watched").triggers
    assert (set(trigger.events), trigger.function.label) == ({"i", "u"}, "public.on_write")
    assert relation(shop, "documents").policies == ("may_see(owner)",)


def test_families_are_told_in_both_directions(shop: psycopg.Connection[Any]) -> None:
    """With everything of the partitions that a write would run."""
    assert set(relation(shop, "events").children) == {"public.events_2025", "public.events_2026"}
    assert relation(shop, "events_2025").parents == ("public.events",)
    with shop.transaction(force_rollback=True):
        shop.execute("CREATE TRIGGER late BEFORE INSERT ON events_2026 FOR EACH ROW EXECUTE FUNCTION on_write()")
        assert [trigger.name for trigger in relation(shop, "events").triggers] == ["late"]


def test_uncommitted_and_temporary_definitions_are_seen(shop: psycopg.Connection[Any]) -> None:
    """The reason why the questions go in-band."""
    with shop.transaction(force_rollback=True):
        shop.execute("CREATE TEMP TABLE orders (secret text)")
        found = relation(shop, "orders")
        assert (found.temporary, [column.name for column in found.columns]) == (True, ["secret"])
        assert relation(shop, "orders", "pg_temp").oid == found.oid
        shop.execute("CREATE FUNCTION pg_temp.now() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
        assert [candidate.schema for candidate in functions(shop, "now")] == ["pg_catalog"]
        assert len(functions(shop, "now", "pg_temp")) == 1
    assert not relation(shop, "orders").temporary


def test_functions_are_told_with_every_candidate(shop: psycopg.Connection[Any]) -> None:
    """A better match in another schema wins, so all of them count."""
    found = {candidate.label: candidate for candidate in functions(shop, "initcap")}
    assert set(found) == {"pg_catalog.initcap", "public.initcap"}
    assert (found["pg_catalog.initcap"].builtin, found["public.initcap"].builtin) == (True, False)
    assert [candidate.row for candidate in functions(shop, "spend")] == [True]
    assert [candidate.row for candidate in functions(shop, "purge")] == [False]
    assert any(candidate.variadic for candidate in functions(shop, "concat"))


def test_operators_of_the_server_are_left_out(shop: psycopg.Connection[Any]) -> None:
    """Only somebody's own are told, with the function behind them."""
    assert asked(shop, "operator", "=") == []
    (own,) = msgspec.convert(asked(shop, "operator", "==="), list[Callable])
    assert own.label == "public.same"


def test_types_are_told_with_what_runs_for_them(shop: psycopg.Connection[Any]) -> None:
    """Domains, composites, arrays, casts."""

    def told(name: str) -> Type:
        return msgspec.convert(asked(shop, "type", name), Type)

    assert told("checked_text").checks == ("(checked(VALUE))",)
    assert told("_checked_text").name == "checked_text"
    assert "public.checked_text" in told("pair").fields
    assert [candidate.label for candidate in told("mood").callables] == ["public.mood_level"]
    assert told("customers").relation == "public.customers"
    assert told("text").builtin


def test_extensions_are_told_by_name(shop: psycopg.Connection[Any]) -> None:
    """For the functions whose code is the extension's own C library."""
    carried = {name for (name,) in shop.execute("SELECT name FROM pg_available_extensions").fetchall()}
    extension = next(name for name in ("citext", "vector") if name in carried)
    with shop.transaction(force_rollback=True):
        shop.execute(f"CREATE EXTENSION {extension}".encode())
        assert {candidate.extension for candidate in msgspec.convert(asked(shop, "operator", "="), list[Callable])} == {
            extension
        }


def test_the_search_path_cannot_change_a_question(shop: psycopg.Connection[Any]) -> None:
    """Shadow every operator and function that the questions use: none of ours is called."""
    with shop.transaction(force_rollback=True):
        shop.execute("CREATE SCHEMA evil")
        for kind in OPERANDS:
            shop.execute(
                f"CREATE FUNCTION evil.fail({kind}, {kind}) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$".encode()
            )
            for operator in ("=", "<>", "<", ">=", "<=", "||", "~", "&"):
                shop.execute(
                    f"CREATE OPERATOR evil.{operator} (leftarg = {kind}, rightarg = {kind}, function = evil.fail)".encode()
                )
        for name in ("unnest(name[])", "pg_get_viewdef(oid)", "replace(text, text, text)", "current_schemas(boolean)"):
            shop.execute(
                f"CREATE FUNCTION evil.{name} RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$".encode()
            )
        shop.execute("CREATE DOMAIN evil.text AS pg_catalog.text CHECK (false)")
        shop.execute("SET LOCAL search_path = evil, public, pg_catalog")
        assert relation(shop, "customers").label == "public.customers"
        assert [candidate.label for candidate in functions(shop, "spend")] == ["public.spend"]
        assert asked(shop, "operator", "===") != []
        assert msgspec.convert(asked(shop, "type", "text"), Type).schema == "evil"


def test_a_definition_that_could_be_forged_is_not_given(shop: psycopg.Connection[Any]) -> None:
    """The server's own pg_get_viewdef looks the view up with whatever = the search path offers."""
    with shop.transaction(force_rollback=True):
        shop.execute("CREATE SCHEMA evil")
        shop.execute("CREATE FUNCTION evil.never(oid, oid) RETURNS boolean LANGUAGE sql AS 'SELECT false'")
        shop.execute("CREATE OPERATOR evil.= (leftarg = oid, rightarg = oid, function = evil.never)")
        shop.execute("SET LOCAL search_path = evil, public, pg_catalog")
        assert relation(shop, "contacts").definition == UNREADABLE
        assert relation(shop, "ruled").rules[0].text == UNREADABLE
        assert not operation_on(shop, "SELECT * FROM contacts").facts.complete


def test_the_questions_run_for_a_role_without_privileges(shop: psycopg.Connection[Any]) -> None:
    """What the catalogue says does not depend on what the role may read."""
    with shop.transaction(force_rollback=True):
        shop.execute("CREATE ROLE nobody_special")
        shop.execute("SET LOCAL ROLE nobody_special")
        assert relation(shop, "documents").policies == ("may_see(owner)",)
        assert relation(shop, "contacts").definition


def test_the_questions_run_in_a_read_only_transaction(shop: psycopg.Connection[Any]) -> None:
    """They change nothing."""
    with shop.transaction(force_rollback=True):
        shop.execute("SET TRANSACTION READ ONLY")
        for kind in KINDS:
            asked(shop, kind, "orders")
