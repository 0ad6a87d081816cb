"""One review, from the submitted operation to the grant.

The store is the truth; the event `changed` is a hint to look at it. So a lost, late, doubled or reordered event costs a look, never a
decision. All times are absolute and were fixed when the review was opened. Only what azure-functions-durable 1.7 and 2.x share is used: one
wait for `changed` stays open until it is used (2.x: an abandoned wait swallows the next event), timers are at most a day
(Python's limit is six), and the history is cut after `TURNS` turns.

A released version's branch is never changed: running instances and `tests/function_app/histories` replay it. A new one gets a new
number in host.json (`defaultVersion`) and a line in `VERSIONS`.
"""

from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, cast

import azure.durable_functions as df

LONGEST = timedelta(days=1)
TURNS = 20
STEPS = ("remind", "escalate")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

type Steps = Generator[Any, Any, Any]

blueprint = df.Blueprint()


class Context(Protocol):
    """What of the orchestration context 1.7 and 2.x share and is used here."""

    instance_id: str
    current_utc_datetime: datetime
    version: str | None

    def get_input(self) -> Any: ...
    def call_activity(self, name: str, input_: Any = None) -> Any: ...
    def create_timer(self, fire_at: datetime) -> Any: ...
    def wait_for_external_event(self, name: str) -> Any: ...
    def task_any(self, tasks: list[Any]) -> Any: ...
    def set_custom_status(self, status: Any) -> None: ...
    def continue_as_new(self, input_: Any) -> None: ...


@cast("Callable[[Callable[[Context], Steps]], Any]", blueprint.orchestration_trigger(context_name="context"))
def adjudicate(context: Context) -> Steps:
    """Follow the branch of the version that the instance was started under."""
    version = context.version or "1.0"
    branch = VERSIONS.get(version)
    if branch is None:
        raise ValueError(f"adjudicate knows the versions {', '.join(VERSIONS)}, not {version!r}")
    return (yield from branch(context))


def _version_1_0(context: Context) -> Steps:
    review = context.instance_id
    job: dict[str, Any] = context.get_input() or {}
    if "due" not in job:
        found = yield context.call_activity("evaluate", {"review": review})
        if found["action"] == "denied":
            yield context.call_activity("notify", {"review": review, "step": "settled"})
            return {"state": "denied"}
        opened = yield context.call_activity("open_review", {"review": review, "found": found["found"]})
        yield context.call_activity("notify", {"review": review, "step": "opened"})
        job = {"due": opened["due"], "sent": []}

    due: dict[str, datetime] = {step: EPOCH + timedelta(microseconds=at) for step, at in job["due"].items()}
    changed = context.wait_for_external_event("changed")
    for _ in range(TURNS):
        now = context.current_utc_datetime
        micros = (now - EPOCH) // timedelta(microseconds=1)
        tally = yield context.call_activity("tally", {"review": review, "now": micros})
        if tally["state"] != "open":
            return (yield from _closed(context, tally["state"]))
        for step in STEPS:
            if step in due and step not in job["sent"] and now >= due[step]:
                yield context.call_activity("notify", {"review": review, "step": step})
                job["sent"].append(step)
        context.set_custom_status({"missing": tally["missing"], "sent": job["sent"]})
        ahead = [at for step, at in due.items() if step not in job["sent"]]
        timer = context.create_timer(min([*ahead, now + LONGEST]))
        winner = yield context.task_any([changed, timer])
        if winner == changed:
            timer.cancel()
            changed = context.wait_for_external_event("changed")
    context.continue_as_new(job)
    return None


def _closed(context: Context, state: str) -> Steps:
    review = context.instance_id
    if state == "approved":
        yield context.call_activity("issue_grant", {"review": review})
    yield context.call_activity("notify", {"review": review, "step": "settled"})
    context.set_custom_status({"state": state})
    return {"state": state}


VERSIONS: dict[str, Callable[[Context], Steps]] = {"1.0": _version_1_0}
