"""Rewrites of a request: its path, one name of its query, one header, one member of its JSON body.

What is rewritten is judged anew, so a rewrite may say anything; it must only be carried out exactly, or not at all.
"""

import json
import re
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import quote_plus, unquote_plus

import msgspec

from gateway_kernel.errors import UnrewritableError
from gateway_kernel.model import Operation
from gateway_kernel.parse.http import strict_json
from gateway_kernel.parse.http.body import Body
from gateway_kernel.parse.http.headers import canonical, stripped
from gateway_kernel.parse.http.target import TargetError, normalised
from gateway_kernel.parse.http.text import Head, HeadError, compose
from gateway_kernel.parse.http.text import read as read_head
from gateway_kernel.verdict import Rewrite

PARTS = ("path", "query.NAME", "header.NAME", "body.DOTTED.PATH")

_FIXED = frozenset({"host", "cookie", "content-type", "content-encoding"})
"""Host is the edge's, cookies are sealed by it, and the last two say how the body is read."""

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")


def problem(name: str, value: str | None) -> str:
    """What is wrong with this part in any request, "" if nothing is."""
    kind, _, rest = name.partition(".")
    match kind:
        case "path":
            return _path_problem(value)
        case "header":
            if not _NAME.fullmatch(rest):
                return f"{rest!r} is no header name"
            if stripped(rest.lower()) or canonical(rest) in _FIXED:
                return (
                    f"the header {rest!r} is made by the edge or says how the request is read; it cannot be rewritten"
                )
            return "" if value is None or _VALUE.fullmatch(value) else f"{value!r} is no header value"
        case "body":
            if not all(rest.split(".")):
                return f"{name!r} has an empty member name"
            document = strict_json.parse(value) if value is not None else strict_json.Document()
            return (
                f"the value is not JSON text; text stands in quotes there: '\"x\"' ({document.why})"
                if document.why
                else ""
            )
        case _:
            return ""


def _path_problem(value: str | None) -> str:
    if value is None:
        return "a path cannot be removed"
    if "?" in value:
        return "a path has no query; use query.NAME"
    try:
        normalised(value.encode())
    except TargetError as error:
        return str(error)
    return ""


def rewritten(operation: Operation, rewrite: Rewrite, body: Body) -> Operation:
    """Return the operation as changed, unread; the same object if nothing changes. Raise `UnrewritableError` if it cannot be carried out."""
    if rewrite.limit is not None or rewrite.read_only or rewrite.replace is not None:
        raise UnrewritableError(
            "An HTTP request has no row limit, no read-only form and no other text; rewrite its parts."
        )
    for name, value in rewrite.parts.items():
        if why := problem(name, value):
            raise UnrewritableError(f"The part {name!r} cannot be set: {why}.")
    head = read_head(operation.text)
    inner = {name.partition(".")[2]: value for name, value in rewrite.parts.items() if name.startswith("body.")}
    outer = {name: value for name, value in rewrite.parts.items() if not name.startswith("body.")}
    if outer and head.method == "MESSAGE":
        raise UnrewritableError("A WebSocket message has no path, query or headers of its own to rewrite.")
    changed = _with_head(operation, head, outer)
    return _with_body(changed, inner, body)


def _with_head(operation: Operation, head: Head, parts: dict[str, str | None]) -> Operation:
    path, _, _ = head.target.partition("?")
    query, headers = head.query, list(head.headers)
    for name, value in parts.items():
        kind, _, rest = name.partition(".")
        match kind:
            case "path":
                path = normalised((value or "/").encode())
            case "query":
                query = _query(query, rest, value)
            case _:
                headers = _replaced(
                    headers, lambda pair, wanted=rest: canonical(pair[0]) == canonical(wanted), rest, value
                )
    mark = "?" if query or (head.target.endswith("?") and not head.query) else ""
    try:
        text = compose(head.method, f"{path}{mark}{query}", headers)
    except HeadError as error:
        raise UnrewritableError(f"The rewritten request is none: {error}") from None
    if text == operation.text:
        return operation
    context = dict(operation.context)
    if path != head.target.partition("?")[0]:
        context.pop("route", None)  # of the path that it was: the new one is judged by its method
    size = operation.size + len(text) - len(operation.text)
    return msgspec.structs.replace(operation, text=text, context=context, size=size)


def _query(query: str, name: str, value: str | None) -> str:
    if ";" in query:
        raise UnrewritableError("The query holds a ';', which divides it for some servers and not for others.")
    pairs = [(piece, "") for piece in query.split("&") if piece]
    written = None if value is None else f"{quote_plus(name)}={quote_plus(value)}"

    def same(pair: tuple[str, str]) -> bool:
        return unquote_plus(pair[0].partition("=")[0]).casefold() == name.casefold()

    if written is None:
        return "&".join(piece for piece, _ in pairs if not same((piece, "")))
    found = [index for index, pair in enumerate(pairs) if same(pair)]
    if not found:
        return "&".join([*(piece for piece, _ in pairs), written])
    kept = [written if index == found[0] else piece for index, (piece, _) in enumerate(pairs) if index not in found[1:]]
    return "&".join(kept)


def _replaced(
    headers: list[tuple[str, str]], same: Callable[[tuple[str, str]], bool], name: str, value: str | None
) -> list[tuple[str, str]]:
    """All headers of one name become one, where the first stood; or none."""
    kept: list[tuple[str, str]] = []
    placed = value is None
    for pair in headers:
        if not same(pair):
            kept.append(pair)
        elif not placed and value is not None:
            kept.append((pair[0], value))
            placed = True
    return kept if placed or value is None else [*kept, (name, value)]


def _with_body(operation: Operation, members: dict[str, str | None], body: Body) -> Operation:
    if not members:
        return operation
    if not operation.parameters:
        if operation.context.get("body") == "none" and all(value is None for value in members.values()):
            return operation
        raise UnrewritableError(body.why or "The request has no body to rewrite.")
    document = strict_json.parse(body.text) if not body.why else strict_json.Document(why=body.why)
    if document.why or not isinstance(document.value, dict):
        raise UnrewritableError(f"Only a JSON object can be rewritten. {document.why}".strip())
    before = json.dumps(document.value)
    for path, value in members.items():
        _set(document.value, path, value)
    if json.dumps(document.value) == before:
        return operation
    content = json.dumps(document.value, ensure_ascii=False, separators=(",", ":")).encode()
    (parameter,) = operation.parameters
    old = len(parameter.value or b"")
    return msgspec.structs.replace(
        operation,
        parameters=(msgspec.structs.replace(parameter, value=content),),
        context=operation.context | {"length": len(content)},
        size=operation.size + len(content) - old,
    )


def _set(root: dict[str, Any], path: str, value: str | None) -> None:
    """Set or remove the member at the dotted `path`; objects on the way are made where they are missing."""
    *way, last = path.split(".")
    where: dict[str, Any] = root
    for name in way:
        inner: Any = where.get(name)
        if inner is None:
            if value is None:
                return
            inner = where[name] = {}
        if not isinstance(inner, dict):
            raise UnrewritableError(f"The body has no object at {name!r}, so {path!r} cannot be rewritten.")
        where = cast("dict[str, Any]", inner)
    # A member that differs by case only is the same one to some servers.
    for other in [name for name in where if name != last and name.casefold() == last.casefold()]:
        del where[other]
    if value is None:
        where.pop(last, None)
    else:
        where[last] = json.loads(value)
