"""A request body as facts: JSON, or the names and values of a form, or the reason why nobody can tell.

JSON is tried whatever the content type says, as a server may do the same. A body that cannot be read is refused only where somebody
asks for it: a rule, or a route that says the body carries commands.
"""

import re

import msgspec

from gateway_kernel.model import Json
from gateway_kernel.parse.http import pairs, strict_json
from gateway_kernel.parse.http.text import Headers

INSPECTED = 512 * 1024
"""Bytes. Larger bodies are digested or streamed, and no fact: parsing one would hold up every other agent."""

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
OVERRIDE = "_method"
"""The field by which Rails, Laravel, Symfony and others let a form name another method."""


class MediaType(msgspec.Struct, frozen=True):
    """What the headers say of a body: `type` in lower case without parameters, `encoded` by a content coding, `why` it cannot be told."""

    type: str = ""
    charset: str = ""
    encoded: str = ""
    why: str = ""


class Body(msgspec.Struct, frozen=True):
    """`value` if `why` is "". `methods` are those that the body names in place of the request's; `hidden` if it may name one unseen."""

    value: Json = None
    why: str = ""
    methods: tuple[str, ...] = ()
    hidden: bool = False
    text: str = ""


NO_BODY = Body()


def media_type(headers: Headers) -> MediaType:
    """What Content-Type and Content-Encoding say."""
    types: list[str] = []
    codings: list[str] = []
    for name, value in headers:
        match name.lower().replace("_", "-"):
            case "content-type":
                types.append(value)
            case "content-encoding":
                codings.extend(coding for part in value.split(",") if (coding := part.strip().lower()))
            case _:
                pass
    encoded = ", ".join(coding for coding in codings if coding != "identity")
    if len(types) > 1:
        return MediaType(types[-1].partition(";")[0].strip().lower(), "", encoded, "The request has two content types.")
    if not types:
        return MediaType(encoded=encoded)
    kind, *parameters = types[0].split(";")
    named = [parameter.partition("=") for parameter in parameters]
    charsets = [value.strip().strip('"').lower() for name, _, value in named if name.strip().lower() == "charset"]
    why = ""
    if len(charsets) > 1:
        why = "The content type names two charsets."
    elif not _MEDIA_TYPE.fullmatch(kind.strip()):
        why = "The content type is malformed."
    return MediaType(kind.strip().lower(), charsets[0] if charsets else "", encoded, why)


_MEDIA_TYPE = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+/[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_UTF_8 = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii"})
_LIKE_ASCII = frozenset({"iso-8859-1", "latin1", "windows-1252", "cp1252"})
_PART_NAMED = re.compile(
    rb'name[ \t]*=[ \t]*"?_method"?[^\r\n]{0,200}(?:\r?\n[^\r\n]{1,200}){0,4}\r?\n\r?\n([^\r\n]{0,80})', re.IGNORECASE
)
_MOST_NAMED = 8
"""Fields called `_method` that are looked for in one body; more are an attack on the search."""


def read(data: bytes, media: MediaType) -> Body:
    """Read a whole body."""
    if not data:
        return NO_BODY
    why = media.why
    if media.encoded:
        why = f"The body is encoded ({media.encoded}), so nobody can see what it says."
    elif data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        why = "The body begins with a byte order mark: servers differ on what follows."
    elif not (media.charset in _UTF_8 or (media.charset in _LIKE_ASCII and data.isascii())):
        why = f"The body is in the charset {media.charset!r}; send UTF-8."
    if why:
        return _unreadable(data, media, why)
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _unreadable(data, media, "The body is not UTF-8.")
    document = strict_json.parse(text)
    if media.type == FORM:
        return _form(text, document)
    if not document.is_json:
        return _unreadable(data, media, document.why, text)
    named = [value for name, value in document.top if name.casefold() == OVERRIDE]
    methods = tuple([value for value in named if isinstance(value, str)])
    return Body(document.value, document.why, methods, hidden=len(methods) != len(named), text=text)


def unread(media: MediaType, why: str) -> Body:
    """A body that was digested or streamed. One that says it is a form may name another method, and forms are small."""
    return Body(why=why, hidden=media.type == FORM)


def _form(text: str, document: strict_json.Document) -> Body:
    methods = tuple(pairs.every(text, OVERRIDE))
    if document.is_json and not ("=" in text or "&" in text):
        named = [value for name, value in document.top if name.casefold() == OVERRIDE]
        methods += tuple([value for value in named if isinstance(value, str)])
        return Body(document.value, document.why, methods, text=text)
    if document.is_json:
        named = any(name.casefold() == OVERRIDE for name, _ in document.top)
        return Body(why="The body can be read as a form and as JSON.", methods=methods, hidden=named, text=text)
    if not text.isascii() or "\n" in text.rstrip("\r\n"):
        return Body(why="The body is no URL-encoded form.", methods=methods, text=text)
    form = pairs.strict(text.rstrip("\r\n"), "form")
    return Body(None if form.why else form.values, form.why, methods, text=text)


def _unreadable(data: bytes, media: MediaType, why: str, text: str = "") -> Body:
    """Not a fact. It still may name another method where a server looks for one: a part of a multipart form, text in another charset."""
    named = data.replace(b"\0", b"").lower().count(OVERRIDE.encode())
    found = _PART_NAMED.findall(data) if 0 < named <= _MOST_NAMED else []
    methods = tuple([name.decode("latin-1").strip() for name in found])
    hidden = (media.encoded != "" and media.type in (FORM, MULTIPART)) or len(methods) < named
    return Body(why=why, methods=methods, hidden=hidden, text=text)
