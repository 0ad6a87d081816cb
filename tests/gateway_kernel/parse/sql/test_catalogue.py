"""Questions, answers and their JSON form."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_kernel.parse.sql.catalogue import UNANSWERED, Catalogue, Question, Relation, parse_name, qualified

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(st.one_of(st.just(""), names), names)
def test_a_qualified_name_reads_back(schema: str, name: str) -> None:
    """Quoting keeps dots, quotes and capitals apart."""
    assert parse_name(qualified(schema, name)) == (schema, name)


def test_two_names_that_look_alike_have_two_keys() -> None:
    """A dot inside a name is not a schema."""
    assert Question("relation", "a", "b").key != Question("relation", "", "a.b").key


def test_not_asked_differs_from_not_there() -> None:
    """None is an answer."""
    known = Catalogue().knowing(Question("relation", "", "gone"), None)
    assert known.relation("", "gone") is None
    assert known.relation("", "other") is UNANSWERED


def test_a_relation_is_known_under_its_full_name_too() -> None:
    """The answer to one name answers the other: it is the same relation in the same session."""
    known = Catalogue().knowing(Question("relation", "", "t"), {"oid": 1, "schema": "s", "name": "t", "kind": "r"})
    assert isinstance(known.relation("s", "t"), Relation)
    assert known.relation("other", "t") is UNANSWERED


def test_a_malformed_answer_is_refused() -> None:
    """An answer in another shape raises before it is believed."""
    with pytest.raises(msgspec.ValidationError):
        Catalogue().knowing(Question("relation", "", "t"), {"oid": "1"})
