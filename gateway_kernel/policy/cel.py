"""The typed CEL environment: compiles a condition against the declared facts, and answers it.

The facts are protobuf messages whose descriptors are made here from the structs of `facts`, so that a misspelt field or a
comparison of text with a number is an error when the policy loads. CEL is Google's C++ implementation; an evaluation has no
effects and an iteration budget. It knows nothing of rules.
"""

import re
from collections.abc import Iterable
from enum import Enum
from typing import Any

import msgspec
from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, struct_pb2, timestamp_pb2
from google.protobuf.message import DecodeError
from msgspec import inspect

from gateway_kernel.errors import UnreadableFactError
from gateway_kernel.model import Effect, Instant, Operation, Session
from gateway_kernel.policy import syntax
from gateway_kernel.policy.facts import ALONE, BY_NAME, FAMILIES, FactFamily, values_of
from gateway_kernel.policy.quick import Quick
from gateway_kernel.policy.shape import nearest
from gateway_kernel.policy.syntax import Remark

MAX_CONDITION = 8 * 1024  # characters
_PACKAGE = "sallyport"
_Field = descriptor_pb2.FieldDescriptorProto


class Answer(Enum):
    """What a condition says of one operation."""

    YES = "matched"
    NO = "not matched"
    NOT_APPLICABLE = "not applicable"
    ERROR = "error"


class Condition(msgspec.Struct, frozen=True):
    """A compiled condition.

    `changing` are the families of which it asks something that differs between executions of one statement. `quick` answers in its
    place where it is simple enough.
    """

    text: str
    expression: Any
    reads: frozenset[tuple[str, str]]
    families: frozenset[str]
    changing: frozenset[str]
    constant: bool | None
    quick: Quick | None


class ConditionError(Exception):
    """A condition does not compile. `remarks` are the reasons, each at a character of its text."""

    def __init__(self, remarks: tuple[Remark, ...]) -> None:
        super().__init__("; ".join(remark.what for remark in remarks))
        self.remarks = remarks


def _declare(message: Any, name: str, number: int, kind: inspect.Type) -> None:
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    match kind:
        case inspect.VarTupleType():
            field.label = _Field.LABEL_REPEATED
            _type(field, kind.item_type)
        case inspect.DictType():
            entry = message.nested_type.add(name=f"{name.title()}Entry")
            entry.options.map_entry = True
            for position, part in enumerate(("key", "value"), 1):
                entry.field.add(name=part, number=position, label=_Field.LABEL_OPTIONAL, type=_Field.TYPE_STRING)
            field.label, field.type = _Field.LABEL_REPEATED, _Field.TYPE_MESSAGE
            field.type_name = f".{_PACKAGE}.{message.name}.{entry.name}"
        case _:
            _type(field, kind)


def _type(field: Any, kind: inspect.Type) -> None:
    match kind:
        case inspect.StrType() | inspect.EnumType():
            field.type = _Field.TYPE_STRING
        case inspect.IntType():
            field.type = _Field.TYPE_INT64
        case inspect.BoolType():
            field.type = _Field.TYPE_BOOL
        case inspect.DateTimeType():
            field.type, field.type_name = _Field.TYPE_MESSAGE, ".google.protobuf.Timestamp"
        case inspect.AnyType():
            field.type, field.type_name = _Field.TYPE_MESSAGE, ".google.protobuf.Value"
        case inspect.StructType():
            field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind.cls.__name__}"
        case _:
            raise TypeError(f"no fact can have the type {kind}")


def _pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto(name="sallyport/facts.proto", package=_PACKAGE, syntax="proto3")
    for known in (struct_pb2.DESCRIPTOR, timestamp_pb2.DESCRIPTOR):
        copy = descriptor_pb2.FileDescriptorProto()
        known.CopyToProto(copy)
        pool.Add(copy)
        file.dependency.append(known.name)
    for name, struct in (("Effect", Effect), *((family.name.title(), family.view) for family in FAMILIES)):
        message = file.message_type.add(name=name)
        described = inspect.type_info(struct)
        assert isinstance(described, inspect.StructType)
        for number, field in enumerate(described.fields, 1):
            _declare(message, field.name, number, field.type)
    pool.Add(file)
    return pool


def _message_class(family: FactFamily) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{family.name.title()}"))


def _alone(name: str, family: FactFamily) -> Any:
    """The CEL type of a field that is a variable of its own."""
    described = inspect.type_info(family.view)
    assert isinstance(described, inspect.StructType)
    (kind,) = [field.type for field in described.fields if field.name == name.partition(".")[2]]
    return cel.Type.Map(cel.Type.STRING, cel.Type.STRING) if isinstance(kind, inspect.DictType) else cel.Type.DYN


_POOL = _pool()
_MESSAGES = {family.name: _message_class(family) for family in FAMILIES}
_ENVIRONMENT = cel.NewEnv(
    _POOL,
    variables={family.name: cel.Type(f"{_PACKAGE}.{family.name.title()}") for family in FAMILIES}
    | {name: _alone(name, family) for name, family in ALONE.items()},
    extensions=[ext_optional.ExtOptional(), ext_strings.ExtStrings()],
)


