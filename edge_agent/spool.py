"""The durable spool of one worker: audit lines on local disk until the control plane has them.

`append` returns once the lines are written (they survive the process); `seal` calls back once they are fsynced by
group commit, or acknowledged where `durability` is `control_plane` (they survive the machine). The disk it uses is
bounded: at the quota, or when the disk itself refuses, `append` refuses and nothing already accepted is lost. It
knows lines, not events: see `recorder`.
"""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import msgspec

from edge_agent import failpoints
from edge_agent.ledger import Snapshot
from edge_agent.logs import Log
from edge_agent.segments import (
    HEADER,
    Batch,
    Cursor,
    Header,
    find,
    lock,
    path_of,
    read_cursor,
    read_lines,
    replace_file,
    sync,
)

log = Log(__name__)

SEAL_WITHIN = 0.5  # seconds after which written lines are fsynced even if nobody asks
MAX_QUEUED = 64  # lines that wait for one another at most: judging them takes 0.3 ms, and the first ones wait so long
RETRY_AFTER = 1.0  # seconds until a disk that refused is tried again
CLOSING_SHARE = 16  # one part in so many of the quota is kept for outcomes of what is already in flight

Durability = Literal["local", "control_plane"]


class SpoolError(Exception):
    """The lines were not written, or may not survive the machine. The text says why; nothing was lost that was accepted before."""


class Waiting:
    """What may happen once its line is written: see `Spool.queue`."""

    def settle(self, written: bool) -> None:
        """It is, or it was refused and will not be."""
        raise NotImplementedError


class _Segment:
    __slots__ = ("base", "header", "number", "size")

    def __init__(self, number: int, size: int, base: int, header: int = 0) -> None:
        self.number = number
        self.size = size
        self.header = header
        self.base = base  # the spool's `_written` when this segment began; see `_sealed_size`


