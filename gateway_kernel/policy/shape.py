"""Holding a YAML tree against msgspec types: every difference is a problem with a place, and what fits becomes the typed value.

msgspec's own conversion stops at the first error and knows no lines; this one collects them all. It covers the types that
policies use: structs, lists, mappings with text keys, text, integers, booleans, literals, null and unions of different kinds.
"""

import re
from difflib import get_close_matches
from typing import Any

import msgspec
from msgspec import inspect

from gateway_kernel.policy.source import Mapping, Node, Problem, Scalar, Sequence, plain


class Misfit:
    """What stands where a node did not fit; the problem has been noted."""


MISFIT = Misfit()
_KINDS = {str: "text", bool: "true or false", int: "a whole number", type(None): "nothing"}


def nearest(word: str, known: "list[str] | tuple[str, ...]") -> str:
    """Return ` (did you mean 'x'?)`, or the list of what there is if nothing is near and it is short, or ""."""
    close = get_close_matches(word, known, n=1, cutoff=0.6) or get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (there is: {', '.join(known)})" if 0 < len(known) <= 16 else ""


def fit(node: Node, wanted: Any, problems: list[Problem]) -> Any:
    """Return `node` as a value of the type `wanted`, or `MISFIT` after noting why in `problems`."""
    return _fit(node, inspect.type_info(wanted), problems)


def _fit(node: Node, wanted: inspect.Type, problems: list[Problem]) -> Any:
    match wanted:
        case inspect.Metadata():
            return _described(node, wanted, problems)
        case inspect.AnyType():
            return plain(node)
        case inspect.UnionType():
            return _one_of(node, wanted, problems)
        case inspect.StructType():
            return _struct(node, wanted, problems)
        case inspect.ListType() | inspect.VarTupleType():
            return _list(node, wanted, problems)
        case inspect.DictType():
            return _dict(node, wanted, problems)
        case inspect.LiteralType():
            return _literal(node, wanted, problems)
        case _:
            return _scalar(node, wanted, problems, "")


def _object(node: Node, what: str, problems: list[Problem]) -> Misfit:
    problems.append(Problem(node.place, what))
    return MISFIT


def found(node: Node) -> str:
    """What kind of thing stands there, for an error."""
    match node:
        case Sequence():
            return "a list"
        case Mapping():
            return "a mapping"
        case Scalar():
            return _KINDS.get(type(node.value), "something else")


def _described(node: Node, wanted: inspect.Metadata, problems: list[Problem]) -> Any:
    described: str = (wanted.extra_json_schema or {}).get("description", "")
    if isinstance(wanted.type, inspect.StrType | inspect.IntType):
        return _scalar(node, wanted.type, problems, described)
    return _fit(node, wanted.type, problems)


def _expects(wanted: inspect.Type) -> tuple[type, str]:
    """The kind of node that this type is written as, and its name."""
    match wanted:
        case inspect.Metadata():
            return _expects(wanted.type)
        case inspect.StructType() | inspect.DictType():
            return Mapping, "a mapping"
        case inspect.ListType() | inspect.VarTupleType():
            return Sequence, "a list"
        case inspect.BoolType():
            return bool, "true or false"
        case inspect.IntType():
            return int, "a whole number"
        case inspect.NoneType():
            return type(None), "nothing"
        case _:
            return str, "text"


def _one_of(node: Node, wanted: inspect.UnionType, problems: list[Problem]) -> Any:
    kind = type(node.value) if isinstance(node, Scalar) else type(node)
    for choice in wanted.types:
        if _expects(choice)[0] is kind:
            return None if kind is type(None) else _fit(node, choice, problems)
    names = [_expects(choice)[1] for choice in wanted.types if not isinstance(choice, inspect.NoneType)]
    return _object(node, f"expected {' or '.join(names)}, found {found(node)}", problems)


def _struct(node: Node, wanted: inspect.StructType, problems: list[Problem]) -> Any:
    if not isinstance(node, Mapping):
        return _object(node, f"expected a mapping, found {found(node)}", problems)
    fields = {field.encode_name: field for field in wanted.fields}
    unknown_keys(node, list(fields), problems)
    values: dict[str, Any] = {}
    fits = True
    for key, field in fields.items():
        child = node.get(key)
        if child is not None:
            values[field.name] = _fit(child, field.type, problems)
            fits = fits and values[field.name] is not MISFIT
        elif field.required:
            _object(node, f"{key!r} is missing", problems)
            fits = False
    return wanted.cls(**values) if fits else MISFIT


def unknown_keys(node: Mapping, known: list[str], problems: list[Problem]) -> None:
    """Note every key that is not known, with the nearest one that is."""
    for key, (scalar, _) in node.pairs.items():
        if key not in known:
            _object(scalar, f"unknown key {key!r}{nearest(key, known)}", problems)


def _list(node: Node, wanted: inspect.ListType | inspect.VarTupleType, problems: list[Problem]) -> Any:
    if not isinstance(node, Sequence):
        return _object(node, f"expected a list, found {found(node)}", problems)
    items = [_fit(item, wanted.item_type, problems) for item in node.items]
    if wanted.min_length and len(items) < wanted.min_length:
        return _object(node, "the list is empty", problems)
    if any(item is MISFIT for item in items):
        return MISFIT
    return tuple(items) if isinstance(wanted, inspect.VarTupleType) else items


def _dict(node: Node, wanted: inspect.DictType, problems: list[Problem]) -> Any:
    if not isinstance(node, Mapping):
        return _object(node, f"expected a mapping, found {found(node)}", problems)
    values = {key: _fit(child, wanted.value_type, problems) for key, (_, child) in node.pairs.items()}
    return MISFIT if any(value is MISFIT for value in values.values()) else values


def _literal(node: Node, wanted: inspect.LiteralType, problems: list[Problem]) -> Any:
    if isinstance(node, Scalar) and any(type(node.value) is type(v) and node.value == v for v in wanted.values):
        return node.value
    choices = [str(value) for value in wanted.values]
    if isinstance(node, Scalar):
        close = nearest(node.text, choices) if len(choices) > 1 else ""
        hint = close if close.startswith(" (did") else ""
        what = (
            f"{node.text!r} is not one of {', '.join(choices)}{hint}" if len(choices) > 1 else f"must be {choices[0]}"
        )
        return _object(node, what, problems)
    return _object(node, f"expected one of {', '.join(choices)}, found {found(node)}", problems)


def _scalar(node: Node, wanted: inspect.Type, problems: list[Problem], described: str) -> Any:
    kind, name = _expects(wanted)
    name = described or name
    if not isinstance(node, Scalar) or type(node.value) is not kind:
        quote = "; write it in quotes" if kind is str and isinstance(node, Scalar) and node.text else ""
        return _object(node, f"expected {name}, found {found(node)}{quote}", problems)
    if isinstance(wanted, inspect.StrType):
        if wanted.pattern and not re.search(wanted.pattern, node.text):
            return _object(node, f"expected {name}, found {node.text[:60]!r}", problems)
        if wanted.min_length and len(node.text) < wanted.min_length:
            return _object(node, f"expected {name}, found an empty one", problems)
    if isinstance(wanted, inspect.IntType):
        low, high = wanted.ge, wanted.le
        if (low is not None and node.value < low) or (high is not None and node.value > high):
            limits = f"from {low} to {high}" if high is not None else f"of at least {low}"
            return _object(node, f"expected {name} {limits}, found {node.value}", problems)
    return node.value


def keys(struct: type[msgspec.Struct]) -> list[str]:
    """The keys of `struct` as they are written."""
    return [field.encode_name for field in msgspec.structs.fields(struct)]
