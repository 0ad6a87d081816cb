"""The inner loops over backend frames, in plain Python: the fallback of the optional Cython `_scan`, with the same results.

An action says what happens to the value in one output column. `None` columns of a row (length -1) stay as they are.

PASS leave it · NULL · REDACT · PARTIAL as `gateway_kernel.masking.strategies` defines them · CALL ask the callback about every
value · SUSPECT ask it where the value lies under a suspect span or is not clean UTF-8 · ESCAPED as SUSPECT, and where it holds a
backslash or a doubled quote · WIDE ask it about a binary int8 of 13 digits or more · PARTIAL_UNLESS it is suspect (then ask it).
"""

import struct
from collections.abc import Callable, Sequence

from gateway_kernel.masking.lenient import is_clean
from gateway_kernel.masking.strategies import MASK, partial

PASS, NULL, REDACT, PARTIAL, CALL, SUSPECT, ESCAPED, WIDE, PARTIAL_UNLESS = range(9)
FEWEST_DIGITS = 10**12  # the shortest number that a detector can take for something: a card of 13 digits

type Callback = Callable[[int, bytes], bytes | None]
type Spans = Sequence[tuple[int, int]]

_HEADER = struct.Struct("!BI").unpack_from
_LENGTH = struct.Struct("!i")
_COUNT = struct.Struct("!H").unpack_from
_DATA_ROW = 0x44


def scan_frames(data: bytes, start: int) -> tuple[int, int, list[tuple[int, int]]]:
    """(offset of the first frame that is not complete, DataRows before it, [(type, offset)] of all other frames before it).

    ValueError if a frame announces less than its own length field.
    """
    rows = 0
    others: list[tuple[int, int]] = []
    size = len(data)
    while size - start >= 5:
        kind, length = _HEADER(data, start)
        if length < 4:
            raise ValueError("a frame announces a length below 4")
        stop = start + 1 + length
        if stop > size:
            break
        if kind == _DATA_ROW:
            rows += 1
        else:
            others.append((kind, start))
        start = stop
    return start, rows, others


def mask_rows(
    data: bytes, start: int, end: int, actions: bytes, suspects: Spans, callback: Callback
) -> tuple[bytes | None, int, int]:
    """(the frames of `data[start:end]` masked, or None if nothing changed; rows; values masked by NULL, REDACT and PARTIAL).

    `suspects` are sorted, disjoint spans of `data`. `callback(column, value)` gives the value that stands instead: None is NULL,
    the same object is no change. ValueError unless the range is complete DataRow frames with as many columns as `actions`.
    """
    out: list[bytes] = []
    rows = masked = suspect = 0
    copied = at = start
    columns = len(actions)
    touched = [(column, action) for column, action in enumerate(actions) if action != PASS]
    last = touched[-1][0] + 1 if touched else 0
    while at < end:
        if end - at < 7:
            raise ValueError("a DataRow is cut short")
        kind, length = _HEADER(data, at)
        stop = at + 1 + length
        if kind != _DATA_ROW or length < 6 or stop > end or _COUNT(data, at + 5)[0] != columns:
            raise ValueError("not a complete DataRow with the columns that were described")
        rows += 1
        place = at + 7
        grown = 0
        pieces: list[bytes] = []
        kept = place
        for column in range(columns):
            if place + 4 > stop:
                raise ValueError("a DataRow ends inside a column")
            (size,) = _LENGTH.unpack_from(data, place)
            begin = place + 4
            place = begin + size if size >= 0 else begin
            if size < -1 or place > stop:
                raise ValueError("a DataRow ends inside a column")
            if column >= last or size < 0:
                continue
            action = actions[column]
            if action == PASS:
                continue
            if action > CALL and action != WIDE:
                while suspect < len(suspects) and suspects[suspect][1] <= begin:
                    suspect += 1
            value = data[begin:place]
            if action >= CALL and _asked(action, value, suspects, suspect, place):
                replaced = callback(column, value)
            elif action < CALL or action == PARTIAL_UNLESS:
                masked += 1
                replaced = None if action == NULL else MASK if action == REDACT else partial(value)
            else:
                continue
            if replaced is value:
                continue
            pieces += (
                data[kept : begin - 4],
                _LENGTH.pack(-1) if replaced is None else _LENGTH.pack(len(replaced)) + replaced,
            )
            grown += (len(replaced) if replaced is not None else 0) - size
            kept = place
        if place != stop:
            raise ValueError("a DataRow holds more than its columns")
        if kept != at + 7:
            out += (
                data[copied:at],
                b"D",
                _LENGTH.pack(length + grown),
                data[at + 5 : at + 7],
                *pieces,
                data[kept:stop],
            )
            copied = stop
        at = stop
    if copied == start:
        return None, rows, masked
    out.append(data[copied:end])
    return b"".join(out), rows, masked


def _asked(action: int, value: bytes, suspects: Spans, suspect: int, stop: int) -> bool:
    """True if this value must be examined."""
    if action == CALL:
        return True
    if action == WIDE:
        return len(value) != 8 or abs(int.from_bytes(value, "big", signed=True)) >= FEWEST_DIGITS
    if suspect < len(suspects) and suspects[suspect][0] < stop:
        return True
    if action == ESCAPED and (b"\\" in value or b'""' in value):
        return True
    return not is_clean(value)
