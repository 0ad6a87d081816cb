"""Python functions for the simplest conditions about what changes, such as `session.operations > 1000`.

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

_NUMBERS: dict[str, Quick] = {
    "session.operations": lambda operation, session, now: session.operations,
    "session.rows_read": lambda operation, session, now: session.rows_read,
    "session.bytes_read": lambda operation, session, now: session.bytes_read,
    "session.rows_written": lambda operation, session, now: session.rows_written,
    "session.reviews": lambda operation, session, now: session.reviews,
    "operation.size": lambda operation, session, now: operation.size,
    "time.hour": lambda operation, session, now: now % _DAY // _HOUR,
    "time.weekday": lambda operation, session, now: (now // _DAY + _THURSDAY) % 7 + 1,
}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "_==_": operator.eq,
    "_!=_": operator.ne,
    "_<_": operator.lt,
    "_<=_": operator.le,
    "_>_": operator.gt,
    "_>=_": operator.ge,
}
_MIRRORED = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_"}


class Comparison:
    """`source` (such as `session.operations`) compared by `symbol` (one of CEL's, such as `_>_`) with the constant `value`."""

    __slots__ = ("_compare", "_number", "source", "symbol", "value")

    def __init__(self, source: str, symbol: str, value: int) -> None:
        self.source = source
        self.symbol = symbol
        self.value = value
        self._number = _NUMBERS[source]
        self._compare = _COMPARISONS[symbol]

    def __call__(self, operation: Operation, session: Session, now: Instant) -> bool:
        return self._compare(self._number(operation, session, now), self.value)


def quick(expr: Any) -> Quick | None:
    """Return a closure that says what the boolean expression `expr` (a `cel.expr.Expr`) says, None if it is not so simple."""
    if not expr.HasField("call"):
        return None
    function, args = expr.call.function, expr.call.args
    if function in _COMPARISONS:
        return _compared(function, args[0], args[1])
    if function not in ("_&&_", "_||_", "!_"):
        return None
    parts = [quick(arg) for arg in args]
    known = [part for part in parts if part is not None]
    return _joined(function, known) if len(known) == len(parts) else None


def _compared(symbol: str, left: Any, right: Any) -> Quick | None:
    source, other = _source(left), _source(right)
    if source is not None and other is not None:
        compare, one, two = _COMPARISONS[symbol], _NUMBERS[source], _NUMBERS[other]
        return lambda operation, session, now: compare(one(operation, session, now), two(operation, session, now))
    value = _constant(right if other is None else left)
    if value is None:
        return None
    if source is not None:
        return Comparison(source, symbol, value)
    return None if other is None else Comparison(other, _MIRRORED.get(symbol, symbol), value)


def _constant(expr: Any) -> int | None:
    return int(expr.const.int) if expr.HasField("const") and expr.const.HasField("int") else None


def _source(expr: Any) -> str | None:
    if not expr.HasField("select") or not expr.select.operand.HasField("ident") or expr.select.test:
        return None
    name = f"{expr.select.operand.ident.name}.{expr.select.field}"
    return name if name in _NUMBERS else None


def _joined(function: str, parts: list[Quick]) -> Quick:
    first, last = parts[0], parts[-1]
    if function == "_&&_":
        return lambda operation, session, now: first(operation, session, now) and last(operation, session, now)
    if function == "_||_":
        return lambda operation, session, now: first(operation, session, now) or last(operation, session, now)
    return lambda operation, session, now: not first(operation, session, now)
