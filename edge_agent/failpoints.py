"""Points at which a test may kill this process, so that every crash has been tried and not only imagined.

`SALLYPORT_FAILPOINT=name` (or `name:count` for the count-th time) sends SIGKILL to the process when it reaches that
point. Unset, which is always outside tests, `armed` is false and nothing is looked up. `python -m
edge_agent.failpoints` prints every name.
"""

import os
import signal
import sys

VARIABLE = "SALLYPORT_FAILPOINT"

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


_point, _left = "", 0
armed = False


def arm(value: str) -> None:
    """Arm one point, or none. A value that is not ours may name a point of the control plane, in an environment both share."""
    global armed, _point, _left
    _point, _left = parse(value)
    armed = _point in POINTS


arm(os.environ.get(VARIABLE, ""))


def reach(name: str) -> None:
    """Die here, at once and without any clean-up, if the environment says so."""
    global _left
    if not armed or name != _point:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.stdout.write("\n".join(POINTS) + "\n")
