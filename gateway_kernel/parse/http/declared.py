"""A request as a person writes it in the tests of a policy or for `policy explain`: a request line, headers, an empty line, a body.

`DELETE /orders/7?x=1\\nAccept: */*\\n\\n{"why": "old"}`; headers and body are optional. It becomes what the edge would make of it: headers that
are no part of an operation go, the target is normalised, Host comes first.
"""

import hashlib
import re

import msgspec

from gateway_kernel.model import Json, Operation, Parameter
from gateway_kernel.parse.http.body import INSPECTED, media_type
from gateway_kernel.parse.http.headers import stripped
from gateway_kernel.parse.http.target import normalised
from gateway_kernel.parse.http.text import HeadError, compose

HOST = "upstream.example"
"""Where nothing else is said."""

_ABSOLUTE = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)


def request(operation: Operation) -> Operation:
    """Return the unread operation; raise `HeadError` or `TargetError` if there is none."""
    written = operation.text.replace("\r\n", "\n")
    head, _, content = written.partition("\n\n")
    line, *lines = head.rstrip("\n").split("\n")
    method, _, target = line.strip().partition(" ")
    if method.upper() != "MESSAGE":
        target = re.sub(r" HTTP/1\.[01]\Z", "", target)
    host = HOST
    if (absolute := _ABSOLUTE.fullmatch(target)) is not None:
        host, target = absolute[1], absolute[2] if absolute[2].startswith("/") else f"/{absolute[2]}"
    headers: list[tuple[str, str]] = []
    for each in lines:
        name, colon, value = each.partition(":")
        if not colon:
            raise HeadError(f"{each[:80]!r} is no header; write `Name: value`.")
        if name.lower() == "host":
            host = value.strip() if absolute is None else host
        elif not stripped(name.lower()):
            headers.append((name, value.strip(" \t")))
    raw = target.encode("utf-8", "surrogateescape")
    text = compose(method, normalised(raw), [("Host", host), *headers])
    return _with_body(operation, text, tuple(headers), content.encode("utf-8", "surrogateescape"))


def _with_body(operation: Operation, text: str, headers: tuple[tuple[str, str], ...], content: bytes) -> Operation:
    media = media_type(headers)
    context: dict[str, Json] = {"scheme": "https", "body": "none"}
    parameters: tuple[Parameter, ...] = ()
    digest = ""
    if content:
        given = operation.context.get("body")
        state = given if given in ("digest", "streamed") else "whole" if len(content) <= INSPECTED else "digest"
        context |= {"body": state, "length": len(content)}
        if media.encoded:
            context["encoding"] = media.encoded
        if state == "whole":
            parameters = (Parameter(media.type, content, "text" if _is_text(content) else "binary"),)
        elif state == "digest":
            digest = hashlib.sha256(content).hexdigest()
    context |= {name: value for name, value in operation.context.items() if name not in ("body", "length")}
    return msgspec.structs.replace(
        operation,
        text=text,
        parameters=parameters,
        context=context,
        body_digest=digest,
        size=len(text) + len(content),
    )


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
