"""Waking long polls: a change in this process is seen at once, one made elsewhere (another instance, a restart) by reading again.

Nothing is delivered here; the store's feed is what counts. No lock and no connection is held while waiting.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

REREAD = 1.0
"""Seconds after which a waiting poll reads the store again: on Azure the change may be made by another instance."""


class Feeds:
    """One bell for all polls of this process: reading again costs a poll less than a millisecond."""

    def __init__(self) -> None:
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def ring(self) -> None:
        """Wake every poll. May be called from any thread."""
        for loop, bell in tuple(self._waiting):
            loop.call_soon_threadsafe(bell.set)

    @contextmanager
    def bell(self) -> Generator["Bell"]:
        """A bell for one poll. Clear it before reading the store, so that what happens during the reading rings it."""
        mine = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.add(mine)
        try:
            yield Bell(mine[1])
        finally:
            self._waiting.discard(mine)


class Bell:
    """One poll's bell."""

    def __init__(self, rung: asyncio.Event) -> None:
        self._rung = rung

    def clear(self) -> None:
        self._rung.clear()

    async def wait(self, seconds: float) -> None:
        """Return when rung, or after `seconds` or REREAD, whichever is less."""
        try:
            await asyncio.wait_for(self._rung.wait(), min(seconds, REREAD))
        except TimeoutError:
            pass
