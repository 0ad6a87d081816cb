"""Masking of server-sent events (HTML Standard 9.2), one event at a time.

The data lines of an event are one message, and masked as such: JSON as JSON, anything else by detectors. Every other line (comments, ids, names
of events) is masked by detectors by itself. An event in which nothing is hidden passes as it came. What a service spreads over several events
(a text that is generated word by word) is not put together.
"""

import re

from gateway_kernel.errors import UnmaskableError

from .masker import Detection
from .members import Members
from .messages import MessageMasker
from .stream import Stream

LONGEST = 1024 * 1024  # bytes of one event

_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE = re.compile(rb"([^\r\n]*+)(\r\n|\n|\r|\Z)")
_BOM = b"\xef\xbb\xbf"


class EventStreamMasker(Stream):
    """Masks one stream of events. An event is given out as soon as the blank line behind it has come; at the end also one without."""

    __slots__ = ("_after_cr", "_detection", "_held", "_messages", "_searched", "_started")

    def __init__(self, detection: Detection | None, members: Members | None = None) -> None:
        super().__init__()
        self._detection = detection or None
        self._messages = MessageMasker(detection, members)
        self.counts = self._messages.counts
        self._held = b""
        self._searched = 0  # bytes of `_held` known to hold no end of an event
        self._after_cr = False  # the last event ended with CR: LF may follow and belongs to it
        self._started = False

    @property
    def held(self) -> int:
        """Bytes taken in and not yet given out."""
        return len(self._held)

    def _read(self, chunk: bytes, out: list[bytes], final: bool) -> None:
        self._held += chunk
        held = self._held
        at = 0
        if self._after_cr and held:
            self._after_cr = False
            at = held.startswith(b"\n")
            out += [held[:at]] if at else []
        while at < len(held):
            end = self._end(held, at, final)
            if end < 0:
                break
            if end - at > LONGEST:
                self._too_long()
            out.append(self._event(held[at:end]))
            self._after_cr = end == len(held) and held.endswith(b"\r")
            at = end
            self._searched = 0
        self._held = held[at:]
        self._searched = max(0, len(self._held) - 3)
        if len(self._held) > LONGEST:
            self._too_long()

    def _end(self, held: bytes, at: int, final: bool) -> int:
        """Where the event at `at` ends; -1 if that has not come."""
        if held[at] in b"\r\n":  # a blank line where no event is
            return at + 2 if held.startswith(b"\r\n", at) else at + 1
        found = _EVENT_END.search(held, at or self._searched)
        if found is not None:
            return found.end()
        return len(held) if final else -1

    def _too_long(self) -> None:
        raise UnmaskableError(f"an event is longer than {LONGEST} bytes")

    def _event(self, event: bytes) -> bytes:
        lines: list[tuple[bytes, bytes]] = [(line[1], line[2]) for line in _LINE.finditer(event) if line[0]]
        lead = b""
        if not self._started and lines:
            self._started = True
            if lines[0][0].startswith(_BOM):
                lead, lines[0] = _BOM, (lines[0][0][len(_BOM) :], lines[0][1])
        values = [value for line, _ in lines if (value := _data(line)) is not None]
        message = b"\n".join(values)
        masked = self._messages.masked(message) if values else message
        self.nulled |= self._messages.nulled
        out = [lead]
        placed = masked is message
        for line, end in lines:
            if masked is message or _data(line) is None:
                out += (self._line(line), end)
            elif not placed:
                placed = True
                stop = end or b"\n"
                out.append(stop.join(b"data: " + part for part in masked.split(b"\n")) + end)
        return b"".join(out)

    def _line(self, line: bytes) -> bytes:
        """A line that is no data, masked by detectors; one that would be null becomes an empty comment."""
        if self._detection is None or _data(line) is not None:
            return line
        masked = self._detection.mask_value(line, self.counts)
        if masked is None:
            self.nulled = True
            return b":"
        return masked


def _data(line: bytes) -> bytes | None:
    """The value of a data line, None for any other."""
    if line == b"data":
        return b""
    return line[6 if line.startswith(b"data: ") else 5 :] if line.startswith(b"data:") else None
