"""The server's side of a session: its answers on their way to the client.

Where nothing has to be touched the bytes go on as they came, found by their headers only; each message in between is held against what
the server owes (`expect`). An answer that nobody is owed ends the session: a gate that lost count cannot tell whose rows these are.
"""

import asyncio
import struct
from typing import TYPE_CHECKING

from edge_agent.protocols.postgres import messages as m
from edge_agent.protocols.postgres import refusal, startup
from edge_agent.protocols.postgres.codec import check_backend
from edge_agent.protocols.postgres.expect import ENDS, WITHIN, Expect, Owed
from edge_agent.protocols.postgres.messages import ProtocolViolationError
from edge_agent.protocols.postgres.rows import scan_frames
from gateway_kernel.errors import UnmaskableError

if TYPE_CHECKING:
    from edge_agent.protocols.postgres.run import Run
    from edge_agent.protocols.postgres.session import PostgresSession

STREAMED = 256 * m.KiB  # bytes; a longer row that nobody has to look into is passed on while it arrives
MAX_HELD_ROW = 64 * m.MiB  # bytes; a longer row that has to be masked cannot be, so the session ends

_header = struct.Struct("!BI").unpack_from
_length = struct.Struct("!I").unpack_from
_ROWS = (m.DATA_ROW, m.COPY_DATA)


