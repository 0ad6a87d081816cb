"""The head of a response as the agent gets it: this hop's headers go, and what points to the upstream points to the edge.

A redirect that leaves the resource is not passed on: its address is taken out, and a header says so. Masking of values is `masking`'s part.
"""

import re
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import msgspec

from edge_agent.gateway import Guarded
from edge_agent.protocols.http.cookies import Cookies
from edge_agent.protocols.http.messages import Headers, ResponseHead
from edge_agent.protocols.http.request import DEFAULT_PORTS, authority

_DROPPED = frozenset(
    {
        "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authentication-info", "te", "trailer", "transfer-encoding",
        "upgrade", "content-length",  # of the upstream's hop (RFC 9110 7.6.1); the edge frames its own
        "alt-svc", "strict-transport-security", "public-key-pins",  # about the upstream's origin, and ways round the edge
    }
)  # fmt: skip
_LINKED = re.compile(r"<([^<>]*)>")  # RFC 8288 3
_ADDRESSES = frozenset({"location", "content-location", "operation-location", "azure-asyncoperation"})
"""Headers that clients follow; the last two by polling (Azure's long-running operations)."""
_REFRESH = re.compile(r"\s*([0-9.]+)\s*(?:[;,]?\s*(?:url\s*=\s*)?[\"']?([^\"']*)[\"']?\s*)", re.IGNORECASE)
_TWO_WAYS = re.compile(r"[\x00-\x20\\\x7f]")
"""Browsers leave some of these out of an URL and read the others as slashes (WHATWG URL 4.4): `/\\host` is another host to them."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
WITHHELD = "Sallyport-Withheld"
"""Names what of a response was taken out, and why."""


class Place(msgspec.Struct, frozen=True):
    """Where the agent finds the resource: `base` is an absolute URL without a slash at its end, `prefix` its path."""

    base: str
    prefix: str
    secure: bool
    agent: str
    resource: str


def headers(head: ResponseHead, place: Place, guarded: Guarded, cookies: Cookies, target: str) -> Headers:
    """The headers of a response to a request for `target` (of the upstream), as they go to the agent; those of the body's length are left out."""
    return tuple(_kept(head, place, guarded, cookies, target))


def _kept(
    head: ResponseHead, place: Place, guarded: Guarded, cookies: Cookies, target: str
) -> Iterator[tuple[str, str]]:
    for name, value in head.headers:
        low = name.lower()
        if low in _DROPPED or low in head.nominated:
            continue
        if low == "set-cookie":
            yield (
                name,
                cookies.kept(
                    value, prefix=place.prefix, secure=place.secure, agent=place.agent, resource=place.resource
                ),
            )
        elif low in _ADDRESSES:
            moved = address(value, place, guarded, target)
            yield (name, moved) if moved is not None else (WITHHELD, f"{low}: it leads off the edge")
        elif low == "refresh":
            yield from _refresh(name, value, place, guarded, target)
        elif low == "link":
            yield name, _LINKED.sub(lambda link: f"<{_linked(link[1], place, guarded, target)}>", value)
        else:
            yield name, value
    yield "Via", "1.1 sallyport"


def origin(guarded: Guarded) -> str:
    """Scheme and authority of the upstream."""
    return f"{guarded.upstream.options.get('scheme', 'https')}://{authority(guarded)}"


def address(value: str, place: Place, guarded: Guarded, target: str) -> str | None:
    """An address of the upstream as one of the edge, in the form in which it came; None if it leads anywhere else."""
    own = origin(guarded)
    value = value.strip()
    if _TWO_WAYS.search(value):
        return None
    try:
        whole = urlsplit(urljoin(own + target, value))
        port = whole.port or DEFAULT_PORTS.get(whole.scheme)
    except ValueError:
        return None
    if (whole.scheme, whole.hostname, port) != (
        guarded.upstream.options.get("scheme", "https"),
        guarded.upstream.host.lower(),
        guarded.upstream.port,
    ) or whole.username is not None:
        return None
    base = guarded.upstream.path.rstrip("/")
    path = whole.path or "/"
    if base and path != base and not path.startswith(f"{base}/"):
        return None  # beside the part of the upstream that this resource is
    rest = path[len(base) :] or "/"
    tail = (f"?{whole.query}" if whole.query else "") + (f"#{whole.fragment}" if whole.fragment else "")
    if "//" in value.partition("?")[0] or _SCHEME.match(value):
        return f"{place.base}{rest}{tail}"
    return f"{place.prefix}{rest}{tail}" if value.startswith("/") else value


def _linked(url: str, place: Place, guarded: Guarded, target: str) -> str:
    """A link may lead anywhere, unlike a redirect: nobody follows it by itself."""
    moved = address(url, place, guarded, target)
    return url if moved is None else moved


def _refresh(name: str, value: str, place: Place, guarded: Guarded, target: str) -> Iterator[tuple[str, str]]:
    read = _REFRESH.fullmatch(value)
    if read is not None and not read[2]:
        yield name, value
        return
    moved = None if read is None else address(read[2], place, guarded, target)
    yield (
        (name, f"{read[1]}; url={moved}")
        if read and moved is not None
        else (WITHHELD, "refresh: it leads off the edge")
    )
