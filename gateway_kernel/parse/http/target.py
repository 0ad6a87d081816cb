"""The one form of a request target that is judged, shown, recorded and sent.

Two readers of `/a/%2e%2e/b`, `/a//b` or `/a;x/b` may see two different things, so a path is decoded once, its dot segments and
empty segments go (RFC 3986 5.2.4), and it is encoded again in one way. What could still be read twice is an error. The query is kept
byte for byte: its meaning is each server's own, and `query` reads it strictly.
"""

import re
import unicodedata
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

PLAIN = "!$'()*+,=:@&-._~"
"""Written as they are in a path, beside letters and digits. `;` is missing: some servers cut a segment there."""


class TargetError(Exception):
    """A target that nobody can read in one way only. The text says what is wrong and what to send instead."""


def normalised(raw: bytes) -> str:
    """Return the target (origin form: path and query) in its one form; raise `TargetError` if it has none."""
    if _NOTHING_TO_DO.fullmatch(raw) and b"/." not in raw and b"//" not in raw:
        return raw.decode("ascii")
    if not raw.startswith(b"/"):
        raise TargetError("The request target must be a path that begins with '/'.")
    if raw.find(b"#") >= 0:
        raise TargetError(
            "The target holds a '#': a fragment stays with the client, and a '#' in a name is written %23."
        )
    path, mark, query = raw.partition(b"?")
    normal = _path(path)
    if not mark:
        return normal
    _check_query(query)
    return f"{normal}?{query.decode('ascii')}"


def decoded(path: str) -> str:
    """The path of a normalised target as text. Its slashes are those between segments."""
    return unquote_to_bytes(path).decode() if "%" in path else path


def encoded(segments: tuple[str, ...] | list[str]) -> str:
    """The one way in which these decoded segments are written."""
    return "/" + "/".join([quote(segment, safe=PLAIN) for segment in segments])


_NOTHING_TO_DO = re.compile(rb"/[A-Za-z0-9!$'()*+,=:@&\-._~/]*(?:\?[A-Za-z0-9!$'()*+,;=:@&\-._~/?]*)?")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NOT_IN_QUERY = re.compile(rb"[^A-Za-z0-9!$'()*+,;=:@&\-._~/?%\[\]{}|^`]")
"""RFC 3986 3.4, and what the WHATWG URL standard leaves bare in a query: `filter[name]=x` is written so by most clients."""


def _path(raw: bytes) -> str:
    if any(byte > 0x7E or byte <= 0x20 for byte in raw):
        raise TargetError("The path holds a byte that must be percent-encoded; encode names as UTF-8 and then as %XX.")
    if _BAD_ESCAPE.search(raw):
        raise TargetError("The path holds a '%' without two hexadecimal digits; a percent sign is written %25.")
    segments: list[str] = []
    *between, last = raw[1:].split(b"/")
    for piece in between:
        segment = _segment(piece)
        if segment == "..":
            _up(segments)
        elif segment not in ("", "."):
            segments.append(segment)
    segment = _segment(last)
    if segment == "..":
        _up(segments)
    if segment in ("", ".", ".."):
        return encoded([*segments, ""]) if segments else "/"
    return encoded([*segments, segment])


def _up(segments: list[str]) -> None:
    if not segments:
        raise TargetError("The path climbs above its root with '..'; send the path that is meant.")
    segments.pop()


def _segment(raw: bytes) -> str:
    """One segment, decoded once; raise `TargetError` where some server could read it otherwise."""
    try:
        segment = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise TargetError("The path is not UTF-8 once it is decoded; encode names as UTF-8.") from None
    if _CONTROL.search(segment):
        raise TargetError("The path holds a control character.")
    if "/" in segment or "\\" in segment:
        raise TargetError(
            "A name in the path holds a slash or backslash: servers differ on whether it divides the path."
        )
    if ";" in segment:
        raise TargetError("The path holds a ';': some servers cut the name there, others do not. Send it in the query.")
    if "%" in segment and _ESCAPE.search(segment):
        raise TargetError("The path is percent-encoded twice; encode it once.")
    if not segment.isascii():
        _check_letters(segment)
    return segment


def _check_letters(segment: str) -> None:
    for character in segment:
        if character > "\x7f" and (problem := _letter(character)):
            raise TargetError(problem)


@lru_cache(4096)
def _letter(character: str) -> str:
    """Full-width letters and slashes, ligatures and the like: servers that normalise (Unicode NFKC) read plain ones in their place."""
    plain = unicodedata.normalize("NFKC", character)
    if not plain.isprintable():
        return f"The path holds the invisible character U+{ord(character):04X}."
    if any(each < "\x80" for each in plain):
        return f"The path holds U+{ord(character):04X}, which some servers read as an ASCII character."
    return ""


def _check_query(query: bytes) -> None:
    if match := _NOT_IN_QUERY.search(query):
        raise TargetError(f"The query holds the byte 0x{match[0][0]:02X}, which must be percent-encoded there.")
    if _BAD_ESCAPE.search(query):
        raise TargetError("The query holds a '%' without two hexadecimal digits; a percent sign is written %25.")
