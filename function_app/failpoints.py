"""Places where a test may kill this process, to prove that a crash there loses nothing.

`SALLYPORT_FAILPOINT=name` kills at the first visit, `name:3` at the third. `SALLYPORT_FAILPOINT_FILE=path` names the point in a file
instead, which may be written while the process runs and is removed right before the kill, so that the next start lives and the test knows
that the point was reached. Without those variables a failpoint costs one comparison. The names are enumerated in `NAMES`, so that a kill
test can walk all of them.
"""

import os
import signal
from collections import Counter
from pathlib import Path

STORE_WRITES = (
    "submit",
    "open_review",
    "tally",
    "decide",
    "decide_by_link",
    "issue_grant",
    "consume",
    "release",
    "withdraw",
    "ingest",
    "outbox_claim",
    "outbox_sent",
    "settle_denied",
    "sweep",
)
ACTIVITIES = ("evaluate", "open_review", "notify", "tally", "issue_grant")
CLIENT_CALLS = ("start_adjudicate", "raise_changed")

NAMES = frozenset(
    [f"store.{name}.{side}_commit" for name in STORE_WRITES for side in ("before", "after")]
    + [f"activity.{name}.{side}" for name in ACTIVITIES for side in ("begin", "end")]
    + [f"durable.{name}.{side}" for name in CLIENT_CALLS for side in ("before", "after")]
    + ["notifier.before_send", "notifier.after_send"]
)

FILE = os.environ.get("SALLYPORT_FAILPOINT_FILE", "")

_asked = os.environ.get("SALLYPORT_FAILPOINT", "")
_visits: Counter[str] = Counter()


def reach(name: str) -> None:
    """Kill this process with SIGKILL if it was asked to die here."""
    global _asked
    if FILE and (written := _written()) != _asked:
        _asked = written
        _visits.clear()
    if not _asked:
        return
    point, _, count = _asked.partition(":")
    if name != point:
        return
    _visits[name] += 1
    if _visits[name] >= int(count or 1):
        if FILE:
            Path(FILE).unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)


def reach_write(name: str, side: str) -> None:
    """The failpoint beside a commit of the store; writes that have none (registry changes) pass."""
    if FILE or _asked:
        reach(f"store.{name}.{side}_commit")


def _written() -> str:
    try:
        return Path(FILE).read_text()
    except FileNotFoundError:
        return ""
