"""Masking of PostgreSQL result rows (DataRow, protocol 3 section 55.7), by column and by content. Pure: no IO.

A `RowMasker` is made once for each RowDescription from a plan with one entry for each output column: a strategy, `withhold` (its origin
could not be resolved: NULL) or None, and from `Values`, which holds the detectors. Where neither has anything to do it gives
the bytes back untouched. The loops run in C where `_scan` was built (`SCANNER` says `cython`), else in Python with the same
results. Which columns are to be masked is decided elsewhere.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from gateway_kernel.errors import UnmaskableError
from gateway_kernel.masking.detectors import Span

from . import pgtypes, scan
from .values import ColumnPlan, Transform, Values

try:
    from . import _scan as _compiled  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
except ImportError:
    _compiled = None

type MaskRows = Callable[[bytes, int, int, bytes, scan.Spans, scan.Callback], tuple[bytes | None, int, int]]
type ScanFrames = Callable[[bytes, int], tuple[int, int, list[tuple[int, int]]]]

SCANNER = "python" if _compiled is None else "cython"
scan_frames: ScanFrames = scan.scan_frames if _compiled is None else cast("ScanFrames", _compiled.scan_frames)
_mask_rows: MaskRows = scan.mask_rows if _compiled is None else cast("MaskRows", _compiled.mask_rows)

_BY_RULE = {"null": scan.NULL, "withhold": scan.NULL, "redact": scan.REDACT, "partial": scan.PARTIAL}
_SCREENED = (scan.SUSPECT, scan.ESCAPED, scan.PARTIAL_UNLESS)


class Column(Protocol):
    """What masking needs of a RowDescription's field: the type's oid, and the format (0 text, 1 binary)."""

    @property
    def type(self) -> int: ...

    @property
    def format(self) -> int: ...


class RowMasker:
    """Masks the DataRows of one result. `rows` counts them all, `masked` the values that column rules hid; what detectors
    hid is in `values.counts`.

    ValueError if the plan has not one entry for each column, or a strategy lacks its key.
    """

    __slots__ = ("_actions", "_columns", "_screened", "_transforms", "active", "masked", "rows", "values")

    def __init__(self, columns: Sequence[Column], plan: Sequence[ColumnPlan], values: Values) -> None:
        if len(columns) != len(plan):
            raise ValueError(f"the plan has {len(plan)} entries for {len(columns)} columns")
        self.values = values
        self._columns = tuple((column.type, column.format == 1) for column in columns)
        self._transforms: dict[int, Transform] = {}
        self._actions = bytes(map(self._action, range(len(plan)), plan))
        self._screened = any(action in _SCREENED for action in self._actions)
        self.active = any(self._actions)  # False: rows pass untouched, and need not even be fed
        self.rows = 0
        self.masked = 0

    def feed(self, data: bytes, start: int = 0, end: int | None = None) -> bytes:
        """The complete DataRow frames in `data[start:end]`, masked. UnmaskableError if they are not that, or not these columns."""
        stop = len(data) if end is None else end
        spans = self._spans(data, start, stop) if self._screened else []
        try:
            masked, rows, hidden = _mask_rows(data, start, stop, self._actions, spans, self._examine)
        except ValueError as error:
            raise UnmaskableError(f"a result cannot be masked: {error}") from error
        self.rows += rows
        self.masked += hidden
        if masked is not None:
            return masked
        return data if start == 0 and stop == len(data) else data[start:stop]

    def _action(self, column: int, plan: ColumnPlan) -> int:
        oid, binary = self._columns[column]
        if plan is not None:
            transform = self.values.by_plan(plan, oid)
            if plan in ("withhold", "null") or not self.values.is_text(oid):
                return scan.NULL
            if plan in _BY_RULE and not self.values.content_matters(plan):
                return _BY_RULE[plan]
            self._transforms[column] = transform
            return scan.PARTIAL_UNLESS if plan == "partial" and oid != pgtypes.XML else scan.CALL
        if not self.values.detects(oid):
            return scan.PASS
        if oid == pgtypes.INT8 and binary:
            return scan.WIDE
        if oid == pgtypes.XML:
            return scan.CALL
        if self.values.is_text(oid) or (not binary and oid in (pgtypes.INT8, pgtypes.NUMERIC)):
            return scan.SUSPECT
        # In these a value's content may stand otherwise than it reads: escapes. What is neither may not be readable at all.
        if oid == pgtypes.JSON or (oid == pgtypes.JSONB and not binary):
            return scan.ESCAPED
        return scan.CALL if binary or oid == pgtypes.BYTEA else scan.ESCAPED

    def _examine(self, column: int, value: bytes) -> bytes | None:
        transform = self._transforms.get(column)
        if transform is not None:
            self.masked += 1
            return transform(value)
        oid, binary = self._columns[column]
        return self.values.detect(oid, binary, value)

    def _spans(self, data: bytes, start: int, stop: int) -> list[Span]:
        """Where detectors could find something in the raw frames: joined, disjoint."""
        assert self.values.detection is not None
        part = data if start == 0 and stop == len(data) else data[start:stop]
        joined: list[Span] = []
        for begin, end in self.values.detection.screen.spans(part):
            begin, end = begin + start, end + start
            if joined and begin <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((begin, end))
        return joined
