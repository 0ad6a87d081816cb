"""Paths of routes, as edge.yaml and OpenAPI documents write them, taken apart into the segments that `gateway.matched` compares."""

import re
from urllib.parse import unquote

_PLACEHOLDER = re.compile(r"\{[^{}/]+\}")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


class PathError(ValueError):
    """A path that cannot be matched. The text says what is wrong with it and what to write."""


def segments_of(path: str) -> tuple[str, ...]:
    """Take apart a path such as `/orders/{id}` or `/files/**`; raise `PathError` if it is none."""
    if not path.startswith("/"):
        raise PathError(f"the path {path!r} does not begin with `/`")
    if "?" in path or "#" in path:
        raise PathError(f"the path {path!r} has a query or a fragment; a route is a path, rules ask for `http.query`")
    parts = path[1:].split("/")
    if not parts[-1]:
        parts.pop()  # a slash at the end does not count, here and in requests
    last = len(parts) - 1
    return tuple(_segment(part, path, rest=number == last) for number, part in enumerate(parts))


def _segment(part: str, path: str, *, rest: bool) -> str:
    if part == "**" and rest:
        return part
    if part in ("", ".", "..", "*", "**"):
        raise PathError(
            f"the path {path!r} has the segment {part!r}; write {{name}} for one segment, ** at the end for the rest"
        )
    if _BAD_ESCAPE.search(part):
        raise PathError(f"the path {path!r} has a `%` that begins no escape; write %25 for the character itself")
    if _PLACEHOLDER.fullmatch(part):
        return ""
    fixed = [_decoded(text, path) for text in _PLACEHOLDER.split(part)]
    if any(not text for text in fixed[1:-1]):
        raise PathError(f"the path {path!r} has two placeholders side by side; nothing says where one ends")
    return "{}".join(fixed)


def _decoded(text: str, path: str) -> str:
    if "{" in text or "}" in text:
        raise PathError(f"the path {path!r} has a brace without its partner")
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise PathError(f"the path {path!r} has escapes that are not UTF-8") from None
    if "/" in decoded or "{}" in decoded:
        raise PathError(f"the path {path!r} has an escaped slash or brace, which no request that is accepted has")
    return decoded
