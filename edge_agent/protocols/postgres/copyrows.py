"""Masking of COPY TO STDOUT in its three formats (text, csv, binary; COPY, section "File Formats"). Pure: no IO.

`CopyMasker` takes CopyData payloads, which may split rows anywhere, and gives payloads with the same rows; the output does not
depend on the split. A row is held until it is complete; one above `LONGEST_ROW`, or one that does not read as the format says,
raises UnmaskableError, and the COPY must fail: nothing unread is let through. In text format, under a null string of the
agent's own choice, ruled columns become NULL whatever their strategy. COPY FROM is not masked, it is judged.
"""

import re
import struct
from collections.abc import Sequence
from typing import Literal

import msgspec

from gateway_kernel.errors import UnmaskableError
from gateway_kernel.masking.lenient import is_clean

from .values import ColumnPlan, Transform, Values

LONGEST_ROW = 16 * 1024 * 1024  # bytes held back at most
_SIGNATURE = b"PGCOPY\n\xff\r\n\x00"
_HEADER = len(_SIGNATURE) + 8  # flags, length of the extension


class CopyOptions(msgspec.Struct, frozen=True):
    """The options of a COPY as the statement gives them; None where it leaves the format's default. Each but `null` is one byte."""

    delimiter: bytes | None = None
    null: bytes | None = None
    quote: bytes | None = None
    escape: bytes | None = None
    header: bool = False


