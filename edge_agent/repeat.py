"""The short way of what a session sends again (`_repeat`), where it was compiled; else everything goes through `Driver.admit`.

`SALLYPORT_SHORT_WAY=off` in the environment of the edge leaves it out.
"""

import os
from typing import TYPE_CHECKING

try:
    from edge_agent import _repeat
except ImportError:  # no C compiler when the environment was set up; see tools/build_extensions.py
    _repeat = None
if os.environ.get("SALLYPORT_SHORT_WAY") == "off":
    _repeat = None

if TYPE_CHECKING:
    from edge_agent._repeat import Repeats
    from edge_agent.driver import Driver
    from gateway_kernel.model import Session

COMPILED = _repeat is not None


def repeats(driver: "Driver", session: "Session") -> "Repeats | None":
    """The short way of one session, None if there is none."""
    return None if _repeat is None else _repeat.Repeats(driver, session)


def sent() -> int:
    """Operations of this process that were sent in the short way."""
    return 0 if _repeat is None else _repeat.tally.sent


def completed() -> int:
    """How many of them completed in it."""
    return 0 if _repeat is None else _repeat.tally.completed
