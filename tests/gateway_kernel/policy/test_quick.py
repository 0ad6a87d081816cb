"""The shortcut for simple conditions says what CEL says."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_kernel.policy.cel import Answer, Bench, compile_condition
from tests.gateway_kernel.policy.rules import NOON, operation, policy, rule, session

NUMBERS = ("session.operations", "session.rows_read", "operation.size", "time.hour", "time.weekday")
SYMBOLS = st.sampled_from(("==", "!=", "<", "<=", ">", ">="))
COMPARISONS = st.one_of(
    st.builds(
        "{} {} {}".format,
        st.sampled_from(NUMBERS),
        SYMBOLS,
        st.one_of(st.integers(0, 24).map(str), st.sampled_from(NUMBERS)),
    ),
    st.builds("{} {} {}".format, st.integers(0, 24), SYMBOLS, st.sampled_from(NUMBERS)),
)
CONDITIONS = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        inner.map("!({})".format),
    ),
    max_leaves=5,
)


@settings(max_examples=150)
@given(CONDITIONS, st.integers(0, 24), st.integers(0, 24), st.integers(0, 24), st.integers(0, 4_000_000_000_000_000))
def test_the_shortcut_agrees_with_cel(text: str, operations: int, rows: int, size: int, now: int):
    """For any such condition and any counters and time both answers are the same."""
    condition, _ = compile_condition(text)
    used = session()
    used.operations, used.rows_read = operations, rows
    asked = msgspec.structs.replace(operation(), size=size)
    assert condition.quick is not None
    answer, _ = Bench(condition.reads, asked, used, now).answer(condition)
    assert condition.quick(asked, used, now) is (answer is Answer.YES)


@pytest.mark.parametrize(
    "text",
    [
        'sql.parameters.exists(p, p == "7")',
        'session.operations > 3 && resource.name == "x"',
        "session.tainted.size() > 3",
        "has(session.operations)",
        "session.started < time.now",
        "operation.size > 1 ? true : false",
    ],
)
def test_everything_else_stays_with_cel(text: str):
    """What could err, or reads more than counters and times, has no shortcut."""
    assert compile_condition(text)[0].quick is None


def test_what_the_statement_decides_alone_is_not_asked_again():
    """`false && counter` is settled by the statement: the verdict is remembered, and another statement is still asked."""
    rules = policy(
        rule("all", "true", "allow"),
        rule("tired", 'operation.verb == "DELETE" && session.tainted.exists(t, t == "pii")', "deny"),
    )
    used = session()
    used.tainted = ("pii",)
    reading, deleting = operation(verb="SELECT"), operation("delete", verb="DELETE")
    assert rules.evaluate(reading, session(), NOON) is rules.evaluate(reading, used, NOON)
    assert rules.evaluate(deleting, session(), NOON).rules == ("all",)
    assert rules.evaluate(deleting, used, NOON).rules == ("tired",)
    assert rules.evaluate(deleting, session(), NOON).rules == ("all",)
