"""Reading a checked CEL expression: which facts it asks for, and what in it the type checker lets pass but cannot be meant.

CEL serialises a checked expression as `cel.expr.CheckedExpr` (google/cel-spec, proto/cel/expr/checked.proto and syntax.proto). Only
the parts used here are declared, in code. It evaluates nothing.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import re2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from gateway_kernel.model import EffectKind
from gateway_kernel.policy.facts import ALONE, BY_NAME
from gateway_kernel.policy.quick import Quick, quick
from gateway_kernel.policy.shape import nearest

EFFECT = "sallyport.Effect"
_KINDS = tuple(kind.value for kind in EffectKind)
_Field = descriptor_pb2.FieldDescriptorProto
_WIRE = {"string": _Field.TYPE_STRING, "int64": _Field.TYPE_INT64, "int32": _Field.TYPE_INT32, "bool": _Field.TYPE_BOOL}

# message -> (field, number, type, repeated); a type that is no scalar is another message of the table.
_MESSAGES: dict[str, tuple[tuple[str, int, str, bool], ...]] = {
    "Any": (("value", 2, "CheckedExpr", False),),
    "CheckedExpr": (
        ("types", 3, "TypeEntry", True),
        ("expr", 4, "Expr", False),
        ("source", 5, "SourceInfo", False),
    ),
    "TypeEntry": (("key", 1, "int64", False), ("value", 2, "Type", False)),
    "Type": (("list", 6, "ListType", False), ("map", 7, "MapType", False), ("message", 9, "string", False)),
    "ListType": (("element", 1, "Type", False),),
    "MapType": (("key", 1, "Type", False),),
    "SourceInfo": (("positions", 4, "Position", True),),
    "Position": (("key", 1, "int64", False), ("value", 2, "int32", False)),
    "Expr": (
        ("id", 2, "int64", False),
        ("const", 3, "Constant", False),
        ("ident", 4, "Ident", False),
        ("select", 5, "Select", False),
        ("call", 6, "Call", False),
        ("list", 7, "CreateList", False),
        ("struct", 8, "CreateStruct", False),
        ("comprehension", 9, "Comprehension", False),
    ),
    "Constant": (("bool", 2, "bool", False), ("int", 3, "int64", False), ("string", 6, "string", False)),
    "Ident": (("name", 1, "string", False),),
    "Select": (("operand", 1, "Expr", False), ("field", 2, "string", False), ("test", 3, "bool", False)),
    "Call": (("target", 1, "Expr", False), ("function", 2, "string", False), ("args", 3, "Expr", True)),
    "CreateList": (("elements", 1, "Expr", True),),
    "CreateStruct": (("entries", 2, "Entry", True),),
    "Entry": (("map_key", 3, "Expr", False), ("value", 4, "Expr", False)),
    "Comprehension": (
        ("iter_range", 2, "Expr", False),
        ("accu_init", 4, "Expr", False),
        ("loop_condition", 5, "Expr", False),
        ("loop_step", 6, "Expr", False),
        ("result", 7, "Expr", False),
    ),
}


def _any_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="sallyport/cel.proto", package="sallyport.cel", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            wire = _WIRE.get(kind, _Field.TYPE_MESSAGE)
            declared = message.field.add(name=field, number=number, label=label, type=wire)
            if wire == _Field.TYPE_MESSAGE:
                declared.type_name = f".sallyport.cel.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sallyport.cel.Any"))


_Any = _any_class()


class Remark(msgspec.Struct, frozen=True):
    """Something about an expression at character `index` of it. A `fatal` one is an error, others are warnings."""

    index: int
    what: str
    fatal: bool = False


class Reading(msgspec.Struct, frozen=True):
    """What a condition asks for: (family, field), with `*` for a whole family; its `constant` value if it asks for nothing.

    A field that is a variable of its own (`facts.ALONE`) stands as (its whole name, `*`).
    """

    reads: frozenset[tuple[str, str]]
    remarks: tuple[Remark, ...]
    constant: bool | None
    quick: Quick | None


def read(serialised: bytes) -> Reading:
    """Read an expression as `cel.Expression.serialize` gives it."""
    checked: Any = _Any.FromString(serialised).value
    walk = _Walk(
        checked.expr,
        {entry.key: entry.value for entry in checked.types},
        {entry.key: entry.value for entry in checked.source.positions},
    )
    constant = checked.expr.const.bool if checked.expr.const.HasField("bool") else None
    return Reading(frozenset(walk.reads()), tuple(walk.remarks()), constant, quick(checked.expr))


def _children(expr: Any) -> Iterator[Any]:
    call, loop = expr.call, expr.comprehension
    if expr.HasField("select"):
        yield expr.select.operand
    elif expr.HasField("call"):
        if call.HasField("target"):
            yield call.target
        yield from call.args
    elif expr.HasField("list"):
        yield from expr.list.elements
    elif expr.HasField("struct"):
        for entry in expr.struct.entries:
            if entry.HasField("map_key"):
                yield entry.map_key
            yield entry.value
    elif expr.HasField("comprehension"):
        yield from (loop.iter_range, loop.accu_init, loop.loop_condition, loop.loop_step, loop.result)


def _all(expr: Any) -> Iterator[Any]:
    waiting = [expr]
    while waiting:
        current = waiting.pop()
        yield current
        waiting.extend(_children(current))


def _path(expr: Any) -> str:
    """The dotted name of a plain selection (`resource.labels`), "" for anything else."""
    if expr.HasField("ident"):
        return expr.ident.name
    if expr.HasField("select") and not expr.select.test:
        operand = _path(expr.select.operand)
        return f"{operand}.{expr.select.field}" if operand else ""
    return ""


def _string(expr: Any) -> str | None:
    return expr.const.string if expr.HasField("const") and expr.const.HasField("string") else None


class _Walk:
    def __init__(self, root: Any, types: dict[int, Any], positions: dict[int, int]) -> None:
        self._nodes = list(_all(root))
        self._types = types
        self._positions = positions

    def reads(self) -> Iterator[tuple[str, str]]:
        """Every family and field. A loop variable named like a family counts as the family: too much is safe, too little is not."""
        fielded: set[int] = set()
        for node in self._nodes:
            if node.HasField("select"):
                operand, field = node.select.operand, node.select.field
            elif node.HasField("call") and node.call.function == "_?._" and len(node.call.args) == 2:
                operand, field = node.call.args[0], _string(node.call.args[1]) or "*"
            else:
                continue
            if operand.HasField("ident") and operand.ident.name in BY_NAME:
                fielded.add(operand.id)
                yield operand.ident.name, field
        for node in self._nodes:
            if not node.HasField("ident"):
                continue
            if node.ident.name in ALONE or (node.ident.name in BY_NAME and node.id not in fielded):
                yield node.ident.name, "*"

    def remarks(self) -> Iterator[Remark]:
        guards = set(self._guards())
        for node in self._nodes:
            yield from self._unguarded(node, guards)
            if node.HasField("call"):
                yield from self._unknown_kind(node.call)
                yield from self._bad_pattern(node.call)

    def _at(self, expr: Any) -> int:
        return self._positions.get(expr.id, 0)

    def _type(self, expr: Any) -> Any:
        return self._types.get(expr.id)

    def _guards(self) -> Iterator[tuple[str, str]]:
        """`key in map`, `has(map.key)`, and any use of `size(list)`: (path, key), with "" for a size."""
        for node in self._nodes:
            if node.HasField("select") and node.select.test:
                yield _path(node.select.operand), node.select.field
            if not node.HasField("call"):
                continue
            call, args = node.call, list(node.call.args)
            if call.function == "@in" and (key := _string(args[0])) is not None:
                yield _path(args[1]), key
            if call.function == "size":
                yield _path(call.target if call.HasField("target") else args[0]), ""

    def _unguarded(self, node: Any, guards: set[tuple[str, str]]) -> Iterator[Remark]:
        if node.HasField("select"):
            select = node.select
            kind = self._type(select.operand)
            path = _path(select.operand)
            if select.test or kind is None or not kind.HasField("map") or (path, select.field) in guards:
                return
            yield Remark(self._at(node), _missing_key(path, select.field))
        elif node.HasField("call") and node.call.function == "_[_]":
            container, index = node.call.args
            kind, path, key = self._type(container), _path(container), _string(index)
            if kind is not None and kind.HasField("map") and (path, key) not in guards:
                yield Remark(self._at(node), _missing_key(path, key))
            elif kind is not None and kind.HasField("list") and (path, "") not in guards:
                what = f"if {path or 'the list'} is shorter, this rule errors and so denies; ask for size({path}) first"
                yield Remark(self._at(node), what)

    def _unknown_kind(self, call: Any) -> Iterator[Remark]:
        """An effect kind that does not exist never matches, which would make a deny rule a decoration."""
        if call.function not in ("_==_", "_!=_", "@in"):
            return
        left, right = call.args
        for one, other in ((left, right), (right, left)):
            kind = self._type(one.select.operand) if one.HasField("select") else None
            if one.select.field != "kind" or kind is None or kind.message != EFFECT:
                continue
            for word in other.list.elements if other.HasField("list") else (other,):
                text = _string(word)
                if text is not None and text not in _KINDS:
                    yield Remark(self._at(word), f"no effect has the kind {text!r}{nearest(text, _KINDS)}", fatal=True)

    def _bad_pattern(self, call: Any) -> Iterator[Remark]:
        if call.function != "matches":
            return
        pattern = _string(call.args[-1])
        if pattern is None:
            return
        try:
            re2.compile(pattern)
        except re2.error as error:
            reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
            yield Remark(self._at(call.args[-1]), f"this is not a regular expression (RE2): {reason}", fatal=True)


def _missing_key(path: str, key: str | None) -> str:
    where = path or "the map"
    if key is None:
        return f"where {where} lacks the key, this rule errors and so denies; write {where}[?key].orValue(…)"
    return f'where {where} lacks {key!r}, this rule errors and so denies; write {where}[?"{key}"].orValue("")'
