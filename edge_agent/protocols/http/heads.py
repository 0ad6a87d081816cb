"""Reads one head, or one block of trailers, of HTTP/1.1: strictly, and with a second parser's consent for requests.

Sources: RFC 9112 and 9110 by section, and the request-smuggling literature (tests/edge_agent/protocols/http/smuggling.py names it).
The rule everywhere: what two servers could read in two ways is refused. Streams are in `codec`, the second reading in `second`.
"""

import re
from ipaddress import IPv6Address

from edge_agent.protocols.http import second
from edge_agent.protocols.http.messages import MAX_HEADERS, MAX_LENGTH, Headers, PeerError, RequestHead, ResponseHead


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


METHODS = _words(
    "GET HEAD POST PUT DELETE OPTIONS PATCH COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND UNBIND ACL REPORT"
    " MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PURGE MKCALENDAR LINK UNLINK SOURCE QUERY"
)
"""What is passed on: every method that the second parser knows but CONNECT, which makes a tunnel that nobody could judge, and
TRACE, whose answer would show the agent the resource's credential (RFC 9110 9.3.8)."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_TEXT = rb"[\t\x20-\x7e\x80-\xff]"

_request_line = re.compile(rb"(%b++) ([\x21-\x7e]++) HTTP/([0-9])\.([0-9])" % _TOKEN).fullmatch
_status_line = re.compile(rb"HTTP/([0-9])\.([0-9]) ([1-9][0-9][0-9])(?: (%b*+))?" % _TEXT).fullmatch
_strict_fields = re.compile(rb"(?:%b++:%b*+\r\n)*+" % (_TOKEN, _TEXT)).fullmatch
_field = re.compile(rb"%b++:%b*+" % (_TOKEN, _TEXT)).fullmatch

_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_strict_length = re.compile(
    r"0|[1-9][0-9]{0,18}"
).fullmatch  # no sign, space, underscore, list; no zero in front: octal to some
_length = re.compile(r"[0-9]{1,19}").fullmatch
_authority = re.compile(r"(?:[A-Za-z0-9._~-]+|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?").fullmatch
_absolute = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)").fullmatch

_FRAMES = (b"content-length", b"transfer-encoding", b"connection")
_READ = frozenset(("content-length", "transfer-encoding", "connection", "host", "upgrade", "expect"))
# Fields that servers take the first of, or the last of, and that say who asks or how the body is to be read.
_ONCE = frozenset(("authorization", "proxy-authorization", "content-type"))
_CODINGS = frozenset(("gzip", "x-gzip", "deflate", "compress", "x-compress"))
# A server behind CGI or WSGI reads Content_Length as Content-Length.
_DISGUISED = frozenset(name.replace("-", "_") for name in _READ | _ONCE if "-" in name)
# Connection may make a field hop-by-hop, but not one that says where a message ends or whom it is for (RFC 9110 7.6.1).
_NOT_NOMINATED = frozenset(
    ("host", "content-length", "transfer-encoding", "connection", "authorization", "expect", "trailer")
)
_OPTIONS = frozenset(("close", "keep-alive", "upgrade"))
# RFC 9110 6.5.1: framing, routing, authentication, request modifiers, controls and content fields cannot come late.
_NEVER_LATE = _words(
    "content-length transfer-encoding trailer te host connection keep-alive upgrade expect proxy-connection authorization"
    " proxy-authorization proxy-authenticate www-authenticate authentication-info cookie set-cookie content-encoding content-type"
    " content-range content-location range max-forwards cache-control age expires date location retry-after vary warning pragma"
    " if-match if-none-match if-modified-since if-unmodified-since if-range"
)


def read_request(raw: bytes) -> RequestHead:
    """The head whose bytes, with the empty line, are `raw`; PeerError if it is not one, or could be another."""
    end = raw.index(b"\r\n")
    line = _request_line(raw, 0, end)
    if line is None:
        raise PeerError(400, _line_fault(raw[:end]))
    if line[3] != b"1" or line[4] > b"1":
        version = f"{line[3].decode()}.{line[4].decode()}"
        raise PeerError(505, f"HTTP/{version} is not spoken here; use HTTP/1.1")
    method, raw_target, minor = line[1].decode(), line[2], int(line[4])
    if method not in METHODS:
        raise PeerError(501, "this method is not passed on")
    headers = _fields(raw, end + 2, 400)
    read = _known(headers, 400)
    host = _host(read.get("host"), minor)
    host, target = _origin_form(method, raw_target, host)
    length, chunked = _framing(read, minor, 400)
    options = _options(read, 400)
    upgrades = "upgrade" in options and "upgrade" in read
    head = RequestHead(
        method,
        target,
        minor,
        headers,
        length,
        chunked,
        _persists(options, minor),
        _expects(read, minor) and (chunked or bool(length)),
        ", ".join(read["upgrade"]).lower() if upgrades and minor else "",  # RFC 9110 7.8: ignored in HTTP/1.0
        host,
        options - _OPTIONS if options else options,
    )
    second.agree(raw, raw_target, head, upgrades)
    return head


def read_response(raw: bytes, to_head: bool) -> ResponseHead:
    """The head of a response whose bytes, with the empty line, are `raw`. `to_head`: it answers a HEAD."""
    end = raw.index(b"\r\n")
    line = _status_line(raw, 0, end)
    if line is None or line[1] != b"1" or line[2] > b"1":
        raise PeerError(502, "the server's status line is not HTTP/1.1")
    if _strict_fields(raw, end + 2, len(raw) - 2) is None:
        raw = _mended(raw, end)
    minor, status = int(line[2]), int(line[3])
    headers = _fields(raw, end + 2, 502)
    read = _known(headers, 502)
    length, chunked = _framing(read, minor, 502)
    options = _options(read, 502)
    body = status >= 200 and status not in (204, 304) and not to_head  # RFC 9112 6.3
    until_close = body and length is None and not chunked
    return ResponseHead(
        status,
        (line[4] or b"").decode("latin-1").strip(),
        minor,
        headers,
        length,
        chunked,
        until_close,
        _persists(options, minor) and not until_close,
        ", ".join(read.get("upgrade", ())).lower() if status == 101 else "",
        body,
        options - _OPTIONS if options else options,
    )


def read_trailers(raw: bytes, status: int) -> Headers:
    """The fields of a trailer section, its empty line included, that may be read; all others are dropped."""
    return tuple(field for field in _fields(raw, 0, status) if field[0].lower().replace("_", "-") not in _NEVER_LATE)


# Fields


def _fields(raw: bytes, start: int, status: int) -> Headers:
    """The field lines from `start` to the empty line."""
    stop = len(raw) - 2
    if _strict_fields(raw, start, stop) is None:
        raise PeerError(status, _field_fault(raw[start:stop]))
    lines = raw[start:stop].decode("latin-1").split("\r\n")
    lines.pop()
    if len(lines) > MAX_HEADERS:
        raise PeerError(status if status == 502 else 431, f"more than {MAX_HEADERS} header fields")
    return tuple([(name, value.strip(" \t")) for name, _, value in [line.partition(":") for line in lines]])


def _known(headers: Headers, status: int) -> dict[str, list[str]]:
    """The values of the fields that say where a message ends or what becomes of its connection."""
    read: dict[str, list[str]] = {}
    for name, value in headers:
        lower = name.lower()
        if lower in _READ:
            read.setdefault(lower, []).append(value)
        elif lower in _ONCE and status == 400:
            read.setdefault(lower, []).append(value)
            if len(read[lower]) > 1:
                raise PeerError(400, f"more than one {name} field")
        elif "_" in lower and status == 400 and lower.replace("-", "_") in _DISGUISED:
            raise PeerError(400, f"the field {name} looks like {name.replace('_', '-')} to some servers")
    return read


def _framing(read: dict[str, list[str]], minor: int, status: int) -> tuple[int | None, bool]:
    """(Content-Length, chunked); RFC 9112 6.1 to 6.3, and nothing of what they let a server repair."""
    lengths, codings = read.get("content-length"), read.get("transfer-encoding")
    if lengths is None and codings is None:
        return None, False
    if codings is not None:
        if lengths is not None:
            raise PeerError(status, "both Content-Length and Transfer-Encoding; send one of them")
        if minor == 0:
            raise PeerError(status, "Transfer-Encoding in HTTP/1.0")
        if len(codings) != 1 or codings[0].lower() != "chunked":
            words = [word.strip(" \t").lower() for word in codings[0].split(",")]
            foreign = status == 400 and words.pop() == "chunked" and words and _CODINGS.issuperset(words)
            wrong = 501 if foreign else status  # RFC 9112 6.1: what is well framed but not understood is 501
            raise PeerError(wrong, "Transfer-Encoding is not `chunked`, which alone is read here")
        return None, True
    assert lengths is not None
    if (
        len(lengths) != 1
        or not (_strict_length if status == 400 else _length)(lengths[0])
        or int(lengths[0]) > MAX_LENGTH
    ):
        raise PeerError(status, "Content-Length is not one plain number")
    return int(lengths[0]), False


def _options(read: dict[str, list[str]], status: int) -> frozenset[str]:
    """What Connection lists (RFC 9110 7.6.1), in lower case."""
    values = read.get("connection")
    if values is None:
        return frozenset()
    words = [word.strip(" \t").lower() for value in values for word in value.split(",")]
    options = frozenset(word for word in words if word)  # RFC 9110 5.6.1: empty elements are ignored
    if wrong := [word for word in options if word in _NOT_NOMINATED or not _token(word)]:
        if status == 400:
            raise PeerError(400, "Connection names what it cannot name")
        options -= frozenset(wrong)
    return options


def _persists(options: frozenset[str], minor: int) -> bool:
    """True if the connection stays open behind the message (RFC 9112 9.3)."""
    return "close" not in options and (minor == 1 or "keep-alive" in options)


def _expects(read: dict[str, list[str]], minor: int) -> bool:
    """True if the client waits for 100 (RFC 9110 10.1.1)."""
    values = read.get("expect")
    if values is None:
        return False
    if len(values) != 1 or values[0].lower() != "100-continue":
        raise PeerError(417, "Expect is not `100-continue`, which alone is understood here")
    return minor == 1


# Target and host


def _host(values: list[str] | None, minor: int) -> str:
    """The Host field (RFC 9112 3.2): exactly one host, with a port or without."""
    if values is None:
        if minor == 0:
            return ""
        raise PeerError(400, "no Host field")
    if len(values) != 1:
        raise PeerError(400, "more than one Host field")
    if not _is_authority(values[0]):
        raise PeerError(400, "Host is not a name or an address with perhaps a port")
    return values[0].lower()


def _is_authority(text: str) -> bool:
    found = _authority(text)
    if found is None or (found[2] is not None and not 0 < int(found[2]) < 65536):
        return False
    return found[1] is None or _is_address(found[1])


def _is_address(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _origin_form(method: str, target: bytes, host: str) -> tuple[str, bytes]:
    """(host, target) with the target in origin-form or `*` (RFC 9112 3.2.1 to 3.2.4)."""
    if b"#" in target:
        raise PeerError(400, "the request target has a fragment; leave out `#` and what follows, or write %23")
    if target.startswith(b"/"):
        return host, target
    if target == b"*":
        if method != "OPTIONS":
            raise PeerError(400, f"the target `*` is only for OPTIONS, not {method}")
        return host, target
    found = _absolute(target)
    if found is None or (scheme := found[1].lower()) not in (b"http", b"https"):
        raise PeerError(400, "the request target is neither a path nor an http URL")
    authority, rest = found[2].decode().lower(), found[3]
    if not _is_authority(authority):
        raise PeerError(400, "the authority of the request target is not a host with perhaps a port")
    port = ":80" if scheme == b"http" else ":443"
    if host and authority.removesuffix(port) != host.removesuffix(port):
        raise PeerError(400, "the request target is for one host, Host says another")
    if not rest:
        return host or authority, b"*" if method == "OPTIONS" else b"/"
    return host or authority, rest if rest.startswith(b"/") else b"/" + rest


# Responses: what is mended, because nothing that frames depends on it


def _mended(raw: bytes, end: int) -> bytes:
    """Folded lines joined (RFC 9112 5.2) and spaces before a colon removed (5.1), but not in a field that frames."""
    lines: list[bytes] = []
    for line in raw[end + 2 : -4].split(b"\r\n"):
        folded = line[:1] in (b" ", b"\t")
        name, colon, value = (lines.pop() if folded and lines else line).partition(b":")
        plain = name.rstrip(b" \t")
        if (folded or plain != name) and plain.lower() in _FRAMES:
            raise PeerError(502, "a field of the server's that frames is folded, or has a space before its colon")
        if folded:
            value += b" " + line.strip(b" \t")
        lines.append(plain + colon + value)
    return raw[: end + 2] + b"\r\n".join(lines) + b"\r\n\r\n"


# Complaints: they go into the recording, so none quotes what a client may have misplaced there


def _line_fault(line: bytes) -> str:
    if line[:1] in (b" ", b"\t"):
        return "white space before the request line"
    if not line:
        return "an empty line where a request line should be"
    parts = line.split(b" ")
    if len(parts) == 2:
        return "the request line has no version: HTTP/0.9 is not spoken here"
    if len(parts) != 3 or b"" in parts:
        return "the request line is not `METHOD TARGET HTTP/1.1` with one space between; a space in a target is %20"
    if re.fullmatch(rb"[\x21-\x7e]+", parts[1]) is None:
        return "the request target holds bytes that are not printable ASCII; percent-encode them"
    if not parts[2].startswith(b"HTTP/"):
        return "the version is not HTTP/1.1"
    return "the request line is not `METHOD TARGET HTTP/1.1`"


def _field_fault(block: bytes) -> str:
    for line in block.split(b"\r\n"):
        if line and _field(line) is None:
            name, colon, _ = line.partition(b":")
            if line[:1] in (b" ", b"\t"):
                return "a header line begins with white space (obsolete folding, RFC 9112 5.2)"
            if not colon:
                return "a header line has no colon"
            if not name:
                return "a header field has no name"
            if name != name.rstrip():
                return "white space between a header name and its colon"
            if re.fullmatch(rb"%b+" % _TOKEN, name) is None:
                return "a header name has characters that a name cannot have"
            return f"the value of {name.decode()} holds a control character, a bare CR or a bare LF"
    return "the header section is malformed"
