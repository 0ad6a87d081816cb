"""The text of an HTTP operation: the request head as it is judged, shown, recorded, covered by the digest and sent.

One line each for the request and its headers, ended by a line feed that is CRLF on the wire; nothing else differs. `compose` and
`read` are each other's inverse and accept nothing that could be read in a second way.
"""

import re
from collections.abc import Iterable

import msgspec

from gateway_kernel.parse.http.target import TargetError, decoded, normalised

type Headers = tuple[tuple[str, str], ...]
"""Names as sent, values as latin-1 text without outer white space."""


class Head(msgspec.Struct, frozen=True):
    """A request head. `path` and `segments` are decoded, `query` is raw and "" if there is none. A final slash makes no segment."""

    method: str
    target: str
    path: str
    segments: tuple[str, ...]
    query: str
    headers: Headers

    @property
    def host(self) -> str:
        """The authority of the upstream; Host is the first header of every operation."""
        return self.headers[0][1]


class HeadError(Exception):
    """Not the text of an HTTP operation; says what is wrong."""


_NAME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110 5.6.2
_VALUE = r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?"  # RFC 9110 5.5, without obs-fold
_HEAD = re.compile(rf"({_NAME}) (/[!-~]*)\n((?:{_NAME}: {_VALUE}\n)+)")


def compose(method: str, target: str, headers: Iterable[tuple[str, str]]) -> str:
    """Return the text of a request; raise `HeadError` for one that has none. The target must be normalised, Host the first header."""
    lines = [f"{name}: {value}\n" for name, value in headers]
    text = f"{method} {target}\n{''.join(lines)}"
    if text.count("\n") != len(lines) + 1:
        raise HeadError("A method, target or header holds a line feed.")
    _parts(text)
    return text


def read(text: str) -> Head:
    """Return the request head that `text` is; raise `HeadError` if it is not one, in the one form that it may have."""
    method, target, lines = _parts(text)
    try:
        if normalised(target.encode("ascii")) != target:
            raise HeadError("The target is not in its normalised form.")
    except TargetError as error:
        raise HeadError(str(error)) from None
    headers: list[tuple[str, str]] = []
    for line in lines.split("\n")[:-1]:
        name, _, value = line.partition(": ")
        headers.append((name, value))
    path, _, query = target.partition("?")
    path = decoded(path)
    segments = tuple([segment for segment in path.split("/") if segment])
    return Head(method, target, path, segments, query, tuple(headers))


def _parts(text: str) -> tuple[str, str, str]:
    match = _HEAD.fullmatch(text)
    if match is None:
        raise HeadError("It is not a request head: a method, a target and header lines.")
    method, target, lines = match.groups()
    name, _, _ = lines.partition(":")
    if name.lower() != "host":
        raise HeadError("Host must be the first header.")
    if "\nhost:" in lines.lower():
        raise HeadError("There is more than one Host header.")
    return method, target, lines
