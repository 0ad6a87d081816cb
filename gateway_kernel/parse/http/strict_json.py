"""JSON that every reader reads alike (RFC 8259 with the interoperability advice of RFC 7493), or the reason why this is none.

What a server would make of the rest differs: which of two members counts, where nesting ends, what a large number is.
"""

import json
import re
from math import isinf
from typing import Any

import msgspec

from gateway_kernel.model import Json

DEEPEST = 64
"""Levels of objects and arrays."""

_LARGE = re.compile(r"[eE]\+?[0-9]{3}|(?<![0-9])[0-9]{309}")
"""Where there is none of these, no number is too large. Most bodies have none, and need not be walked through."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LARGEST = 10**308


class Document(msgspec.Struct, frozen=True):
    """`value` if `why` is "". `is_json`: some server may read it as JSON. `top` has every member of an outermost object, repeated ones too."""

    value: Json = None
    why: str = ""
    is_json: bool = True
    top: tuple[tuple[str, Json], ...] = ()


def parse(text: str) -> Document:
    """Read `text` strictly."""
    reading = _Reading()
    try:
        value: Any = json.loads(text, object_pairs_hook=reading.members, parse_constant=reading.constant)
    except RecursionError:
        return Document(why=_TOO_DEEP)
    except json.JSONDecodeError as error:
        return Document(why=f"The body is not JSON: {error.msg} at character {error.pos}.", is_json=False)
    except ValueError:  # an integer beyond what Python converts, 4300 digits
        return Document(why=_TOO_LARGE)
    why = reading.why
    if not why and (text.count("[") + text.count("{") > DEEPEST or _LARGE.search(text)):
        why = _shape(value)
    if not why and _SURROGATE.search(text):
        why = _surrogates(value)
    top = reading.last if isinstance(value, dict) else ()
    return Document(None if why else value, why, top=tuple(top))


_TOO_DEEP = f"The body is nested more than {DEEPEST} levels deep."
_TOO_LARGE = "The body holds a number that is larger than a double can hold."


class _Reading:
    """What the parser came across. Objects end from the inside out, so that `last` is the outermost one's members at the end."""

    def __init__(self) -> None:
        self.why = ""
        self.last: list[tuple[str, Any]] = []

    def members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self.last = pairs
        found = dict(pairs)
        if len(pairs) < 2:
            return found
        # Some servers bind members without case (.NET, Go's encoding/json): then these are two of one name.
        if not self.why and len({name.casefold() for name in found}) != len(pairs):
            self.why = "The body has a member more than once in one object: servers differ on which one counts."
        return found

    def constant(self, name: str) -> None:
        self.why = self.why or f"The body holds {name}, which is not JSON."


def _shape(value: Any) -> str:
    """Why the value as a whole cannot be told: too deep, a number too large."""
    level: list[Any] = [value]
    for depth in range(DEEPEST + 1):
        below: list[Any] = []
        for item in level:
            if depth == DEEPEST and isinstance(item, (dict, list)):
                return _TOO_DEEP
            if isinstance(item, dict):
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif (isinstance(item, float) and isinf(item)) or (isinstance(item, int) and abs(item) > _LARGEST):
                return _TOO_LARGE
        if not below:
            return ""
        level = below
    return _TOO_DEEP


def _surrogates(value: Any) -> str:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "The body holds half of a surrogate pair, which is no character."
    return ""
