"""`then: cap`: at most so much of something, for a session or an agent, in a window of time."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from gateway_kernel.policy.actions.action import Duration, Groups, Objection, seconds
from gateway_kernel.policy.actions.review import ReviewSettings, check_terms, terms_of
from gateway_kernel.policy.obligations import Draft, Statement
from gateway_kernel.verdict import Cap, CapQuantity


class CapSettings(msgspec.Struct, frozen=True):
    """`limit` of `quantity` per `session` or `agent` in `window` (none: as long as the session); then `deny` or `review`."""

    quantity: CapQuantity
    limit: Annotated[int, msgspec.Meta(ge=0)]
    per: Literal["session", "agent"] = "session"
    window: Duration | None = None
    then: Literal["deny", "review"] = "deny"
    review: ReviewSettings | None = None


def cap_of(rule: str, settings: CapSettings) -> Cap:
    """The settings as those who count need them."""
    window = 0 if settings.window is None else seconds(settings.window)
    return Cap(settings.quantity, settings.limit, settings.per, window, settings.then, rule)


class CapAction:
    """Speaks only once the limit is used up. A cap on `reviews` speaks only about an operation that would need one more."""

    name = "cap"
    settings = CapSettings

    def check(self, settings: CapSettings, groups: Groups) -> Iterator[Objection]:
        if settings.per == "agent" and settings.window is None:
            yield Objection(("per",), "a cap per agent needs a `window`: an agent has no end")
        if (settings.then == "review") != (settings.review is not None):
            what = "`then: review` and a `review` section with its terms belong together"
            yield Objection(("review",) if settings.review else ("then",), what)
        if settings.quantity == "reviews" and settings.then == "review":
            yield Objection(("then",), "a cap on reviews cannot ask for another review; use `then: deny`")
        if settings.review is not None:
            for objection in check_terms(settings.review, groups):
                yield Objection(("review", *objection.path), objection.what, objection.fatal)

    def apply(self, rule: Statement, settings: CapSettings, draft: Draft) -> None:
        if rule.rule not in draft.exceeded:
            return
        spent = Statement(rule.rule, rule.reason or _reason(settings))
        if settings.quantity == "reviews":
            draft.no_more_reviews.append(spent)
        elif settings.review is not None:
            draft.reviews.append((spent, terms_of(settings.review)))
        else:
            draft.denials.append(spent)


def _reason(settings: CapSettings) -> str:
    window = f" in {settings.window}" if settings.window else ""
    return f"The {settings.per} has used up its {settings.limit} {settings.quantity.replace('_', ' ')}{window}."


ACTION = CapAction()