class Backend(asyncio.Protocol):
    """The connection to the server once it is set up."""

    def __init__(self, session: "PostgresSession", transport: asyncio.Transport) -> None:
        self.session = session
        self.transport = transport
        self.owed = Owed()
        self._parts: list[bytes] = []
        self._missing = 0
        self._through = 0
        self._out: list[bytes] = []
        self._mark = 0  # where bytes begin that are not handed on yet
        self._kept = 0  # where bytes begin that are not accounted for yet

    @property
    def within_message(self) -> bool:
        """True while a part of a message is with the client: nothing of ours may be put in now."""
        return self._through > 0

    # asyncio's side

    @property
    def resting(self) -> bool:
        """True if nothing is owed and nothing half received."""
        return not (self.owed or self._parts or self._missing or self._through or self._out)

    def data_received(self, data: bytes) -> None:
        if self._missing > 0:
            self._parts.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._parts)
            self._parts.clear()
            self._missing = 0
        try:
            self._relay(data)
        except (ProtocolViolationError, UnmaskableError, ValueError) as error:
            self._hand_on()
            self.session.server_broke(str(error))
            return
        self._hand_on()
        self.session.after_answers()

    def connection_lost(self, exc: Exception | None) -> None:
        self.session.server_lost(exc)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self.session.pause_client(True)

    def resume_writing(self) -> None:
        self.session.pause_client(False)

    # The relay

    def _hand_on(self) -> None:
        if self._out:
            self.session.to_client(b"".join(self._out) if len(self._out) > 1 else self._out[0])
            self._out = []

    def _relay(self, data: bytes) -> None:
        at = 0
        if self._through:
            at = min(self._through, len(data))
            self._through -= at
        self._mark = self._kept = 0
        if self._parts:
            data = self._parts.pop() + data
        stop, rows, others = scan_frames(data, at)
        place = at
        only = rows if _gaps(others, at, stop, data) == 1 else 0
        for kind, offset in others:
            if offset != place:
                self._rows(data, place, offset, only)
            end = offset + 1 + _length(data, offset + 1)[0]
            if kind == m.COPY_DATA:
                self._copy_out(data, offset, end)
            else:
                self._control(kind, data, offset, end)
            place = end
        if place != stop:
            self._rows(data, place, stop, only)
        self._rest(data, stop)

    def _rest(self, data: bytes, stop: int) -> None:
        """Hand on what is whole and keep, or stream, the beginning of what is not."""
        size = len(data)
        if size - stop >= 5:
            kind, length = _header(data, stop)
            check_backend(kind, length)
            missing = stop + 1 + length - size
            if length >= STREAMED and kind in _ROWS and self._may_stream():
                self._through = missing
                self._account(data, size)
                self._put(data, size)
                if kind == m.DATA_ROW:
                    self._head().run.rows += 1  # pyright: ignore[reportOptionalMemberAccess] - _may_stream saw it
                return
            if length > MAX_HELD_ROW:
                raise ProtocolViolationError(f"a server message of {length} bytes is more than can be looked into")
            self._missing = missing
        self._account(data, stop)
        self._put(data, stop)
        if stop < size:
            self._parts.append(data[stop:])

    def _may_stream(self) -> bool:
        head = self.owed[0] if self.owed else None
        return head is not None and head.shown and head.run is not None and head.run.sink is None

    def _head(self) -> Expect:
        if not self.owed:
            raise ProtocolViolationError("the server answers a question that was not asked")
        return self.owed[0]

    def _put(self, data: bytes, upto: int) -> None:
        """Hand on everything from the mark to `upto`."""
        if upto > self._mark:
            self._out.append(data if self._mark == 0 and upto == len(data) else data[self._mark : upto])
            self._mark = upto

    def _account(self, data: bytes, upto: int) -> None:
        """Let the recording of the run at the head see the bytes up to `upto`."""
        if upto > self._kept:
            run = self.owed[0].run if self.owed else None
            if run is not None and self.owed[0].shown:
                run.response.add(data if self._kept == 0 and upto == len(data) else data[self._kept : upto])
            self._kept = upto

    def _leave_out(self, data: bytes, start: int, end: int, instead: bytes = b"") -> None:
        """Hand on what came before `start`, then `instead`, and go on behind `end`."""
        self._account(data, start)
        self._put(data, start)
        if instead:
            self._out.append(instead)
            if self.owed and self.owed[0].run is not None:
                self.owed[0].run.response.add(instead)
        self._mark = self._kept = end

    def _rows(self, data: bytes, start: int, end: int, count: int) -> None:
        """Complete DataRows from `start` to `end`: `count` of them, to be counted here if that is 0."""
        head = self._head()
        if head.kind not in (m.EXECUTE, m.QUERY):
            raise ProtocolViolationError("the server sends rows where none are due")
        run = head.run
        if not head.shown or run is None:
            head.rows.append(data[start:end])
            self._leave_out(data, start, end)
            return
        if run.exceeded:
            self._leave_out(data, start, end)
            return
        run.rows += count or _count_rows(data, start, end)
        if run.sink is not None:
            self._leave_out(data, start, end, run.sink(data, start, end))

    def _copy_out(self, data: bytes, start: int, end: int) -> None:
        """One complete CopyData from the server."""
        head = self._head()
        run = head.run
        if head.kind not in (m.EXECUTE, m.QUERY) or run is None or not head.shown:
            raise ProtocolViolationError("the server sends copy data where none is due")
        run.rows += 1
        if run.sink is not None:
            self._leave_out(data, start, end, run.sink(data, start, end))

    def _control(self, kind: int, data: bytes, start: int, end: int) -> None:
        if kind == m.ERROR_RESPONSE:
            self._error(data, start, end)
        elif kind in (m.NOTICE_RESPONSE, m.NOTIFICATION_RESPONSE, m.PARAMETER_STATUS):
            self._aside(kind, data, start, end)
        else:
            head = self._head()
            if kind in ENDS[head.kind]:
                self._end(head, kind, data, start, end)
            elif kind in WITHIN[head.kind]:
                self._within(head, kind, data, start, end)
            else:
                raise ProtocolViolationError(f"the server answers {chr(head.kind)!r} with {chr(kind)!r}")

    def _end(self, head: Expect, kind: int, data: bytes, start: int, end: int) -> None:
        """The message that ends the answer at the head of the queue."""
        run = head.run
        shown = head.shown
        if kind == m.READY_FOR_QUERY:
            shown = head.ready if head.kind == m.QUERY else shown
        elif run is not None:
            if kind == m.COMMAND_COMPLETE:
                self._completed(run, data[start:end])
                if run.exceeded:
                    self._leave_out(data, start, end, self.session.exceeded(run))
            elif kind == m.PORTAL_SUSPENDED:
                run.suspended = True
            elif kind == m.ROW_DESCRIPTION:
                self.session.described(run, data[start:end])
            elif kind == m.EMPTY_QUERY_RESPONSE:
                run.executed = True
        if not shown:
            self._leave_out(data, start, end)
        elif self._mark > start:  # something else stands in its place already
            self._kept = end
        elif len(self.owed) == 1 or self.owed[1].run is not run or not self.owed[1].shown:
            self._account(
                data, end
            )  # else the next answer is of the same operation, and both are accounted for together
            self._kept = end
        self.owed.popleft()
        if kind == m.READY_FOR_QUERY:
            self.session.ready(data[start + 5], head)
        if head.done is not None:
            head.done(True, data[start:end])

    def _completed(self, run: "Run", raw: bytes) -> None:
        run.tag, changed = m.read_tag(raw)
        run.executed = True
        run.suspended = False
        if not run.tag.startswith(("SELECT", "FETCH", "MOVE")):
            run.changed += changed
        if run.max_rows is not None and run.changed > run.max_rows:
            run.exceeded = True

    def _within(self, head: Expect, kind: int, data: bytes, start: int, end: int) -> None:
        """A message inside an answer that goes on."""
        run = head.run
        if head.shown and run is not None:
            if run.exceeded:
                self._leave_out(data, start, end)
            elif kind == m.COMMAND_COMPLETE:
                self._completed(run, data[start:end])
                if run.exceeded:
                    self._leave_out(data, start, end, self.session.exceeded(run))
                run.result += run.sink is not None or bool(run.fields)
                run.sink, run.fields = None, ()
            elif kind == m.ROW_DESCRIPTION:
                self.session.described(run, data[start:end])
            elif kind in (m.COPY_IN_RESPONSE, m.COPY_OUT_RESPONSE):
                if self.session.copying(run, data[start:end]):
                    self._leave_out(data, start, end)
            elif kind == m.COPY_DONE:
                self.session.copied(run)
        elif not head.shown:
            if kind in (m.COPY_IN_RESPONSE, m.COPY_OUT_RESPONSE):
                raise ProtocolViolationError("the server starts a copy that was not asked for")
            self._leave_out(data, start, end)
        elif kind == m.PARAMETER_DESCRIPTION and head.done is not None:
            head.rows.append(data[start:end])

    def _aside(self, kind: int, data: bytes, start: int, end: int) -> None:
        """Messages that may come at any time."""
        head = self.owed[0] if self.owed else None
        if kind == m.PARAMETER_STATUS:
            name, value = m.read_parameter_status(data[start:end])
            pinned = startup.PINNED.get(name.decode(errors="replace"))
            if pinned is not None and value.decode(errors="replace") != pinned:
                raise ProtocolViolationError(f"{name.decode()} became {value.decode(errors='replace')!r}")
        elif kind == m.NOTIFICATION_RESPONSE:
            masked = self.session.notification(data[start:end])
            if masked is not None:
                self._leave_out(data, start, end, masked)
        elif head is not None and not head.shown:
            self._leave_out(data, start, end)
        elif self._sensitive(head):
            self._leave_out(data, start, end, refusal.reduced(data[start:end]))

    def _sensitive(self, head: Expect | None) -> bool:
        """True if a message of the server might tell something of a masked relation. At Sync any operation may be meant."""
        if head is None or head.kind in (m.SYNC, m.QUERY) or head.run is None:
            return self.session.sensitive
        return head.run.sensitive

    def _error(self, data: bytes, start: int, end: int) -> None:
        raw = data[start:end]
        if not self.owed:  # FATAL: the server is about to hang up
            return
        head = self.owed[0]
        code = m.read_report(raw).get("C", "")
        shown = refusal.reduced(raw) if self._sensitive(head) else raw
        if head.instead is not None:
            shown = head.instead
        if head.run is not None:
            head.run.error = code
        if head.kind == m.QUERY:
            self.session.copy = None
            if head.run is not None and head.run.exceeded:
                shown = b""
            if shown is not raw:
                self._leave_out(data, start, end, shown)
            if not head.shown and head.done is None:
                head.rows.append(raw)
            return
        if shown is not raw:
            self._leave_out(data, start, end, shown)
        else:
            self._account(data, end)
        skipped = self.owed.skip()
        self._kept = end
        self.session.segment_failed(head, skipped, raw)


def _gaps(others: list[tuple[int, int]], start: int, stop: int, data: bytes) -> int:
    """How many stretches of DataRows lie between the other frames; counting stops at 2."""
    gaps = 0
    for _, offset in others:
        if offset != start:
            gaps += 1
            if gaps > 1:
                return gaps
        start = offset + 1 + _length(data, offset + 1)[0]
    return gaps + (start != stop)


def _count_rows(data: bytes, start: int, end: int) -> int:
    rows = 0
    while start < end:
        start += 1 + _length(data, start + 1)[0]
        rows += 1
    return rows
