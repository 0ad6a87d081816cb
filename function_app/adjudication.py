"""Starting and nudging the orchestration `adjudicate`, by the part of the client that durable 1.7 and 2.x share.

A hint that cannot be given is logged and left to the sweep: the store holds what matters.
"""

import logging

from function_app.access import DurableClient
from function_app.failpoints import reach
from function_app.logs import event, logger

_log = logger("adjudication")
_LIVE = frozenset({"RUNNING", "PENDING", "SUSPENDED", "CONTINUEDASNEW", "CONTINUED_AS_NEW"})


async def start(client: DurableClient, review: str) -> None:
    """Start the orchestration of a new review; its instance id is the review's id."""
    reach("durable.start_adjudicate.before")
    await client.start_new("adjudicate", review, {})
    reach("durable.start_adjudicate.after")


async def ensure(client: DurableClient, review: str) -> None:
    """Start it unless it lives, for a review whose submission was cut short between the store and the start."""
    status = await client.get_status(review)
    runtime = getattr(status, "runtime_status", None)
    if str(getattr(runtime, "name", runtime or "")).upper() in _LIVE:
        await hint(client, review)
    else:
        event(_log, "adjudication_restarted", review=review)
        await start(client, review)


async def hint(client: DurableClient, review: str) -> None:
    """Raise `changed`."""
    reach("durable.raise_changed.before")
    try:
        await client.raise_event(review, "changed", {})
    except Exception as error:  # noqa: BLE001 - 1.7 raises bare Exception, 2.x gRPC errors; the instance may have ended, and the sweep looks again
        event(_log, "hint_failed", level=logging.WARNING, review=review, reason=type(error).__name__)
    reach("durable.raise_changed.after")
