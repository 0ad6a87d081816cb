"""How the answers of several rules become one verdict: the draft that actions write into, and the stricter of two obligations.

`deny` > `review` > `allow` > the default. Nothing is evaluated here, and nothing depends on the order of the rules except which
reason is given first.
"""

from collections.abc import Iterable

import msgspec

from gateway_kernel.verdict import (
    FILTERS,
    RESPONSES,
    STRICTNESS,
    ColumnMask,
    Decision,
    DetectMask,
    Escalation,
    Filter,
    Obligations,
    Responses,
    ReviewTerms,
    Rewrite,
    Strategy,
    Verdict,
    stricter_strategy,
)

DEFAULT_RULE = "default"
"""The rule named by a verdict that no rule made."""
BOTH = " & "
"""Joins two approver groups of which a person must be in both."""


class Statement(msgspec.Struct, frozen=True):
    """What one rule contributes to a decision: its id, and the reason it gives, "" if none."""

    rule: str
    reason: str = ""


class Draft:
    """A verdict being made. Actions add to it in the order of the rules; `verdict` closes it."""

    def __init__(self, exceeded: frozenset[str] = frozenset()) -> None:
        self.exceeded = exceeded
        self.matched: list[str] = []
        self.denials: list[Statement] = []
        self.reviews: list[tuple[Statement, ReviewTerms]] = []
        self.allows: list[Statement] = []
        self.no_more_reviews: list[Statement] = []
        self.columns: list[ColumnMask] = []
        self.detect: list[DetectMask] = []
        self.binary: list[bool] = []
        self.rewrites: list[Rewrite] = []
        self.responses: list[Responses] = []

    def verdict(self, policy: str, otherwise: Decision, otherwise_terms: ReviewTerms | None) -> Verdict:
        """Close the draft. `otherwise` is the decision where nothing decided, `otherwise_terms` its review if it is one."""
        rewrite = self._rewrite()
        if not (self.denials or self.reviews or self.allows):
            self._fall_back(otherwise, otherwise_terms)
        if self.reviews and self.no_more_reviews:
            self.denials.extend(self.no_more_reviews)

        terms: ReviewTerms | None = None
        if self.denials:
            decision, statements = Decision.DENY, self.denials
        elif self.reviews:
            decision, statements = Decision.REVIEW, [statement for statement, _ in self.reviews]
            terms = combined_terms(terms for _, terms in self.reviews)
        else:
            decision, statements = Decision.ALLOW, self.allows
        return Verdict(
            decision,
            rules=tuple(dict.fromkeys(statement.rule for statement in statements)),
            matched=tuple(self.matched),
            reason=next((statement.reason for statement in statements if statement.reason), ""),
            obligations=Obligations(
                columns=combined_columns(self.columns),
                detect=combined_detectors(self.detect),
                rewrite=rewrite,
                responses=_most(self.responses),
                pass_binary=bool(self.binary) and all(self.binary),
            ),
            review=terms,
            policy=policy,
        )

    def _fall_back(self, otherwise: Decision, terms: ReviewTerms | None) -> None:
        if otherwise is Decision.REVIEW and terms is not None:
            self.reviews.append((Statement(DEFAULT_RULE, "No rule of the policy decides this."), terms))
        else:
            self.denials.append(Statement(DEFAULT_RULE, "No rule of the policy allows this."))

    def _rewrite(self) -> Rewrite | None:
        """One rewrite out of all; two rules that would run different things instead cannot both be obeyed, so that denies."""
        if not self.rewrites:
            return None
        first, replace, parts = self.rewrites[0], None, dict[str, str | None]()
        for rewrite in self.rewrites:
            clash = replace is not None and rewrite.replace is not None and replace != rewrite.replace
            clash = clash or any(parts.get(key, value) != value for key, value in rewrite.parts.items())
            if clash:
                reason = f"It would rewrite this in another way than rule {first.rule} does."
                self.denials.append(Statement(rewrite.rule, reason))
                continue
            replace = rewrite.replace if replace is None else replace
            parts |= rewrite.parts
        limits = [rewrite.limit for rewrite in self.rewrites if rewrite.limit is not None]
        read_only = any(rewrite.read_only for rewrite in self.rewrites)
        return Rewrite(min(limits, default=None), read_only, replace, parts, first.rule)