class Spool:
    """One directory of segments. All methods are for the event loop's thread; only fsync and reading back run in its own thread."""

    def __init__(
        self, directory: Path, *, quota: int, segment: int = 64 << 20, durability: Durability = "local"
    ) -> None:
        """Open `directory` (made if missing), taking it for this process. `quota` and `segment` are bytes on disk."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._quota = quota
        self._open_quota = quota - quota // CLOSING_SHARE
        self._segment_size = min(segment, max(quota // 8, 4096))
        self._durability: Durability = durability
        self._lock = lock(directory)
        self.found = find(directory)
        self._segments = [_Segment(number, size, -size) for number, size in sorted(self.found.segments.items())]
        self._old = sum(each.size for each in self._segments)
        self._cursor = read_cursor(directory)
        self._active = -1
        self._retired = [os.open(path_of(directory, each.number), os.O_RDWR | os.O_CLOEXEC) for each in self._segments]
        self._closed = False
        self._written = self._sealed = 0
        self._waiters: deque[tuple[int, Callable[[str], None]]] = deque()
        self._acknowledged = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._syncing = False
        self._timer: asyncio.TimerHandle | None = None
        self._failure = ""
        self._deferred: list[bytes] = []
        self._queued: list[bytes] = []
        self._queued_size = 0
        self._waiting: list[Waiting] = []
        self._flushing = False
        self._torn = False
        self._grown = asyncio.Event()
        self.snapshot: Callable[[], tuple[Snapshot, ...]] = tuple
        self.on_writable: Callable[[], None] = lambda: None

    # -- writing ------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start a fresh segment; call once the sessions found in the old ones are known to `snapshot`."""
        self._rotate()
        self._sync_soon()

    def append(self, lines: list[bytes], *, closing: bool = False) -> None:
        """Write whole lines with one system call, or raise `SpoolError` having written nothing.

        `closing` lines tell the outcome of what is already in flight, and may use the part of the quota that is kept for them.
        """
        self.add(b"\n".join((*lines, b"")), closing)

    def add(self, data: bytes, closing: bool) -> None:
        """As `append`, for lines that end with a newline each; what was deferred goes before them."""
        if self._failure:
            raise SpoolError(self._failure)
        used = self._old + self._segments[-1].size + len(data)
        if used > (self._quota if closing else self._open_quota):
            raise SpoolError(f"the spool holds {used} bytes, its quota, which the control plane has not acknowledged")
        self._put(data)

    def _put(self, data: bytes) -> None:
        if self._deferred:
            data = b"".join((*self._deferred, data))
        if failpoints.armed:
            failpoints.reach("spool:write:before")
        self._write(data)
        self._deferred.clear()
        if failpoints.armed:
            failpoints.reach("spool:write:after")
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SEAL_WITHIN, self._seal_all)

    # -- one write for all that a turn of the event loop brings -------------------------------------------------------

    def defer(self, data: bytes) -> None:
        """Take a line about what has already happened, to be written with the next one, at the latest when this turn of the event loop is over.

        It is written whatever comes: if the disk refuses, before anything else that it takes again.
        """
        self._deferred.append(data)
        if not self._flushing:
            self._flush_soon()

    def queue(self, data: bytes, waiting: Waiting) -> bool:
        """Take a line about what may happen once it is written. False, and nothing is taken, if it would be refused now.

        When this turn of the event loop is over, or at `flush`, all such lines are written with one system call, behind those
        deferred; then `settle(True)` is called for each. If the disk refuses, none of them is written and `settle(False)` is called
        for each, which takes back what the recording counts of it, and writes nothing. Until then the session has no other line.
        """
        if len(self._queued) >= MAX_QUEUED:
            self.flush()
        if self._failure or self._old + self._segments[-1].size + self._queued_size + len(data) > self._open_quota:
            return False
        self._queued.append(data)
        self._queued_size += len(data)
        self._waiting.append(waiting)
        if not self._flushing:
            self._flush_soon()
        return True

    def _flush_soon(self) -> None:
        self._flushing = True
        asyncio.get_running_loop().call_soon(self._turn_over)

    def _turn_over(self) -> None:
        self._flushing = False
        self.flush()
        if not self._failure and not self._closed and self.due:
            self.rotate()

    def flush(self) -> None:
        """Write now what was deferred and what is queued, and settle what waits for it."""
        queued, waiting = self._queued, self._waiting
        written = self._put_together(queued)
        if queued:
            self._queued = []
            self._queued_size = 0
        if waiting:
            self._waiting = []
            for each in waiting:
                each.settle(written)

    def _put_together(self, queued: list[bytes]) -> bool:
        """Write what was deferred, and them behind it; False if the disk refuses: what was deferred stays so."""
        if self._failure:
            return False
        if queued or self._deferred:
            try:
                self._put(b"".join(queued))
            except SpoolError:  # said in the log: see `_refused`
                return False
        return True

    def _write(self, data: bytes) -> None:
        segment = self._segments[-1]
        try:
            _write_whole(self._active, data)
        except OSError as error:
            self._refused(error)
            raise SpoolError(self._failure) from error
        segment.size += len(data)
        self._written += len(data)

    def _refused(self, error: OSError) -> None:
        """The disk refused: cut back what it half took, and refuse everything until it is tried again."""
        self._failure = f"the spool cannot be written: {error.strerror}"
        log.fault("spool refused by the disk; operations are refused", reason=str(error.strerror))
        try:
            os.ftruncate(self._active, self._segments[-1].size)
        except OSError:
            self._torn = True  # a new segment's header will say where the good part ends
        asyncio.get_running_loop().call_later(RETRY_AFTER, self._retry)

    def _retry(self) -> None:
        self.flush()  # what is queued is refused before the disk is tried again
        try:
            if self._torn:
                self._rotate()
                self._torn = False
            os.posix_fallocate(self._active, self._segments[-1].size, 1)  # is there space again?
            os.ftruncate(self._active, self._segments[-1].size)
        except OSError:
            asyncio.get_running_loop().call_later(RETRY_AFTER, self._retry)
            return
        self._failure = ""
        log.info("spool can be written again")
        self.flush()
        self.on_writable()

    @property
    def failure(self) -> str:
        """Why appends are refused now, or an empty string."""
        if self._failure:
            return self._failure
        full = self._old + self._segments[-1].size >= self._open_quota
        return "the spool is at its quota" if full else ""

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._old + self._segments[-1].size

    # -- segments -----------------------------------------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """True if the active segment is full: call `rotate` when `snapshot` tells all that is written."""
        return self._segments[-1].size >= self._segment_size

    def rotate(self) -> None:
        """Begin a new segment. If the disk refuses, the old one goes on."""
        self.flush()
        try:
            self._rotate()
        except OSError as error:
            log.warning("spool segment could not be rotated; it goes on", reason=str(error.strerror))
        else:
            self._sync_soon()

    def _rotate(self, carried: bytes = b"") -> None:
        """Begin a segment. `carried` lines are written again from the unsealed ends of the segments before it."""
        failpoints.reach("spool:rotate:before")
        last = self._segments[-1] if self._segments else None
        number = max(last.number if last else 0, self._cursor.segment) + 1
        before = 0 if last is None else self._sealed_size(last) if carried else last.size
        deferred = b"".join(self._deferred)  # the snapshot counts them already: they stand right behind it
        carried += deferred
        content = msgspec.json.encode(Header(1, number, before, self.snapshot())) + b"\n"
        path = path_of(self._directory, number)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write_whole(descriptor, content + carried)
        except OSError:
            os.close(descriptor)
            path.unlink()
            raise
        if self._active >= 0:
            self._retired.append(self._active)
        if last is not None and self._active >= 0:
            self._old += last.size
        self._active = descriptor
        self._deferred.clear()
        self._written += len(deferred)
        size = len(content) + len(carried)
        self._segments.append(_Segment(number, size, self._written - size, len(content)))
        failpoints.reach("spool:rotate:after")

    # -- sealing ------------------------------------------------------------------------------------------------------

    def seal(self, callback: Callable[[str], None]) -> None:
        """Call `callback("")` once everything appended so far survives the machine, or with the reason why it may not."""
        self._waiters.append((self._written, callback))
        if self._durability == "local":
            self._sync_soon()
        else:
            self._grown.set()

    def _seal_all(self) -> None:
        self._timer = None
        if self._sealed < self._written:
            self._sync_soon()

    def _sync_soon(self) -> None:
        if self._syncing or self._closed:
            return
        self._syncing = True
        retired, self._retired = self._retired, []
        failpoints.reach("seal:before")
        job = asyncio.get_running_loop().run_in_executor(self._thread, sync, self._directory, self._active, retired)
        job.add_done_callback(lambda done, upto=self._written: self._synced(upto, done.exception()))

    def _synced(self, upto: int, failure: BaseException | None) -> None:
        self._syncing = False
        failpoints.reach("seal:after")
        if failure is not None:
            self._unsealable(failure)
            return
        self._sealed = max(self._sealed, upto)
        self._grown.set()
        if self._durability == "local":
            self._release(self._sealed)
        if (self._waiters and self._durability == "local") or self._retired:
            self._sync_soon()

    def _release(self, upto: int) -> None:
        while self._waiters and self._waiters[0][0] <= upto:
            self._waiters.popleft()[1]("")

    def _unsealable(self, failure: BaseException) -> None:
        """After a failed fsync the kernel may have dropped the pages: write the unsealed tail again, elsewhere, before going on."""
        self._failure = f"the spool cannot be sealed: {failure}"
        log.fault("spool could not be fsynced; operations are refused", reason=str(failure))
        waiters, self._waiters = self._waiters, deque()
        for _, callback in waiters:
            callback(self._failure)
        asyncio.get_running_loop().call_later(RETRY_AFTER, self._reseal)

    def _reseal(self) -> None:
        self.flush()  # as in `_retry`
        tail = b""
        try:
            for segment in self._segments:
                sealed = self._sealed_size(segment)
                if sealed < segment.size:
                    with path_of(self._directory, segment.number).open("rb") as file:
                        file.seek(sealed)
                        piece = file.read(segment.size - sealed)
                    tail += piece if not piece.startswith(HEADER) else piece[piece.index(b"\n") + 1 :]
            self._rotate(tail)
            sync(self._directory, self._active, [])
        except OSError as error:
            log.warning("spool still cannot be fsynced", reason=str(error.strerror))
            asyncio.get_running_loop().call_later(RETRY_AFTER, self._reseal)
            return
        for segment in self._segments[:-1]:
            segment.size = self._sealed_size(segment)
        self._old = sum(segment.size for segment in self._segments[:-1])
        self._sealed = self._written
        self._failure = ""
        self._grown.set()
        self.flush()
        self.on_writable()

    def _sealed_size(self, segment: _Segment) -> int:
        return min(segment.size, max(0, self._sealed - segment.base))

    # -- shipping -----------------------------------------------------------------------------------------------------

    async def batch(self, limit: int) -> Batch:
        """Wait for lines that may be shipped and return up to `limit` bytes of them, whole lines, in order."""
        while True:
            segment = next((each for each in self._segments if each.number >= self._cursor.segment), None)
            if segment is not None:
                start = self._cursor.offset if segment.number == self._cursor.segment else 0
                # Only sealed lines leave the machine: a line that a power cut takes back must not be known elsewhere.
                end = self._sealed_size(segment) if self._durability == "local" else segment.size
                if start < end:
                    found = await self._read(segment.number, start, end, limit)
                    if found.data:
                        return found
                    self._move_to(found.after)
                    continue
                if segment is not self._segments[-1] and start >= segment.size:
                    self._move_to(Cursor(segment.number + 1, 0))
                    continue
            self._grown.clear()
            await self._grown.wait()

    async def _read(self, number: int, start: int, end: int, limit: int) -> Batch:
        path = path_of(self._directory, number)
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, read_lines, path, number, start, end, limit
        )

    def acknowledge(self, batch: Batch) -> None:
        """The control plane has stored this batch for good: remember it, and delete segments that are done with."""
        self._acknowledged += len(batch.data)
        self._move_to(batch.after)
        failpoints.reach("spool:cursor:before")
        with contextlib.suppress(OSError):  # a full disk: the lines are sent again after a restart, which is harmless
            replace_file(self._directory / "cursor", msgspec.json.encode(self._cursor))
        failpoints.reach("spool:cursor:after")
        segment = self._segments[-1]
        if self._durability == "control_plane" and segment.number == batch.after.segment:
            self._release(segment.base + batch.after.offset)
        drained = batch.after == Cursor(segment.number, segment.size)
        if drained and self.size > self._quota // 2 and not self._failure:
            self.rotate()
            if self._segments[-1] is not segment:
                self._move_to(Cursor(self._segments[-1].number, 0))

    def _move_to(self, cursor: Cursor) -> None:
        self._cursor = cursor
        freed = False
        while len(self._segments) > 1 and self._segments[0].number < cursor.segment:
            done = self._segments.pop(0)
            path_of(self._directory, done.number).unlink(missing_ok=True)
            self._old -= done.size
            freed = True
        if freed and not self._failure:
            self.on_writable()

    @property
    def unshipped(self) -> int:
        """Bytes of audit lines that the control plane has not acknowledged."""
        return sum(
            each.size - max(each.header, self._cursor.offset if each.number == self._cursor.segment else 0)
            for each in self._segments
            if each.number >= self._cursor.segment
        )

    async def close(self) -> None:
        """Fsync what is written and let the directory go."""
        self.flush()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, sync, self._directory, self._active, self._retired)
        except OSError as error:
            log.fault("spool could not be fsynced at the end", reason=str(error.strerror))
        self._thread.shutdown()
        for descriptor in (self._active, self._lock):
            os.close(descriptor)


def _write_whole(descriptor: int, data: bytes) -> None:
    """Write all of it. Only a full disk or a limit stops short; the next write then raises why."""
    written = os.write(descriptor, data)
    while written < len(data):
        written += os.write(descriptor, data[written:])
