"""What the orchestration has done for it, one activity a module. Each may run again after a crash, and so inserts or reads."""

from collections.abc import Awaitable, Callable
from typing import Any, TypedDict

from function_app.composition import Services, services
from function_app.failpoints import reach


class Job(TypedDict):
    """What an activity is asked. The worker wants a class here, not an alias."""

    review: str


class Notice(Job):
    """`step` is one of opened, remind, escalate, settled."""

    step: str


class Opening(Job):
    """`found` is an `evaluate.Found`."""

    found: dict[str, Any]


class Moment(Job):
    """`now` is the orchestration's time in microseconds."""

    now: int


class Answer(TypedDict, total=False):
    """What an activity answers, kept in the orchestration's history: never a command, a parameter or a secret."""

    action: str
    found: dict[str, Any]
    due: dict[str, int]
    state: str
    missing: int
    grant: str
    unsent: list[str]


async def step(name: str, work: Callable[[Services], Awaitable[Answer]]) -> Answer:
    """Run one activity between its failpoints."""
    app = services()
    reach(f"activity.{name}.begin")
    answer = await work(app)
    reach(f"activity.{name}.end")
    return answer
