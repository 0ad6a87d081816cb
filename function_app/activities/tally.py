"""Lets the store apply the decisions it holds and the deadlines that passed, and says where the review stands."""

import azure.durable_functions as df

from function_app.activities import Answer, Moment, step
from function_app.composition import Services
from gateway_kernel.review import State

blueprint = df.Blueprint()


@blueprint.activity_trigger(input_name="job")
async def tally(job: Moment) -> Answer:
    """`{"review": id, "now": microseconds}` -> `{"state": …, "missing": approvals}`."""
    return await step("tally", lambda app: _tally(app, job))


async def _tally(app: Services, job: Moment) -> Answer:
    # The orchestration's time is that of its timer: with only our clock, a timer a moment early would find nothing due and spin.
    review = await app.store.reviews.tally(job["review"], max(app.now(), int(job["now"])))
    if review.state is not State.OPEN:
        app.metrics.reviews.labels(review.state.value).inc()
        app.feeds.ring()
    quorum = 0 if review.asked is None else review.asked.terms.quorum
    return {"state": review.state.value, "missing": max(0, quorum - len(review.approvers))}
