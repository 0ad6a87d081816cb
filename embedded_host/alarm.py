"""Alarms on the wall clock, without a thread each: the event loop's own heap holds them all.

The loop counts monotonic seconds, which stand still while a machine sleeps and know nothing of a corrected clock. So
an alarm looks at the wall clock again at least each LOOK seconds and rings only when that says so.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

LOOK = 60.0  # seconds; a clock set forward is noticed within this time


def utcnow() -> datetime:
    """The wall clock, aware, in UTC."""
    return datetime.now(UTC)


class Alarm:
    """Calls `action` on the running loop at `when` (aware UTC), at once if that is past; `cancel` is final."""

    __slots__ = ("_action", "_handle", "_when")

    def __init__(self, when: datetime, action: Callable[[], None]) -> None:
        self._when, self._action = when, action
        self._arm()

    def _arm(self) -> None:
        left = (self._when - utcnow()).total_seconds()
        self._handle = asyncio.get_running_loop().call_later(min(max(left, 0.0), LOOK), self._look)

    def _look(self) -> None:
        if utcnow() < self._when:
            self._arm()
        else:
            self._action()

    def cancel(self) -> None:
        """Never ring again; does nothing to an alarm that rang."""
        self._handle.cancel()
