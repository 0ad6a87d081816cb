"""Signs the grant of an approved review, once: a second run returns the first one's."""

import secrets

import azure.durable_functions as df
import msgspec

from function_app.activities import Answer, Job, step
from function_app.composition import Services
from function_app.logs import event, logger
from function_app.stores.base import StoreError
from gateway_kernel.grant import Grant
from gateway_kernel.model import SECOND

_log = logger("issue_grant")
blueprint = df.Blueprint()


@blueprint.activity_trigger(input_name="job")
async def issue_grant(job: Job) -> Answer:
    """`{"review": id}` -> `{"grant": id}`, "" if the review is not approved any more."""
    return await step("issue_grant", lambda app: _issue(app, job["review"]))


async def _issue(app: Services, identifier: str) -> Answer:
    review = await app.store.reviews.get(identifier)
    if review is None or review.asked is None:
        raise StoreError("not-found", 404, f"There is no judged review {identifier!r}.")
    now = app.now()
    grant = Grant(
        f"g{secrets.token_hex(10)}",
        review.id,
        review.digest,
        review.agent,
        review.resource,
        now,
        now + app.settings.grant_lifetime * SECOND,
        review.approvers,
        review.asked.policy,
    )
    stored = await app.store.reviews.issue_grant(review.id, app.keys.sign_grant(grant), grant.id, grant.expires)
    if stored is None:
        return {"grant": ""}
    issued = msgspec.json.decode(stored.payload, type=Grant).id
    event(_log, "grant_issued", review=review.id, grant=issued, approvers=list(review.approvers))
    app.feeds.ring()
    return {"grant": issued}
