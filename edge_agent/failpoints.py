"""Points at which a test may kill this process, so that every crash has been tried and not only imagined.

`SALLYPORT_FAILPOINT=name` (or `name:count` for the count-th time) sends SIGKILL to the process when it reaches that
point. `SALLYPORT_FAILPOINT_FILE=path` names the point in a file instead, which may be written while the process runs
and is removed right before the kill: it strikes once, however often a supervisor starts the process again, and its
absence says that the point was reached. Unset, which is always outside tests, `armed` is false and nothing is looked
up. `python -m edge_agent.failpoints` prints every name.
"""

import os
import signal
import sys
from pathlib import Path

VARIABLE = "SALLYPORT_FAILPOINT"
FILE_VARIABLE = "SALLYPORT_FAILPOINT_FILE"

_EVENTS = (
    "session_opened",
    "prepared",
    "pending",
    "decided",
    "sending",
    "finished",
    "noted",
    "session_closed",
)

POINTS: tuple[str, ...] = (
    *(f"record:{event}:{when}" for event in _EVENTS for when in ("before", "after")),
    "spool:write:before",
    "spool:write:after",
    "spool:rotate:before",
    "spool:rotate:after",
    "spool:cursor:before",
    "spool:cursor:after",
    "seal:before",
    "seal:after",
    "submit:before",
    "submit:after",
    "settled:before",
    "settled:after",
    "decisions:before",
    "decisions:after",
    "consume:before",
    "consume:after",
    "release:before",
    "release:after",
    "withdraw:before",
    "withdraw:after",
    "forward:before",
    "forward:after",
    "outcome:before",
    "outcome:after",
    "refuse:before",
    "refuse:after",
    "ship:before",
    "ship:after",
    "bundle:before",
    "bundle:after",
    "recover:before",
    "recover:after",
)


def parse(value: str) -> tuple[str, int]:
    """Split `name` or `name:count` into name and count."""
    name, _, count = value.rpartition(":")
    return (name, int(count)) if count.isdecimal() else (value, 1)


_value, _point, _left = "", "", 0
_file = os.environ.get(FILE_VARIABLE, "")
armed = False


def arm(value: str) -> None:
    """Arm one point, or none. A value that is not ours may name a point of the control plane, in an environment both share."""
    global armed, _value, _point, _left
    _value = value
    _point, _left = parse(value)
    armed = bool(_file) or _point in POINTS


arm(os.environ.get(VARIABLE, ""))


def reach(name: str) -> None:
    """Die here, at once and without any clean-up, if the environment or the file says so."""
    global _left
    if not armed:
        return
    if _file and (written := _written()) != _value:
        arm(written)
    if name != _point:
        return
    _left -= 1
    if _left <= 0:
        if _file:
            Path(_file).unlink(missing_ok=True)
        os.kill(os.getpid(), signal.SIGKILL)


def _written() -> str:
    try:
        return Path(_file).read_text()
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    sys.stdout.write("\n".join(POINTS) + "\n")
