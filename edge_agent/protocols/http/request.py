"""From the head that an agent sent to the operation that is judged: which resource it means, and the one form of it that goes on.

What is judged is `Prepared.text` and nothing else; `wire` turns a judged text into the bytes that are sent, adding only what the edge makes anew.
Nothing here decides or does IO. Heads repeat, so what is made of one is remembered.
"""

import base64
import re
from collections.abc import Callable, Iterator
from urllib.parse import quote, unquote_plus

import msgspec

from edge_agent.gateway import Credential, Guarded, Route, matched
from edge_agent.protocols.http.cookies import SEALED
from edge_agent.protocols.http.messages import RequestHead
from gateway_kernel.model import Json
from gateway_kernel.parse.http.headers import stripped
from gateway_kernel.parse.http.target import TargetError, decoded, normalised
from gateway_kernel.parse.http.text import HeadError, compose

DEFAULT_PORTS = {"http": 80, "https": 443}
_REMEMBERED = 1024
_HANDSHAKE = ("sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-accept")
"""Made anew for each WebSocket: the edge is the upstream's client, and offers no extension."""
_COOKIE = re.compile(r"^(cookie: )(.*)$", re.IGNORECASE | re.MULTILINE)
_RESPOND_ASYNC = "respond-async"  # RFC 7240 4.1


class Named(msgspec.Struct, frozen=True):
    """Which resource a request names, what is left of its target, and where the agent finds the resource: "" or its path prefix."""

    resource: str
    target: bytes
    prefix: str


class Prepared(msgspec.Struct, frozen=True):
    """A head as it would be sent. `context` holds what is known before the body is; `size` is the text's."""

    text: str
    context: dict[str, Json]
    media_type: str
    respond_async: bool
    size: int


def named(head: RequestHead, served: Callable[[str], Guarded | None]) -> Named | None:
    """The resource by the first label of Host, else by the first segment of the path; None if neither names one that is served."""
    label, dot, _ = head.host.partition(".")
    if dot and (guarded := served(label)) is not None and guarded.resource.protocol == "http":
        return Named(label, head.target, "")
    path, question, query = head.target.partition(b"?")
    first, slash, rest = path[1:].partition(b"/")
    name = first.decode("ascii", "replace")
    guarded = served(name) if name else None
    if guarded is None or guarded.resource.protocol != "http":
        return None
    return Named(name, b"/" + (rest if slash else b"") + question + query, f"/{name}")


class Preparing:
    """Makes `Prepared` of heads, for one worker."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], tuple[RequestHead, Guarded, bytes, Prepared]] = {}

    def prepared(self, head: RequestHead, name: Named, guarded: Guarded) -> Prepared:
        """The head in its normal form; the same object for a head seen before."""
        key = (id(head), name.resource)
        known = self._known.get(key)
        if known is not None and known[0] is head and known[1] is guarded and known[2] == name.target:
            return known[3]
        prepared = _prepared(head, name, guarded)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[key] = (head, guarded, name.target, prepared)
        return prepared


def _prepared(head: RequestHead, name: Named, guarded: Guarded) -> Prepared:
    scheme = guarded.upstream.options.get("scheme", "https")
    context: dict[str, Json] = {"scheme": scheme, "body": "none"}
    headers = [("Host", authority(guarded)), *_kept(head, guarded)]
    try:
        target = _without(normalised(name.target), guarded.injected_query)
        route = _route(guarded, head.method, target)
        if route is not None:
            effects = [list(effect) for effect in route.effects]
            context["route"] = {"id": route.id, "effects": effects, "speaks": route.speaks}
        text = compose(head.method, guarded.upstream.path.rstrip("/") + target, headers)
    except (TargetError, HeadError):
        # It has no normal form: the reader says why, and it is refused on the record.
        lines = "".join(f"{key}: {value}\n" for key, value in headers)
        text = f"{head.method} {name.target.decode('latin-1')}\n{lines}"
    media_type = coding = ""
    respond_async = False
    for key, value in head.headers:
        match key.lower():
            case "content-type":
                media_type = value.partition(";")[0].strip().lower()
            case "content-encoding":
                coding = value.lower()
            case "prefer":
                respond_async |= _RESPOND_ASYNC in _listed(value)
            case _:
                pass
    if head.upgrade == "websocket":
        context["upgrade"] = "websocket"
    if coding and coding != "identity":
        context["encoding"] = coding
    return Prepared(text, context, media_type, respond_async, len(text))


def _route(guarded: Guarded, method: str, target: str) -> Route | None:
    if not guarded.routes:
        return None
    return matched(guarded.routes, method, tuple(decoded(target.partition("?")[0]).split("/")[1:]))


def _without(target: str, parameter: str) -> str:
    """The target without what the agent says in the place of the credential."""
    path, question, query = target.partition("?")
    if not parameter or not query:
        return target
    kept = [pair for pair in query.split("&") if unquote_plus(pair.partition("=")[0]) != parameter]
    return path + question * bool(kept) + "&".join(kept)


def authority(guarded: Guarded) -> str:
    """Host and port of the upstream as a Host header says them."""
    upstream = guarded.upstream
    host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
    return host if upstream.port == DEFAULT_PORTS.get(upstream.options.get("scheme", "")) else f"{host}:{upstream.port}"


def _kept(head: RequestHead, guarded: Guarded) -> Iterator[tuple[str, str]]:
    """The headers that are judged and go on: neither this hop's, nor the agent's credential, nor what the edge makes anew."""
    own = {"host", guarded.injected_header.lower(), *head.nominated, *_HANDSHAKE}
    for name, value in head.headers:
        low = name.lower()
        if low in own or stripped(low):
            continue
        if low == "prefer":
            value = ", ".join(each for each in _listed(value) if each != _RESPOND_ASYNC)
            if not value:
                continue
        yield name, value


def _listed(value: str) -> list[str]:
    """The members of a comma-separated header (RFC 9110 5.6.1)."""
    return [each for part in value.split(",") if (each := part.strip())]


def wire(text: str, credential: Credential, made: tuple[tuple[str, str], ...], opened: Callable[[str], str]) -> bytes:
    """A judged text as the bytes that are sent: the credential in its place, sealed cookies `opened`, and the headers that the edge makes."""
    if SEALED in text:
        text = _COOKIE.sub(lambda line: f"{line[1]}{opened(line[2])}", text)
    placed = injected(credential)
    if placed is not None:
        made = (placed, *made)
    if credential.query:
        line, _, rest = text.partition("\n")
        mark = "&" if "?" in line else "?"
        text = f"{line}{mark}{quote(credential.query, safe='')}={quote(credential.injected, safe='')}\n{rest}"
    line, _, rest = text.partition("\n")
    head = f"{line} HTTP/1.1\n{rest}" + "".join([f"{name}: {value}\n" for name, value in made]) + "\n"
    return head.replace("\n", "\r\n").encode("latin-1")


def injected(credential: Credential) -> tuple[str, str] | None:
    """The header that carries the credential, None if none does."""
    if credential.kind == "none" or credential.query:
        return None
    if credential.header:
        return credential.header, credential.injected
    if credential.kind == "token":
        return "Authorization", f"Bearer {credential.secret}"
    pair = f"{credential.username}:{credential.secret}".encode()
    return "Authorization", f"Basic {base64.b64encode(pair).decode()}"
