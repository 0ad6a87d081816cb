"""A review: the durable wait for people about one operation, as one transition table.

The store applies `after` atomically and keeps the result; a tally of decisions is derived, never counted from events. Everything
that changes the state of a review is in this file; the diagram in docs/reviews.md is made from `TRANSITIONS`.
"""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from gateway_kernel.errors import TransitionError
from gateway_kernel.model import Instant
from gateway_kernel.verdict import ReviewTerms


class State(StrEnum):
    """Where a review stands."""

    OPEN = "open"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    USED = "used"
    FINISHED = "finished"


class Event(StrEnum):
    """What can happen to a review."""

    QUORUM = "quorum"
    DENY = "deny"
    DEADLINE = "deadline"
    WITHDRAW = "withdraw"
    CONSUME = "consume"
    GIVE_BACK = "give_back"
    OUTCOME = "outcome"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.OPEN, Event.QUORUM): State.APPROVED,
    (State.OPEN, Event.DENY): State.DENIED,
    (State.OPEN, Event.DEADLINE): State.EXPIRED,
    (State.OPEN, Event.WITHDRAW): State.WITHDRAWN,
    (State.APPROVED, Event.CONSUME): State.USED,
    (State.APPROVED, Event.DEADLINE): State.EXPIRED,  # approved, but the grant ran out unused
    (State.APPROVED, Event.WITHDRAW): State.WITHDRAWN,
    (State.USED, Event.GIVE_BACK): State.APPROVED,  # the edge crashed before it sent anything
    (State.USED, Event.OUTCOME): State.FINISHED,
}

JOINABLE = frozenset({State.OPEN, State.APPROVED})
"""An identical operation joins a review in these states; in any other it opens a new one."""


def after(state: State, event: Event) -> State:
    """Return the state after `event`; raise `TransitionError` if the table has no such line."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise TransitionError(f"a review that is {state} cannot take {event}") from None


class Choice(StrEnum):
    """What a person decided."""

    APPROVE = "approve"
    DENY = "deny"


class PersonDecision(msgspec.Struct, frozen=True):
    """One person's decision. `id` makes a repeated submission harmless; `person` is the signed-in identity, lower case."""

    id: str
    person: str
    choice: Choice
    at: Instant
    reason: str = ""


class Tally(msgspec.Struct, frozen=True):
    """What the decisions so far amount to. `event` is None while the review stays open."""

    event: Event | None
    approvers: tuple[str, ...]
    missing: int
    reason: str = ""


def tally(
    terms: ReviewTerms, decisions: Iterable[PersonDecision], *, eligible: frozenset[str], owners: frozenset[str]
) -> Tally:
    """Count distinct eligible people (invariant 6): one person once, owners never unless the terms say so; one denial denies.

    `eligible` and `owners` hold identities in lower case. Decisions of anybody else count for nothing.
    """
    approvers: dict[str, None] = {}
    for decision in decisions:
        person = decision.person.lower()
        if person not in eligible or (person in owners and not terms.owners_may_approve):
            continue
        if decision.choice is Choice.DENY:
            return Tally(
                Event.DENY, (), terms.quorum - len(approvers), f"Denied by {person}: {decision.reason}".rstrip(": ")
            )
        approvers.setdefault(person)
    missing = max(0, terms.quorum - len(approvers))
    return Tally(None if missing else Event.QUORUM, tuple(approvers), missing)
