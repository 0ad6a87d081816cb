"""Queries and URL-encoded forms: names and values, read so that no server can read them in another way, or not at all."""

import re
from urllib.parse import unquote_plus, unquote_to_bytes

import msgspec

MOST = 1000
"""Names. PHP and Django stop reading there by default, others do not."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DIVIDERS = re.compile(r"[&;]")


class Pairs(msgspec.Struct, frozen=True):
    """`values` by name; `why` says what stands in the way of telling them, "" if nothing does."""

    values: dict[str, str]
    why: str = ""


NOTHING = Pairs({})


def strict(text: str, what: str) -> Pairs:
    """Read `text` (the raw `what`: a query or a form) strictly. Names that differ by case only are one name to some servers."""
    if not text:
        return NOTHING
    if ";" in text:
        return Pairs({}, f"The {what} holds a ';', which divides it for some servers and not for others; write %3B.")
    if _BAD_ESCAPE.search(text):
        return Pairs({}, f"The {what} holds a '%' without two hexadecimal digits.")
    if text.count("&") >= MOST:
        return Pairs({}, f"The {what} has more than {MOST} names: some servers stop reading there.")
    values: dict[str, str] = {}
    seen: set[str] = set()
    for piece in text.split("&"):
        if not piece:
            continue
        name, _, value = piece.partition("=")
        try:
            name, value = _decoded(name), _decoded(value)
        except UnicodeDecodeError:
            return Pairs({}, f"The {what} is not UTF-8 once it is decoded.")
        if _CONTROL.search(name):
            return Pairs({}, f"The {what} holds a control character in a name.")
        if name.casefold() in seen:
            return Pairs({}, f"The {what} names {name!r} more than once: servers differ on which one counts.")
        seen.add(name.casefold())
        values[name] = value
    return Pairs(values)


def lenient(text: str) -> list[tuple[str, str]]:
    """Every name and value that some server may see in `text`."""
    found: list[tuple[str, str]] = []
    for piece in _DIVIDERS.split(text):
        name, _, value = piece.partition("=")
        found.append((unquote_plus(name, errors="replace"), unquote_plus(value, errors="replace")))
    return found


def every(text: str, name: str) -> list[str]:
    """Every value that some server may see under `name` (in lower case) in `text`."""
    found: list[str] = []
    for piece in _DIVIDERS.split(text):
        said, _, value = piece.partition("=")
        if "%" in said or "+" in said:
            said = unquote_plus(said, errors="replace")
        if said.strip().casefold() == name:
            found.append(unquote_plus(value, errors="replace"))
    return found


def _decoded(text: str) -> str:
    text = text.replace("+", " ")
    return unquote_to_bytes(text).decode() if "%" in text else text
