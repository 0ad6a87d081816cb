"""A catalogue declared in a policy's test answers what a statement asks."""

from gateway_kernel.model import EffectKind, Operation
from gateway_kernel.parse.readers import reader_for
from gateway_kernel.parse.sql.declared import answered

TABLES = {"orders": ("id", "total"), "audit.events": ("id",)}


def declared(text: str) -> Operation:
    return reader_for("postgres").declare(Operation("o", "postgres", text), TABLES)


def test_declared_tables_are_resolved():
    """Names are qualified, columns are known, nothing is left open."""
    facts = declared("SELECT o.total, now() FROM orders o JOIN audit.events e ON e.id = o.id").facts
    assert facts.complete
    assert {effect.object for effect in facts.effects} == {"public.orders", "audit.events"}


def test_the_servers_own_is_there():
    """Catalogue relations and pure functions are reads."""
    facts = declared("SELECT count(*), pg_get_userbyid(relowner) FROM pg_class GROUP BY 2").facts
    assert facts.only(EffectKind.READ)


def test_what_is_not_declared_runs_code():
    """A function that nobody declared is `execute`, as on a server where it might do anything."""
    assert declared("SELECT purge(total) FROM orders").facts.has(EffectKind.EXECUTE)


def test_a_catalogue_that_is_given_stays():
    """A test that brings a whole catalogue is not touched."""
    given = Operation("o", "postgres", "SELECT 1", context={"catalogue": {"relation": {}}})
    assert answered(given, TABLES) is given