def compile_condition(text: str) -> tuple[Condition, tuple[Remark, ...]]:
    """Return the condition and its warnings; raise `ConditionError` with every error that was found."""
    if len(text) > MAX_CONDITION:
        what = f"the condition has {len(text)} characters, more than the {MAX_CONDITION} allowed"
        raise ConditionError((Remark(0, what, fatal=True),))
    try:
        expression: Any = _ENVIRONMENT.compile(text)
    except RuntimeError as error:
        raise ConditionError(tuple(_errors(str(error), text))) from None
    kind = expression.return_type()
    if kind != cel.Type.BOOL:
        what = f"the condition must be true or false, this is {_type_name(kind.name())}"
        raise ConditionError((Remark(0, what, fatal=True),))
    try:
        reading = syntax.read(expression.serialize())
    except DecodeError:  # protobuf reads 100 levels of messages; a loop within a loop takes four
        raise ConditionError((Remark(0, "the condition is nested too deeply", fatal=True),)) from None
    fatal = tuple(remark for remark in reading.remarks if remark.fatal)
    if fatal:
        raise ConditionError(fatal)
    families = frozenset(family for family, _ in reading.reads)
    changing = frozenset(family for family, field in reading.reads if _changes(family, field))
    condition = Condition(text, expression, reading.reads, families, changing, reading.constant, reading.quick)
    return condition, reading.remarks


def _changes(family: str, field: str) -> bool:
    if family in ALONE:
        family, _, field = family.partition(".")
    changing = BY_NAME[family].changing
    return bool(changing) if field == "*" else field in changing


_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?=\n \||\nERROR:|\Z)", re.DOTALL)
_NO_FIELD = re.compile(r"undefined field '([^']+)' not found in struct '([^']+)'")
_NO_NAME = re.compile(r"undeclared reference to '([^']+)'")


def _errors(message: str, text: str) -> Iterable[Remark]:
    """CEL's own messages, in our words where we can add the nearest name, at the character that they are about."""
    lines = text.split("\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    matches = _ERROR.findall(message)
    if not matches:
        yield Remark(0, message.removesuffix(" [INVALID_ARGUMENT]").strip(), fatal=True)
    for line, column, what in matches:
        row = min(max(int(line), 1), len(lines)) - 1
        yield _in_our_words(starts[row] + max(int(column) - 1, 0), what.strip(), text)


def _in_our_words(index: int, what: str, text: str) -> Remark:
    if match := _NO_FIELD.search(what):
        field, struct = match.groups()
        return Remark(index + text.startswith(".", index), _undefined_field(field, struct), fatal=True)
    if match := _NO_NAME.search(what):
        prefix, _, _ = match[1].rpartition(".")
        start = index - len(prefix)
        if prefix and text.startswith(".", index) and text[start:index] == prefix:
            index = start
        name = match[1].partition(".")[0]
        hint = nearest(name, [*BY_NAME, "size", "has", "duration", "timestamp"])
        return Remark(index, f"unknown name {name!r}{hint}", fatal=True)
    return Remark(index, what.replace(f"{_PACKAGE}.", ""), fatal=True)


def _undefined_field(field: str, struct: str) -> str:
    short = struct.removeprefix(f"{_PACKAGE}.")
    known: list[str] = []
    if struct.startswith(f"{_PACKAGE}."):
        known = [declared.name for declared in _POOL.FindMessageTypeByName(struct).fields]
    return f"undefined field {field!r} in {short}{nearest(field, known)}"


def _type_name(name: str) -> str:
    return {"DYN": "a value of unknown type; compare it with something", "STRING": "text"}.get(name, name.lower())


class Bench:
    """The facts of one operation laid out for the conditions that together ask for `reads`."""

    def __init__(self, reads: frozenset[tuple[str, str]], operation: Operation, session: Session, now: Instant) -> None:
        self._unreadable: dict[str, str] = {}
        self._absent: set[str] = set()
        data: dict[str, Any] = {}
        wanted: dict[str, set[str]] = {}
        for family, field in reads:
            wanted.setdefault(family, set()).add(field)
        for family, fields in wanted.items():
            try:
                values = values_of(family, frozenset(fields), operation, session, now)
                if values is None:
                    self._absent.add(family)
                elif family in ALONE:
                    (data[family],) = values.values()
                else:
                    data[family] = _message(family, values)
            except (UnreadableFactError, ValueError, TypeError, OverflowError, json_format.ParseError) as error:
                # What cannot be said as its declared type is told to every condition that asks: they err, and so deny.
                self._unreadable[family] = str(error)
        self._activation = _ENVIRONMENT.Activation(data)

    def answer(self, condition: Condition) -> tuple[Answer, str]:
        """Return what `condition` says, and why if it cannot be answered."""
        try:
            value = condition.expression.eval(self._activation).value()
        except RuntimeError as error:  # an expression beyond CEL's iteration budget
            return Answer.ERROR, str(error)
        if value is True:
            return Answer.YES, ""
        if value is False:
            return Answer.NO, ""
        return self._unanswered(condition, str(value))

    def _unanswered(self, condition: Condition, why: str) -> tuple[Answer, str]:
        missing = _NO_VALUE.search(why)
        if missing is None:
            return Answer.ERROR, why
        family = missing[1]
        if family in self._absent and not condition.families & self._unreadable.keys():
            return Answer.NOT_APPLICABLE, f"there are no {family} facts here"
        return Answer.ERROR, "; ".join(self._unreadable.values()) or why


_NO_VALUE = re.compile(r'No value with name "([^"]+)" found in Activation')


def _message(family: str, values: dict[str, Any]) -> Any:
    message = _MESSAGES[family]
    if family != "http" or "body" not in values:
        return message(**values)
    body = values.pop("body")
    result = message(**values)
    json_format.ParseDict(body, result.body)
    return result
