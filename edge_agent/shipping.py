"""Ships audit lines to the control plane: in order, again after any outage, until it says that they are stored for good.

Sending a line twice is harmless (session and sequence name it). Nothing is ever skipped: a refused batch is tried
again, loudly, until the spool is full and operations are refused.
"""

import asyncio

import msgspec

from edge_agent.control_client import Backoff, ControlClient, ControlPlaneError
from edge_agent.logs import Log
from edge_agent.spool import Spool
from gateway_kernel.contract import LARGEST_BATCH

log = Log(__name__)

BATCH = LARGEST_BATCH // 4  # bytes; small enough that one slow upload does not delay the next for long


class _Place(msgspec.Struct):
    """The two fields of an audit line by which it is acknowledged."""

    session: str
    sequence: int


_place = msgspec.json.Decoder(_Place).decode


class Shipping:
    """The shipping of one worker's spool. `problem` says why it stands still, "" if it does not."""

    def __init__(self, spool: Spool, client: ControlClient) -> None:
        self._spool = spool
        self._client = client
        self._idle = asyncio.Event()
        self.problem = ""

    async def run(self) -> None:
        """Ship for as long as this worker lives."""
        while True:
            batch = await self._spool.batch(BATCH)
            expected = await asyncio.to_thread(_expected, batch.data)
            await self._until_stored(batch.data, expected)
            self._spool.acknowledge(batch)
            self._idle.set()

    async def _until_stored(self, lines: bytes, expected: dict[str, int]) -> None:
        backoff = Backoff()
        while True:
            try:
                stored = (await self._client.events(lines)).next
                missing = next((name for name, upto in expected.items() if stored.get(name, 0) < upto), None)
                if missing is None:
                    self._trouble("")
                    return
                problem = (
                    f"the control plane expects event {stored.get(missing, 0)} of session {missing}, "
                    f"this edge has shipped up to {expected[missing]}"
                )
            except ControlPlaneError as error:
                problem = str(error)
            self._trouble(problem)
            await asyncio.sleep(backoff.pause())

    def _trouble(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            if problem:
                log.warning("audit events are not shipped", reason=problem)
            else:
                log.info("audit events are shipped again")

    async def flushed(self) -> None:
        """Wait until the control plane has everything."""
        while self._spool.unshipped:
            self._idle.clear()
            await self._idle.wait()


def _expected(lines: bytes) -> dict[str, int]:
    """For each session of the batch, the sequence that must come next once the batch is stored."""
    expected: dict[str, int] = {}
    for line in lines.splitlines():
        place = _place(line)
        expected[place.session] = place.sequence + 1
    return expected
