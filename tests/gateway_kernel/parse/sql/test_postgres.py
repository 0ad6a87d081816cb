"""The reader: what it keeps, and what it refuses to believe."""

import pytest

from gateway_kernel.model import EffectKind, Json, Operation, SqlFacts
from gateway_kernel.parse.readers import reader_for
from gateway_kernel.parse.sql.postgres import READER, REMEMBERED, PostgresReader

TABLE: Json = {"oid": 20_000, "schema": "public", "name": "t", "kind": "r", "columns": [{"name": "a", "number": 1}]}


def operation(text: str = "SELECT a FROM t", **context: Json) -> Operation:
    """An operation in a context that knows the table t."""
    return Operation("op", "postgres", text, context={"catalogue": {"relation": {"t": TABLE}}, **context})


def test_it_is_registered() -> None:
    """The registry leads here."""
    assert reader_for("postgres") is READER


def test_the_same_text_and_context_have_the_same_facts() -> None:
    """The same object, so that a policy can remember its verdict by it; also for an equal catalogue."""
    reader = PostgresReader()
    first = reader.read(operation())
    assert first.facts.complete
    assert reader.read(first).facts is first.facts
    assert reader.read(operation()).facts is first.facts


@pytest.mark.parametrize(
    "context",
    [
        {"role": "other"},
        {"in_transaction": True},
        {"search_path": ["shadow"]},
        {"catalogue": {"relation": {"t": {**TABLE, "kind": "v", "definition": "SELECT a FROM u"}}}},
    ],
    ids=lambda context: next(iter(context)),
)
def test_another_context_has_other_facts(context: dict[str, Json]) -> None:
    """Nothing is remembered across roles, transactions, search paths or catalogues."""
    reader = PostgresReader()
    first = reader.read(operation()).facts
    assert reader.read(operation(**context)).facts != first


def test_the_context_is_part_of_the_facts() -> None:
    """Role, search path and transaction state are told to policies."""
    family = READER.read(operation(role="app", search_path=["pg_catalog", "public"], in_transaction=True)).facts.family
    assert isinstance(family, SqlFacts)
    assert (family.role, family.search_path, family.in_transaction) == ("app", ("pg_catalog", "public"), True)


def test_memory_is_bounded() -> None:
    """What was read long ago is read again."""
    reader = PostgresReader()
    first = reader.read(operation("SELECT a FROM t -- 0")).facts
    for number in range(REMEMBERED):
        reader.read(operation(f"SELECT a FROM t -- {number + 1}"))
    assert reader.read(operation("SELECT a FROM t -- 0")).facts is not first


@pytest.mark.parametrize(
    "context",
    [
        {"catalogue": []},
        {"catalogue": {"relation": []}},
        {"catalogue": {"relation": {"t": {"oid": "one"}}}},
        {"catalogue": {"relation": {"t": [1]}}},
        {"search_path": 7},
        {"search_path": [["a"]]},
        {"role": {}},
        {"statement": 7},
    ],
)
def test_a_malformed_context_is_unknown(context: dict[str, Json]) -> None:
    """The control plane reads what an edge says: nonsense is refused and raises nothing."""
    facts = READER.read(operation(**context)).facts
    assert facts.has(EffectKind.UNKNOWN)
    assert facts.problem


def test_a_missing_answer_is_unknown() -> None:
    """The problem says what nobody asked."""
    facts = READER.read(operation("SELECT a FROM u")).facts
    assert not facts.complete
    assert "relation u" in facts.problem


def test_a_definition_that_leads_back_to_itself_ends() -> None:
    """A catalogue that an edge made up cannot keep the control plane busy."""
    views: Json = {
        name: {"oid": 1, "schema": "public", "name": name, "kind": "v", "definition": f"SELECT * FROM {other}"}
        for name, other in (("t", "u"), ("u", "t"))
    }
    assert READER.read(operation(catalogue={"relation": views})).facts.effects