def _most(responses: list[Responses]) -> Responses:
    """Of several `record` rules the one that keeps the most; without any, the digest alone."""
    for most in RESPONSES:
        if most in responses:
            return most
    return "digest"


def combined_columns(masks: Iterable[ColumnMask]) -> tuple[ColumnMask, ...]:
    """The same columns under two masks get the stricter strategy and the stricter filter; the rule is the stricter strategy's.

    Only equal patterns meet here. Where different patterns name one column, whoever resolves the column takes the strictest.
    """
    strictest: dict[str, tuple[Strategy, Filter, str]] = {}
    for mask in masks:
        for column in mask.columns:
            known = strictest.get(column)
            if known is None:
                strictest[column] = (mask.strategy, mask.filter, mask.rule)
                continue
            rule = mask.rule if STRICTNESS.index(mask.strategy) < STRICTNESS.index(known[0]) else known[2]
            filtered = known[1] if FILTERS.index(known[1]) <= FILTERS.index(mask.filter) else mask.filter
            strictest[column] = (stricter_strategy(known[0], mask.strategy), filtered, rule)
    grouped: dict[tuple[Strategy, Filter, str], list[str]] = {}
    for column, terms in strictest.items():
        grouped.setdefault(terms, []).append(column)
    return tuple(
        ColumnMask(tuple(columns), strategy, filtered, rule) for (strategy, filtered, rule), columns in grouped.items()
    )


def combined_detectors(masks: Iterable[DetectMask]) -> tuple[DetectMask, ...]:
    """The same detector under two masks gets the stricter strategy."""
    strictest: dict[str, tuple[Strategy, str]] = {}
    for mask in masks:
        for name in mask.detect:
            known = strictest.get(name)
            if known is None or STRICTNESS.index(mask.strategy) < STRICTNESS.index(known[0]):
                strictest[name] = (mask.strategy, mask.rule)
    grouped: dict[tuple[Strategy, str], list[str]] = {}
    for name, terms in strictest.items():
        grouped.setdefault(terms, []).append(name)
    return tuple(DetectMask(tuple(names), strategy, rule) for (strategy, rule), names in grouped.items())


def combined_terms(all_terms: Iterable[ReviewTerms]) -> ReviewTerms:
    """Several reviews of one operation become the strictest one: a person must be eligible under each of them."""
    first, *rest = all_terms
    for terms in rest:
        first = _stricter_terms(first, terms)
    return first


def _stricter_terms(a: ReviewTerms, b: ReviewTerms) -> ReviewTerms:
    reminders = [remind for remind in (a.remind, b.remind) if remind is not None]
    escalate: Escalation | None = None
    if a.escalate is not None and b.escalate is not None:
        wider = in_both((*a.approvers, *a.escalate.approvers), (*b.approvers, *b.escalate.approvers))
        escalate = Escalation(max(a.escalate.after, b.escalate.after), wider)
    return ReviewTerms(
        approvers=in_both(a.approvers, b.approvers),
        quorum=max(a.quorum, b.quorum),
        expires=min(a.expires, b.expires),
        remind=min(reminders, default=None),
        escalate=escalate,
        owners_may_approve=a.owners_may_approve and b.owners_may_approve,
        link_decides=a.link_decides and b.link_decides,
    )


def in_both(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    """Those who are in a group of `a` and in a group of `b`, as group names joined by `BOTH`; sorted, none repeated or implied."""
    wanted = {frozenset(one.split(BOTH)) | frozenset(other.split(BOTH)) for one in a for other in b}
    minimal = [groups for groups in wanted if not any(smaller < groups for smaller in wanted)]
    return tuple(sorted(BOTH.join(sorted(groups)) for groups in minimal))
