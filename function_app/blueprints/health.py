"""Health with reasons, counters, and the sweep that looks for reviews nobody woke up for."""

import logging
from typing import cast

import azure.durable_functions as df
import azure.functions as func

from function_app import adjudication
from function_app.access import Call, DurableClient, endpoint, reply
from function_app.activities.notify import deliver
from function_app.composition import Services, services
from function_app.logs import event, logger
from gateway_kernel.errors import PolicyError

_log = logger("health")
blueprint = df.Blueprint()


@endpoint(blueprint, "health")
async def health(call: Call) -> func.HttpResponse:
    """200 if requests can be served, else 503 with the reasons. Open to anybody, so it names no path and no person."""
    reasons: list[str] = []
    if await call.services.store.ready():
        reasons.append("the store does not answer; the log says why")
    else:
        try:
            await call.services.policies.active()
        except PolicyError:
            reasons.append("the active policy does not load under this release; push or activate another version")
    return reply({"status": "unavailable" if reasons else "ok", "reasons": reasons}, 503 if reasons else 200)


@endpoint(blueprint, "metrics")
async def metrics(call: Call) -> func.HttpResponse:
    """Counters for Prometheus."""
    return func.HttpResponse(call.services.metrics.text(), mimetype="text/plain; version=0.0.4")


@blueprint.timer_trigger(schedule="*/15 * * * * *", arg_name="timer", run_on_startup=True)
@blueprint.durable_client_input(client_name="client")
async def sweep(timer: func.TimerRequest, client: str) -> None:
    """Let overdue reviews expire, wake orchestrations that missed a hint or never started, send what stayed unsent."""
    await swept(services(), cast("DurableClient", cast("object", client)))


async def swept(app: Services, client: DurableClient) -> None:
    """One sweep."""
    found = await app.store.reviews.sweep(app.now())
    for nudge in found.nudges:
        try:
            await adjudication.ensure(client, nudge.review)
        except Exception as error:  # noqa: BLE001 - one orchestration that cannot be reached must not keep the others waiting
            event(_log, "nudge_failed", level=logging.ERROR, review=nudge.review, reason=repr(error))
    by_name = {notifier.name: notifier for notifier in app.notifiers}
    for entry in found.unsent:
        if entry.notifier in by_name:
            await deliver(app, entry.review, entry.step, by_name[entry.notifier])
    if found.expired:
        app.feeds.ring()
    if found.expired or found.nudges or found.unsent:
        event(_log, "swept", expired=len(found.expired), nudged=len(found.nudges), resent=len(found.unsent))
