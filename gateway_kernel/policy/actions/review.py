"""`then: review`: people decide. The settings say who, how many of them, and by when."""

from collections.abc import Iterator
from typing import Annotated

import msgspec

from gateway_kernel.policy.actions.action import Duration, GroupName, Groups, Objection, is_entra_id, seconds
from gateway_kernel.policy.obligations import Draft, Statement
from gateway_kernel.policy.shape import nearest
from gateway_kernel.verdict import Escalation, ReviewTerms

MAX_EXPIRES = 30 * 86_400  # seconds; what nobody decided in a month nobody will

Approvers = Annotated[tuple[GroupName, ...], msgspec.Meta(min_length=1)]


class EscalateSettings(msgspec.Struct, frozen=True):
    """After this time these groups are asked as well."""

    after: Duration
    approvers: Approvers


class ReviewSettings(msgspec.Struct, frozen=True):
    """As `verdict.ReviewTerms`, in the words of the document."""

    approvers: Approvers
    quorum: Annotated[int, msgspec.Meta(ge=1, le=20)] = 1
    expires: Duration = "2h"
    remind: Duration | None = None
    escalate: EscalateSettings | None = None
    owners_may_approve: bool = False
    link_decides: bool = False


def terms_of(settings: ReviewSettings) -> ReviewTerms:
    """The settings as the verdict carries them; approvers sorted, so that the order of writing changes nothing."""
    escalate = settings.escalate
    return ReviewTerms(
        approvers=tuple(sorted(set(settings.approvers))),
        quorum=settings.quorum,
        expires=seconds(settings.expires),
        remind=None if settings.remind is None else seconds(settings.remind),
        escalate=None
        if escalate is None
        else Escalation(seconds(escalate.after), tuple(sorted(set(escalate.approvers)))),
        owners_may_approve=settings.owners_may_approve,
        link_decides=settings.link_decides,
    )


class Review:
    """Opens a review; it is approved when `quorum` different people approve, denied when one denies."""

    name = "review"
    settings = ReviewSettings

    def check(self, settings: ReviewSettings, groups: Groups) -> Iterator[Objection]:
        yield from check_terms(settings, groups)

    def apply(self, rule: Statement, settings: ReviewSettings, draft: Draft) -> None:
        draft.reviews.append((rule, terms_of(settings)))


def check_terms(settings: ReviewSettings, groups: Groups) -> Iterator[Objection]:
    """What is wrong with review terms: unknown groups, times out of order, nobody who could decide."""
    escalate = settings.escalate
    named = [(("approvers", index), group) for index, group in enumerate(settings.approvers)]
    if escalate is not None:
        named += [(("escalate", "approvers", index), group) for index, group in enumerate(escalate.approvers)]
    unknown = [(path, group) for path, group in named if group not in groups]
    for path, group in unknown:
        yield Objection(path, f"there is no group {group!r}{nearest(group, list(groups))}; add it under `groups`")

    expires = seconds(settings.expires)
    if expires > MAX_EXPIRES:
        yield Objection(("expires",), f"a review may wait {MAX_EXPIRES // 86_400}d at most")
    if settings.remind is not None and seconds(settings.remind) >= expires:
        yield Objection(("remind",), f"the reminder would come after the review expires ({settings.expires})")
    if escalate is not None and seconds(escalate.after) >= expires:
        yield Objection(("escalate", "after"), f"the review expires ({settings.expires}) before it escalates")
    if not unknown:
        yield from _too_few(settings, groups, [group for _, group in named])


def _too_few(settings: ReviewSettings, groups: Groups, named: list[str]) -> Iterator[Objection]:
    members = {member for group in named for member in groups[group]}
    if any(is_entra_id(member) for member in members):
        return
    if not members:
        what = "nobody is in these groups, so nobody can ever approve and every such review expires"
        yield Objection(("approvers",), what, fatal=False)
    elif len(members) < settings.quorum:
        what = f"a quorum of {settings.quorum} cannot be reached: these groups have {len(members)} people"
        yield Objection(("quorum",), what, fatal=False)


ACTION = Review()
