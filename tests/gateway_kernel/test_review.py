"""Reviews: one transition table, and a tally that counts people, not clicks."""

from itertools import product

import pytest

from gateway_kernel.errors import TransitionError
from gateway_kernel.review import JOINABLE, TRANSITIONS, Choice, Event, PersonDecision, State, after, tally
from gateway_kernel.verdict import ReviewTerms

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"
TWO = ReviewTerms(("dba",), quorum=2)
ELIGIBLE = frozenset({ANN, BOB})
NOBODY: frozenset[str] = frozenset()


def by(person: str, choice: Choice = Choice.APPROVE, reason: str = "") -> PersonDecision:
    return PersonDecision(f"{person}-{choice}", person, choice, 0, reason)


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_only_the_table_moves_a_review(state: State, event: Event) -> None:
    """Every pair either stands in the table or is refused."""
    if (state, event) in TRANSITIONS:
        assert after(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(TransitionError, match=f"{state} cannot take {event}"):
            after(state, event)


def test_nothing_leads_out_of_an_end() -> None:
    """Denied, expired, withdrawn and finished reviews stay so."""
    ends = set(State) - {state for state, _ in TRANSITIONS}
    assert ends == {State.DENIED, State.EXPIRED, State.WITHDRAWN, State.FINISHED}
    assert not ends & JOINABLE


def test_a_quorum_is_of_distinct_people() -> None:
    """The same person twice, in whatever case, is one."""
    once = tally(TWO, [by(ANN), by("Ann@Example.com")], eligible=ELIGIBLE, owners=NOBODY)
    assert (once.event, once.missing) == (None, 1)
    twice = tally(TWO, [by(ANN), by(BOB)], eligible=ELIGIBLE, owners=NOBODY)
    assert (twice.event, twice.approvers) == (Event.QUORUM, (ANN, BOB))


def test_an_owner_does_not_count() -> None:
    """The owner of the agent may neither approve nor fill the quorum, unless the policy says so."""
    assert tally(TWO, [by(ANN), by(BOB)], eligible=ELIGIBLE, owners=frozenset({ANN})).event is None
    allowed = ReviewTerms(("dba",), quorum=2, owners_may_approve=True)
    assert tally(allowed, [by(ANN), by(BOB)], eligible=ELIGIBLE, owners=frozenset({ANN})).event is Event.QUORUM


@pytest.mark.parametrize("choice", Choice)
def test_a_stranger_changes_nothing(choice: Choice) -> None:
    """Neither approval nor denial of somebody who was not asked counts."""
    assert tally(TWO, [by(EVE, choice)], eligible=ELIGIBLE, owners=NOBODY).event is None


def test_one_denial_denies() -> None:
    """Even after an approval, and with its reason."""
    result = tally(TWO, [by(ANN), by(BOB, Choice.DENY, "not today")], eligible=ELIGIBLE, owners=NOBODY)
    assert result.event is Event.DENY
    assert "not today" in result.reason
