"""Reviews over the machine API: lists, one review, a person's decision, alerts. The pages are `blueprints.pages`."""

import azure.durable_functions as df
import azure.functions as func
import msgspec

from function_app import adjudication, view
from function_app.access import Call, DurableClient, endpoint, reply
from function_app.composition import Services
from function_app.logs import event, logger
from function_app.stores.base import Review, StoreError
from gateway_kernel.review import Choice, PersonDecision, State

LARGEST_PAGE = 200
LONGEST_REASON = 2000
"""Characters of the reason of a decision."""

_log = logger("reviews")
blueprint = df.Blueprint()


class Decide(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A decision. `id` is the sender's own: sending it again is harmless."""

    id: str
    choice: Choice
    reason: str = ""


@endpoint(blueprint, "list_reviews")
async def list_reviews(call: Call) -> func.HttpResponse:
    """Newest first. `state`, `agent` filter; `after` is the last id of the page before."""
    state = call.query("state")
    if state and state not in set(State):
        raise StoreError("bad-request", 422, f"There is no state {state!r}; there are: {', '.join(State)}.")
    limit = call.number("limit", 50, most=LARGEST_PAGE)
    rows = await call.services.store.reviews.listed(
        state=state, agent=call.query("agent"), limit=limit, after=call.query("after")
    )
    after = rows[-1].id if rows and len(rows) == limit else ""
    shown = [view.summary(call.services, row) for row in rows]
    return reply({"reviews": msgspec.to_builtins(shown), "after": after})


@endpoint(blueprint, "show_review")
async def show_review(call: Call) -> func.HttpResponse:
    """One review with its command, parameters and context; with `full=1` long parameters to their end."""
    review = await existing(call.services, call.path("review"))
    return reply(await detailed(call.services, review, whole=call.query("full") == "1"))


@endpoint(blueprint, "decide_review")
async def decide_review(call: Call) -> func.HttpResponse:
    """Decide as the person whose key was sent."""
    wanted = call.json(Decide)
    review = await decide(
        call.services, call.client, call.path("review"), call.principal.name, wanted.id, wanted.choice, wanted.reason
    )
    return reply(view.summary(call.services, review))


@endpoint(blueprint, "list_alerts")
async def list_alerts(call: Call) -> func.HttpResponse:
    """Where edge and control plane disagreed, newest first."""
    alerts = await call.services.store.reviews.alerts(call.number("limit", 50, most=LARGEST_PAGE))
    return reply({"alerts": msgspec.to_builtins(alerts)})


async def decide(
    app: Services,
    client: DurableClient,
    review: str,
    person: str,
    identifier: str,
    choice: Choice,
    reason: str,
    link: str = "",
) -> Review:
    """Store one person's decision and hint the orchestration. The store has decided when this returns."""
    if not 0 < len(identifier) <= 100:
        raise StoreError("bad-request", 422, "A decision's id has 1 to 100 characters.")
    if len(reason) > LONGEST_REASON:
        raise StoreError("bad-request", 422, f"The reason has {len(reason)} characters; the most is {LONGEST_REASON}.")
    decision = PersonDecision(f"{person}:{identifier}", person, choice, app.now(), reason.strip())
    row = await app.store.reviews.decide(review, decision, link)
    event(_log, "review_decided", review=review, person=person, choice=choice.value, state=row.state.value)
    await adjudication.hint(client, review)
    app.feeds.ring()
    return row


async def existing(app: Services, review: str) -> Review:
    """The review; `StoreError` not-found if there is none."""
    row = await app.store.reviews.get(review)
    if row is None:
        raise StoreError("not-found", 404, f"There is no review {review!r}.")
    return row


async def detailed(app: Services, review: Review, *, whole: bool = False) -> view.Detail:
    """Everything that approvers and auditors see of it; `whole` with long parameters to their end."""
    edge = await app.store.registry.edge(review.edge)
    resource = None if edge is None else edge.resource(review.resource)
    return view.detail(
        app,
        review,
        await app.store.reviews.payload(review.id),
        await app.store.reviews.decisions(review.id),
        {} if resource is None else resource.labels,
        whole=whole,
    )
