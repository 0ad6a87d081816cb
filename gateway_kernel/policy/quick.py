"""Python closures for the simplest conditions about what changes, such as `session.operations > 1000`.

A call into CEL costs 5 to 25 us, and these are asked at every execution. Only comparisons of counters and times with constants, joined
by `&&`, `||` and `!`, are taken: they cannot err, so short circuits agree with CEL's. Everything else stays CEL's; a test holds
both against each other.
"""

import operator
from collections.abc import Callable
from typing import Any

from gateway_kernel.model import SECOND, Instant, Operation, Session

type Quick = Callable[[Operation, Session, Instant], Any]

_HOUR: Instant = 3600 * SECOND
_DAY: Instant = 24 * _HOUR
_THURSDAY = 3
"""1970-01-01, counted from Monday as 0."""

_NUMBERS: dict[tuple[str, str], Quick] = {
    ("session", "operations"): lambda operation, session, now: session.operations,
    ("session", "rows_read"): lambda operation, session, now: session.rows_read,
    ("session", "bytes_read"): lambda operation, session, now: session.bytes_read,
    ("session", "rows_written"): lambda operation, session, now: session.rows_written,
    ("session", "reviews"): lambda operation, session, now: session.reviews,
    ("operation", "size"): lambda operation, session, now: operation.size,
    ("time", "hour"): lambda operation, session, now: now % _DAY // _HOUR,
    ("time", "weekday"): lambda operation, session, now: (now // _DAY + _THURSDAY) % 7 + 1,
}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "_==_": operator.eq,
    "_!=_": operator.ne,
    "_<_": operator.lt,
    "_<=_": operator.le,
    "_>_": operator.gt,
    "_>=_": operator.ge,
}


def quick(expr: Any) -> Quick | None:
    """Return a closure that says what the boolean expression `expr` (a `cel.expr.Expr`) says, None if it is not so simple."""
    if not expr.HasField("call"):
        return None
    function, args = expr.call.function, expr.call.args
    if function in _COMPARISONS:
        left, right = _number(args[0]), _number(args[1])
        return None if left is None or right is None else _compared(_COMPARISONS[function], left, right)
    if function not in ("_&&_", "_||_", "!_"):
        return None
    parts = [quick(arg) for arg in args]
    known = [part for part in parts if part is not None]
    return _joined(function, known) if len(known) == len(parts) else None


def _number(expr: Any) -> Quick | None:
    if expr.HasField("const") and expr.const.HasField("int"):
        value = expr.const.int
        return lambda operation, session, now: value
    if expr.HasField("select") and expr.select.operand.HasField("ident") and not expr.select.test:
        return _NUMBERS.get((expr.select.operand.ident.name, expr.select.field))
    return None


def _compared(compare: Callable[[Any, Any], bool], left: Quick, right: Quick) -> Quick:
    return lambda operation, session, now: compare(left(operation, session, now), right(operation, session, now))


def _joined(function: str, parts: list[Quick]) -> Quick:
    first, last = parts[0], parts[-1]
    if function == "_&&_":
        return lambda operation, session, now: first(operation, session, now) and last(operation, session, now)
    if function == "_||_":
        return lambda operation, session, now: first(operation, session, now) or last(operation, session, now)
    return lambda operation, session, now: not first(operation, session, now)