class CopyMasker:
    """Masks one COPY TO STDOUT. `types` and `plan` have one entry for each column, as in `rows.RowMasker`.

    `rows` counts data rows (not the header line), `masked` the values that column rules hid.
    """

    def __init__(
        self,
        form: Literal["text", "csv", "binary"],
        options: CopyOptions,
        types: Sequence[int],
        plan: Sequence[ColumnPlan],
        values: Values,
    ) -> None:
        if len(types) != len(plan):
            raise ValueError(f"the plan has {len(plan)} entries for {len(types)} columns")
        csv = form == "csv"
        self._form = form
        self._delimiter = options.delimiter or (b"," if csv else b"\t")
        self._null = (b"" if csv else b"\\N") if options.null is None else options.null
        self._quote = options.quote or b'"'
        self._escape = options.escape or self._quote
        for name, byte in (("delimiter", self._delimiter), ("quote", self._quote), ("escape", self._escape)):
            if len(byte) != 1:
                raise ValueError(f"COPY's {name} must be one byte")
        self._values = values
        self._types = tuple(types)
        self._transforms = tuple(self._transform(oid, entry) for oid, entry in zip(types, plan, strict=True))
        self._ruled = tuple(entry is not None for entry in plan)
        self._skip = options.header and form != "binary"
        self._buffer = bytearray()
        self._searched = 0  # bytes of the buffer known to end no row
        self._quotes = 0  # quotes in them, for csv
        self._opened = False
        self._closed = False
        self._complete = {"text": self._lines, "csv": self._records, "binary": self._tuples}[form]
        self._field, self._row = _grammar(self._delimiter, self._quote, self._escape)
        self._escapes = re.compile(re.escape(self._escape) + b"([" + re.escape(self._escape + self._quote) + b"])")
        self.active = any(transform is not None for transform in self._transforms)
        self.rows = 0
        self.masked = 0

    def feed(self, payload: bytes) -> bytes:
        """Take one CopyData's payload; give the rows that are complete now, masked."""
        if not self.active:
            return payload
        self._buffer += payload
        out = self._complete()
        if len(self._buffer) > LONGEST_ROW:
            raise UnmaskableError(f"COPY holds a row above {LONGEST_ROW} bytes, which cannot be masked")
        return out

    def finish(self) -> None:
        """CopyDone came. UnmaskableError if it came inside a row."""
        if self._buffer:
            raise UnmaskableError("COPY ended inside a row")

    def _transform(self, oid: int, plan: ColumnPlan) -> Transform | None:
        values, binary = self._values, self._form == "binary"
        if plan is not None and self._form == "text" and b"\\" not in self._null:
            plan = (
                "null"  # in text a value equal to such a null string reads as NULL, which would tell that it is equal
            )
        if plan is not None:
            return values.by_plan(plan, oid)
        return (lambda value: values.detect(oid, binary, value)) if values.detects(oid) else None

    # Text

    def _lines(self) -> bytes:
        end = self._buffer.rfind(b"\n", self._searched) + 1
        if not end:
            self._searched = len(self._buffer)
            return b""
        data = self._take(end)
        if self._untouched(data):
            self.rows += data.count(b"\n")
            return data
        return b"".join([self._line(line) for line in data.split(b"\n")[:-1]])

    def _line(self, line: bytes) -> bytes:
        if self._skip:
            self._skip = False
            return line + b"\n"
        if line == b"\\.":  # what servers before 18 send at the end
            return line + b"\n"
        fields = _split_text(line, self._delimiter)
        self._count(len(fields))
        for column, transform in enumerate(self._transforms):
            if transform is None or fields[column] == self._null:
                continue
            field = fields[column]
            value = _TEXT_ESCAPE.sub(_text_unescaped, field) if b"\\" in field else field
            masked = self._masked(column, transform, value)
            if masked is None:
                fields[column] = self._null
            elif masked is not value:
                fields[column] = self._text_escaped(masked)
        return self._delimiter.join(fields) + b"\n"

    def _text_escaped(self, value: bytes) -> bytes:
        escaped = _TEXT_SPECIAL.sub(lambda match: _TEXT_LETTERS[match[0]], value)
        return escaped.replace(self._delimiter, b"\\" + self._delimiter)

    # CSV

    def _records(self) -> bytes:
        ends: list[int] = []
        buffer = self._buffer
        pairs = b"" if self._escape == self._quote else self._escape
        at = self._searched
        while (newline := buffer.find(b"\n", at)) >= 0:
            line = bytes(buffer[at:newline])
            self._quotes += (self._escapes.sub(b"", line) if pairs else line).count(self._quote)
            at = newline + 1
            if self._quotes % 2 == 0:
                ends.append(at)
                self._quotes = 0
        self._searched = at
        if not ends:
            return b""
        data = self._take(ends[-1])
        if self._untouched(data):
            self.rows += len(ends)
            return data
        return b"".join([self._record(data[a:b]) for a, b in zip([0, *ends], ends, strict=False)])

    def _record(self, record: bytes) -> bytes:
        if self._skip:
            self._skip = False
            return record
        if not self._row.fullmatch(record):
            raise UnmaskableError("COPY's csv holds a row that does not read as csv")
        fields: list[bytes] = []
        at = 0
        while at < len(record):
            field = self._field.match(record, at)
            assert field is not None  # the pattern accepts the empty field, and the row has been checked
            fields.append(field[0])
            at = field.end() + 1
        self._count(len(fields))
        for column, transform in enumerate(self._transforms):
            field = fields[column]
            if transform is None or field == self._null:
                continue
            quoted = field[:1] == self._quote
            value = self._escapes.sub(rb"\1", field[1:-1]) if quoted else field
            masked = self._masked(column, transform, value)
            if masked is not value:
                fields[column] = self._null if masked is None else self._csv_quoted(masked)
        return self._delimiter.join(fields) + b"\n"

    def _csv_quoted(self, value: bytes) -> bytes:
        escaped = value.replace(self._escape, self._escape * 2)
        if self._escape != self._quote:
            escaped = escaped.replace(self._quote, self._escape + self._quote)
        return self._quote + escaped + self._quote

    # Binary

    def _tuples(self) -> bytes:
        data = bytes(self._buffer)
        out: list[bytes] = []
        at = 0
        if not self._opened:
            if not _SIGNATURE.startswith(data[: len(_SIGNATURE)]):
                raise UnmaskableError("COPY's binary data lacks its signature")
            if len(data) < _HEADER:
                return b""
            flags, extension = struct.unpack_from("!Ii", data, len(_SIGNATURE))
            if flags or extension < 0:
                raise UnmaskableError("COPY's binary header has flags or an extension that nobody here can read")
            if len(data) < _HEADER + extension:
                return b""
            at = _HEADER + extension
            out.append(data[:at])
            self._opened = True
        while (end := self._tuple(data, at, out)) is not None:
            at = end
        del self._buffer[:at]
        return b"".join(out)

    def _tuple(self, data: bytes, at: int, out: list[bytes]) -> int | None:
        """Mask the tuple at `at` into `out`; returns where it ends, None if it is not complete."""
        if len(data) < at + 2:
            return None
        (count,) = struct.unpack_from("!h", data, at)
        if count == -1 and not self._closed:
            self._closed = True
            out.append(data[at : at + 2])
            return at + 2
        if self._closed:
            raise UnmaskableError("COPY's binary data goes on after its end")
        fields: list[bytes | None] = []
        place = at + 2
        for _ in self._types:
            if len(data) < place + 4:
                return None
            (size,) = struct.unpack_from("!i", data, place)
            place += 4
            if size < -1 or count != len(self._types):
                raise UnmaskableError("COPY's binary data holds a tuple with other columns than were planned")
            if len(data) < place + size:
                return None
            fields.append(None if size == -1 else data[place : place + size])
            place += max(size, 0)
        self._count(count)
        out.append(data[at : at + 2])
        for column, value in enumerate(fields):
            transform = self._transforms[column]
            masked = value if value is None or transform is None else self._masked(column, transform, value)
            out.append(b"\xff\xff\xff\xff" if masked is None else struct.pack("!i", len(masked)) + masked)
        return place

    # All

    def _untouched(self, data: bytes) -> bool:
        """True if there is nothing to hide in these rows, seen at once: no rule, no candidate, and no escape to hide one."""
        if self._skip or any(self._ruled):
            return False
        escapes = (b"\\", b"&#", self._quote * 2) if self._escape == self._quote else (b"\\", b"&#", self._escape)
        plain = data.replace(b"\\N", b"") if self._null == b"\\N" else data
        detection = self._values.detection
        return (
            detection is not None
            and not any(e in plain for e in escapes)
            and is_clean(data)
            and not detection.screen.which(data)
        )

    def _take(self, end: int) -> bytes:
        data = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._searched = max(0, self._searched - end)
        return data

    def _count(self, fields: int) -> None:
        if fields != len(self._types):
            raise UnmaskableError(f"COPY sent a row of {fields} columns where {len(self._types)} were planned")
        self.rows += 1

    def _masked(self, column: int, transform: Transform, value: bytes) -> bytes | None:
        self.masked += self._ruled[column]
        return transform(value)


