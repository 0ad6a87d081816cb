"""Text to tree: hostile text neither raises anything unforeseen nor ends the process."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway_kernel.model import EffectKind, Operation
from gateway_kernel.parse.sql.postgres import READER
from gateway_kernel.parse.sql.tree import MAX_STATEMENT, UnparsedError, parsed

words = st.sampled_from(
    "select from where ( ) , ; ' \" -- /* */ $$ :: a 1 + delete insert into with as * union not case when e'\\ \0 u& $1 . [ ] explain copy".split()  # noqa: SIM905  (read as text)
)


@given(st.one_of(st.text(), st.lists(words, max_size=40).map(" ".join)))
@example("select '\ud800'")
@example("select 1\0; drop table t")
@example("select " + "(" * 30_000)
@example("select " + "not " * 30_000 + "true")
def test_any_text_is_read_or_unknown(text: str) -> None:
    """Reading is total: facts, or an unknown effect with a problem."""
    facts = READER.read(Operation("op", "postgres", text)).facts
    assert facts.effects
    assert facts.complete != facts.has(EffectKind.UNKNOWN)
    assert facts.complete == (facts.problem == "")


@pytest.mark.parametrize(
    "text",
    [
        "select 1" + "+1" * 200_000,
        "select 1" + " + f(1, 2)" * 60_000,
        "select 1, 2" + " union select 1, 2" * 50_000,
        "select a" + "::a" * 200_000,
        "select " + "- " * 100_000 + "1",
        "select " + "(select " * 20_000,
        "select " + "array[" * 50_000,
        "select 1 " + "is null " * 100_000,
        "select * from a" + " cross join a" * 60_000,
    ],
    ids=lambda text: text[:24],
)
def test_nesting_that_would_overflow_the_parser_is_refused(text: str) -> None:
    """libpg_query recurses in C: such a text would end the process and everybody's sessions with it."""
    with pytest.raises(UnparsedError, match="nested too deeply"):
        parsed(text)


def test_a_long_flat_text_is_read() -> None:
    """Length alone is no reason: lists of values grow wide, not deep."""
    assert len(parsed("insert into t values " + ", ".join(["(1, 'a', 2.5, null)"] * 20_000)).stmts) == 1


def test_a_text_above_the_limit_is_refused() -> None:
    """The limit is in bytes."""
    with pytest.raises(UnparsedError, match="at most"):
        parsed("select '" + "ä" * (MAX_STATEMENT // 2) + "'")


def test_a_problem_says_where_the_grammar_stopped() -> None:
    """The refusal helps whoever wrote the statement."""
    with pytest.raises(UnparsedError, match='syntax error at or near "form"'):
        parsed("select * form t")
