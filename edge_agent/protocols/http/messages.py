"""The messages of HTTP/1.1 as values: heads, the end of a message, and the bytes of each; limits and the peer's error.

Sources: RFC 9112 (messages), RFC 9110 (meaning). Everything here is a value or a function that writes one. Reading is in `heads`
(one head), `codec` (a stream); what a message means for a session is the engine's matter.
"""

import re

import msgspec

from gateway_kernel import errors

KiB = 1024
MiB = 1024 * KiB

MAX_HEAD = 64 * KiB  # bytes of one head, request line included; servers allow 8 to 64 KiB
MAX_HEADERS = 200  # fields of one head; servers allow about 100
MAX_TRAILERS = 8 * KiB  # bytes of all trailer fields
MAX_CHUNK_LINE = 256  # bytes of a chunk-size line; RFC 9112 7.1.1 asks for a limit
MAX_EXTENSIONS = 16 * KiB  # bytes of all chunk extensions of one body (CVE-2023-39326)
MAX_LENGTH = 2**63 - 1  # bytes of one body or one chunk: what other parsers hold in a signed 64-bit number

type Headers = tuple[tuple[str, str], ...]
"""(name as it was sent, value by latin-1 without outer white space), in order."""


class RequestHead(msgspec.Struct, frozen=True):
    """The head of a request. `target` is origin-form or `*`; `length` None: no body unless `chunked`.

    `expects`: waits for 100 before it sends the body. `upgrade` is the Upgrade field in lower case where Connection names it, else "".
    `host` is the authority in lower case, "" only in HTTP/1.0. `nominated` are the fields that Connection makes hop-by-hop, in lower case.
    """

    method: str
    target: bytes
    minor: int
    headers: Headers
    length: int | None = None
    chunked: bool = False
    keep_alive: bool = True
    expects: bool = False
    upgrade: str = ""
    host: str = ""
    nominated: frozenset[str] = frozenset()


class ResponseHead(msgspec.Struct, frozen=True):
    """The head of a response. `length` and `chunked` are what its fields announce; only where `body` is true anything follows.

    `until_close`: the body ends with the connection. `upgrade`: of a 101, the Upgrade field in lower case.
    """

    status: int
    reason: str
    minor: int
    headers: Headers
    length: int | None = None
    chunked: bool = False
    until_close: bool = False
    keep_alive: bool = True
    upgrade: str = ""
    body: bool = True
    nominated: frozenset[str] = frozenset()


class End(msgspec.Struct, frozen=True):
    """The message is over; `trailers` are those that may be read."""

    trailers: Headers = ()


class PeerError(errors.PeerError):
    """A peer's bytes are not HTTP/1.1, or could be read in two ways. `status` is the answer that fits: 502 if it was a server."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


# Builders. They are the last guard against a line break that came in through a value (response splitting).

_LINE_BREAKS = re.compile(r"[\r\n\0]").search


def request_head(method: str, target: str, headers: Headers) -> bytes:
    """The bytes of a request's head; ValueError if any part holds a line break or NUL."""
    return _head(f"{method} {target} HTTP/1.1", headers)


def response_head(status: int, reason: str, headers: Headers) -> bytes:
    """The bytes of a response's head; ValueError if any part holds a line break or NUL."""
    return _head(f"HTTP/1.1 {status} {reason}", headers)


def _head(line: str, headers: Headers) -> bytes:
    lines = [line]
    lines += [f"{name}: {value}" for name, value in headers]
    if _LINE_BREAKS("".join(lines)):
        raise ValueError("a head with a line break or NUL inside a line")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk; nothing for no data, because an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Headers = ()) -> bytes:
    """The end of a chunked body; ValueError if a trailer holds a line break or NUL."""
    if not trailers:
        return b"0\r\n\r\n"
    return _head("0", trailers)
