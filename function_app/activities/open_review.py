"""Opens the review: fixes whom it asks and all its times, once."""

import azure.durable_functions as df
import msgspec

from function_app.activities import Answer, Opening, step
from function_app.activities.evaluate import Found
from function_app.composition import Services
from function_app.logs import event, logger
from function_app.stores.base import Asked, Due
from gateway_kernel.model import SECOND, Instant
from gateway_kernel.verdict import ReviewTerms

_log = logger("open_review")
blueprint = df.Blueprint()


@blueprint.activity_trigger(input_name="job")
async def open_review(job: Opening) -> Answer:
    """`{"review": id, "found": …}` -> `{"due": {step: microseconds}}`."""
    return await step("open_review", lambda app: _open(app, job))


async def _open(app: Services, job: Opening) -> Answer:
    found = msgspec.convert(job["found"], Found)
    assert found.terms is not None, "only a review with terms is opened"
    asked = Asked(
        found.terms,
        due_of(found.terms, app.now()),
        found.eligible,
        found.escalated,
        found.owners,
        found.rules,
        found.reason,
        found.policy,
        found.verb,
        found.effects,
    )
    review = await app.store.reviews.open_review(job["review"], asked, found.alert)
    assert review.asked is not None, "open_review has just stored it"
    app.metrics.reviews.labels("opened").inc()
    event(
        _log, "review_opened", review=review.id, agent=review.agent, resource=review.resource, rules=list(asked.rules)
    )
    due = review.asked.due
    times = {"expire": due.expire, "remind": due.remind, "escalate": due.escalate}
    return {"due": {name: at for name, at in times.items() if at is not None}}


def due_of(terms: ReviewTerms, opened: Instant) -> Due:
    """All times of a review, from its terms. A reminder or escalation after the end is none."""
    expire = opened + terms.expires * SECOND
    remind = None if terms.remind is None else opened + terms.remind * SECOND
    escalate = None if terms.escalate is None else opened + terms.escalate.after * SECOND
    return Due(
        opened,
        expire,
        remind if remind is not None and remind < expire else None,
        escalate if escalate is not None and escalate < expire else None,
    )
