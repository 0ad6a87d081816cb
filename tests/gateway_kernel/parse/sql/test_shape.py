"""Texts of one shape have the same facts, and a number that decides something keeps a text to itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_kernel.model import Facts, Operation
from gateway_kernel.parse.sql.postgres import READER
from gateway_kernel.parse.sql.shape import Shapes

TABLES = {"t": ("id", "n", "name"), "u": ("id", "n")}

SHARED = [
    "SELECT n FROM t WHERE id = {}",
    "SELECT n FROM t WHERE id = {} AND n > {} OR NOT n = {};",
    "SELECT n FROM t WHERE id IN ({}, {}, {})",
    "SELECT n FROM t WHERE id BETWEEN {} AND {}",
    "SELECT t.n FROM t JOIN u ON t.id = u.id WHERE u.n < -{}",
    "INSERT INTO t (id, n) VALUES ({}, {}), ({}, {})",
    "UPDATE t SET n = n + {} WHERE id = {}",
    "DELETE FROM t WHERE id = {}",
    "DELETE FROM t WHERE {} = {}",  # whether it filters must not depend on whether they are equal
    "DELETE FROM t WHERE id = {} OR {} < {}",
    "SELECT n FROM t WHERE id = {} + {} * n",
]

APART = [
    "SELECT n FROM t WHERE id = 1 LIMIT 7",
    "SELECT n, name FROM t ORDER BY 1",
    "SELECT n FROM t GROUP BY 1",
    "SELECT 7 FROM t",
    "SELECT n FROM t WHERE abs(3) = id",
    "SELECT n FROM t WHERE id = (SELECT 1)",
    "SELECT n FROM t WHERE name = '7'",
    "SELECT n FROM t WHERE id = 1 -- 7",
    "SELECT n FROM t WHERE id = $1 AND n = 7",
    "SELECT n FROM t WHERE id = 12345678901",
    "SELECT n FROM t WHERE id = 1.5",
    "CREATE TABLE v (c varchar(20))",
    "SELECT 1; SELECT 2",
    "SELECT pg_sleep(7)",
    "SET work_mem = 100",
    "SELECT n FROM t WHERE id = CAST(7 AS varchar(3))",
    "FETCH 5 FROM c",
]


def facts(text: str) -> Facts:
    return READER.declare(Operation("", "postgres", text), TABLES).facts


@pytest.mark.parametrize("pattern", SHARED)
@given(data=st.data())
def test_texts_of_one_shape_have_the_same_facts(pattern: str, data: st.DataObject) -> None:
    """Whatever the numbers: the facts of the representative are those of the text itself."""
    numbers = st.lists(st.integers(0, 999_999_999), min_size=pattern.count("{}"), max_size=pattern.count("{}"))
    first, second = (pattern.format(*data.draw(numbers)) for _ in range(2))
    shapes = Shapes()
    assert shapes.representative(first) == first
    assert shapes.representative(second) == first
    assert facts(first) == facts(second)


@pytest.mark.parametrize("text", APART)
def test_a_number_that_decides_something_is_not_replaced(text: str) -> None:
    """The text stands for itself, and for no other."""
    shapes = Shapes()
    assert shapes.representative(text) == text
    other = text.replace("7", "8").replace("1", "3").replace("5", "6")
    assert shapes.representative(other) == other


@given(st.text(alphabet="SELECT FROMn1207t,.*=<>()+;-\n", max_size=60))
def test_any_text_is_its_own_or_another_of_equal_facts(text: str) -> None:
    """Nothing raises, and a representative never has other facts."""
    shapes = Shapes()
    shapes.representative(text.replace("7", "2"))
    assert facts(shapes.representative(text)) == facts(text)
