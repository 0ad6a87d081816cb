"""What a policy answers: a decision, the rules that made it, and obligations that hold whatever the decision.

Combination is here and nowhere else: `deny` > `review` > `allow`, and two obligations on the same thing combine to the
stricter. This module evaluates nothing.
"""

from enum import StrEnum
from typing import Literal

import msgspec

Strategy = Literal["null", "redact", "hash", "token", "partial"]
STRICTNESS: tuple[Strategy, ...] = ("null", "redact", "hash", "token", "partial")
Filter = Literal["deny", "equality", "allow"]
FILTERS: tuple[Filter, ...] = ("deny", "equality", "allow")
Responses = Literal["full", "head", "digest"]
RESPONSES: tuple[Responses, ...] = ("full", "head", "digest")


class Decision(StrEnum):
    """The answer about one operation."""

    ALLOW = "allow"
    REVIEW = "review"
    DENY = "deny"


class ColumnMask(msgspec.Struct, frozen=True):
    """Hide these columns (`table.column`, `schema.table.column`, `*` for any part) wherever their content flows.

    In JSON they name members by the end of their path, `$` being the root.
    """

    columns: tuple[str, ...]
    strategy: Strategy
    filter: Filter = "deny"
    rule: str = ""


class DetectMask(msgspec.Struct, frozen=True):
    """Hide what these detectors find in any response content."""

    detect: tuple[str, ...]
    strategy: Strategy
    rule: str = ""


class Rewrite(msgspec.Struct, frozen=True):
    """Change the operation before it is judged: `limit` rows, run `read_only`, or run `replace` instead (protocol's own text).

    `parts` holds what only one protocol knows (for HTTP: path, query, header, body); None removes a part.
    """

    limit: int | None = None
    read_only: bool = False
    replace: str | None = None
    parts: dict[str, str | None] = {}
    rule: str = ""


CapQuantity = Literal["operations", "rows_read", "bytes_read", "rows_written", "reviews"]


class Cap(msgspec.Struct, frozen=True):
    """At most `limit` of `quantity` for one session or agent in `window` seconds (0: the whole session); beyond it `then`."""

    quantity: CapQuantity
    limit: int
    per: Literal["session", "agent"] = "session"
    window: int = 0
    then: Literal["deny", "review"] = "deny"
    rule: str = ""

    @property
    def key(self) -> str:
        """The name under which `Session.usage` carries the amount used."""
        return f"{self.per}:{self.quantity}:{self.window}"


class Escalation(msgspec.Struct, frozen=True):
    """After `after` seconds these groups are asked as well."""

    after: int
    approvers: tuple[str, ...]


class ReviewTerms(msgspec.Struct, frozen=True):
    """Who must decide, how many of them, and until when. Times are seconds. Groups, not people: see `Policy.people`."""

    approvers: tuple[str, ...]
    quorum: int = 1
    expires: int = 7200
    remind: int | None = None
    escalate: Escalation | None = None
    owners_may_approve: bool = False
    link_decides: bool = False


class Obligations(msgspec.Struct, frozen=True):
    """What must be done whatever the decision. `pass_binary`: what no mask can look into may pass, because every mask says so."""

    columns: tuple[ColumnMask, ...] = ()
    detect: tuple[DetectMask, ...] = ()
    rewrite: Rewrite | None = None
    responses: Responses = "digest"
    pass_binary: bool = False

    @property
    def masks(self) -> bool:
        """True if anything in the response may have to be hidden."""
        return bool(self.columns or self.detect)


class Verdict(msgspec.Struct, frozen=True):
    """What the policy says of one operation. `rules` made the decision, `matched` is every rule that matched.

    `policy` is the digest of the policy that spoke; `reason` is that of the first deciding rule that gives one.
    """

    decision: Decision
    rules: tuple[str, ...] = ()
    matched: tuple[str, ...] = ()
    reason: str = ""
    obligations: Obligations = Obligations()
    review: ReviewTerms | None = None
    policy: str = ""

    @property
    def denies(self) -> bool:
        return self.decision is Decision.DENY

    @property
    def needs_review(self) -> bool:
        return self.decision is Decision.REVIEW


_ORDER = {Decision.ALLOW: 0, Decision.REVIEW: 1, Decision.DENY: 2}


def stricter(a: Decision, b: Decision) -> Decision:
    """`deny` > `review` > `allow`."""
    return a if _ORDER[a] >= _ORDER[b] else b


def stricter_strategy(a: Strategy, b: Strategy) -> Strategy:
    """null > redact > hash > token > partial."""
    return a if STRICTNESS.index(a) <= STRICTNESS.index(b) else b


def denial(rule: str, reason: str, basis: Verdict | None = None) -> Verdict:
    """A deny by a built-in rule of the gate (for example `unreadable`, `grant-mismatch`), keeping what `basis` matched."""
    if basis is None:
        return Verdict(Decision.DENY, rules=(rule,), matched=(rule,), reason=reason)
    return Verdict(
        Decision.DENY,
        rules=(rule,),
        matched=(*basis.matched, rule),
        reason=reason,
        obligations=basis.obligations,
        policy=basis.policy,
    )
