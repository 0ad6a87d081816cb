"""Tells people about one step of a review, through an outbox keyed by review, step and notifier: at least once, normally once.

A notifier that fails does not hold the review up; the sweep sends again what stayed unsent.
"""

import logging

import azure.durable_functions as df

from function_app import links
from function_app.activities import Answer, Notice, step
from function_app.composition import Services
from function_app.failpoints import reach
from function_app.logs import event, logger
from function_app.notifiers.base import Message, Notifier, NotifierError
from function_app.stores.base import Review, StoreError
from gateway_kernel.review import State

_log = logger("notify")
blueprint = df.Blueprint()


@blueprint.activity_trigger(input_name="job")
async def notify(job: Notice) -> Answer:
    """`{"review": id, "step": opened|remind|escalate|settled}` -> `{"unsent": [notifier, …]}`."""
    return await step("notify", lambda app: _notify(app, job["review"], job["step"]))


async def _notify(app: Services, identifier: str, step_name: str) -> Answer:
    return {"unsent": [one.name for one in app.notifiers if not await deliver(app, identifier, step_name, one)]}


async def deliver(app: Services, identifier: str, step_name: str, notifier: Notifier) -> bool:
    """Send one message unless it was sent; False if the notifier failed."""
    review = await app.store.reviews.get(identifier)
    if review is None:
        raise StoreError("not-found", 404, f"There is no review {identifier!r}.")
    if not await app.store.reviews.outbox_claim(identifier, step_name, notifier.name, app.now()):
        return True
    reach("notifier.before_send")
    try:
        await notifier.send(await _message(app, review, step_name, personal=notifier.personal))
    except NotifierError as error:
        event(
            _log, "notice_failed", level=logging.WARNING, review=identifier, notifier=notifier.name, reason=str(error)
        )
        return False
    reach("notifier.after_send")
    await app.store.reviews.outbox_sent(identifier, step_name, notifier.name, app.now())
    return True


async def _message(app: Services, review: Review, step_name: str, *, personal: bool) -> Message:
    asked = review.asked
    people: tuple[str, ...] = ()
    if asked is not None:
        people = asked.eligible + (asked.escalated if step_name in ("escalate", "settled") else ())
        if not asked.terms.owners_may_approve:
            people = tuple(person for person in people if person not in asked.owners)
    mailed: dict[str, str] = {}
    if personal and asked is not None and review.state is State.OPEN:
        for person in people:
            mailed[person] = await links.make(app, review, person, step_name, asked.due)
    return Message(
        key=f"{review.id}-{step_name}",
        review=review.id,
        step=step_name,
        agent=review.agent,
        resource=review.resource,
        protocol=review.protocol,
        verb="" if asked is None else asked.verb,
        reason=review.reason or ("" if asked is None else asked.reason),
        url=app.review_url(review.id),
        people=people,
        links=mailed,
    )