type Pattern = re.Pattern[bytes]

_TEXT_SPECIAL = re.compile(rb"[\\\x08\x0c\n\r\t\x0b]")
_TEXT_LETTERS = {
    b"\\": rb"\\",
    b"\x08": rb"\b",
    b"\x0c": rb"\f",
    b"\n": rb"\n",
    b"\r": rb"\r",
    b"\t": rb"\t",
    b"\x0b": rb"\v",
}
_TEXT_BYTES = {letters[1:]: byte for byte, letters in _TEXT_LETTERS.items()}
_TEXT_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|(.))", re.DOTALL)


def _text_unescaped(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return bytes([int(match[1], 8) & 0xFF])
    if match[2] is not None:
        return bytes([int(match[2], 16)])
    return _TEXT_BYTES.get(match[3], match[3])


def _split_text(line: bytes, delimiter: bytes) -> list[bytes]:
    """Fields of a text line: the delimiter inside a field is written behind a backslash."""
    fields = line.split(delimiter)
    if b"\\" + delimiter not in line:
        return fields
    joined: list[bytes] = []
    open_ = False
    for field in fields:
        if open_:
            joined[-1] += delimiter + field
        else:
            joined.append(field)
        backslashes = len(field) - len(field.rstrip(b"\\"))
        open_ = backslashes % 2 == 1
    return joined


def _grammar(delimiter: bytes, quote: bytes, escape: bytes) -> tuple[Pattern, Pattern]:
    """Patterns of one csv field and of a whole row, as CopyAttributeOutCSV writes them."""
    d, q, e = re.escape(delimiter), re.escape(quote), re.escape(escape)
    content = rb"(?:[^%b]|%b%b)*+" % (q, q, q) if escape == quote else rb"(?:%b[%b%b]|[^%b%b])*+" % (e, e, q, e, q)
    field = rb"(?:%b%b%b|[^%b%b\r\n]*+)" % (q, content, q, d, q)
    return re.compile(field, re.DOTALL), re.compile(rb"%b(?:%b%b)*+\n" % (field, d, field), re.DOTALL)
