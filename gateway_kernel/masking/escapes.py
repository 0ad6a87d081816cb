r"""Running text without its escapes: what a browser, a parser of URLs or a lenient reader of JSON would make of it.

Text whose kind is not known may hold entities (`&#64;`), escapes of JavaScript and JSON (`\u0040`, `\x40`, `\/`) or of URLs (`%40`). Detectors are
shown the text as it stands and once without them, with the way back. One layer is taken off, not what is escaped twice.
"""

import re

from .lenient import View

_ESCAPE = re.compile(
    rb"\\u\{?([0-9A-Fa-f]{4})\}?|\\x([0-9A-Fa-f]{2})|&#[xX]0{0,8}([0-9A-Fa-f]{1,5});?|&#0{0,8}([0-9]{1,6});?|%([0-9A-Fa-f]{2})"
    rb"|&(commat|period|colon|hyphen|lowbar|num|sol|plus|equals|nbsp|amp|quot|apos|lt|gt);|\\([/\"'\\.@+-])"
)
_NAMED = {
    b"commat": b"@", b"period": b".", b"colon": b":", b"hyphen": b"-", b"lowbar": b"_", b"num": b"#", b"sol": b"/", b"plus": b"+", b"equals": b"=",
    b"nbsp": b" ", b"amp": b"&", b"quot": b'"', b"apos": b"'", b"lt": b"<", b"gt": b">",
}  # fmt: skip


def unescaped(data: bytes) -> View | None:
    """The text without its escapes, None if it has none."""
    if not (b"\\" in data or b"&" in data or b"%" in data) or _ESCAPE.search(data) is None:
        return None
    text = bytearray()
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    for escape in _ESCAPE.finditer(data):
        text += data[at : escape.start()]
        starts.extend(range(at, escape.start()))
        ends.extend(range(at + 1, escape.start() + 1))
        at = escape.end()
        said = _said(escape)
        text += said
        starts.extend([escape.start()] * len(said))
        ends.extend([at] * len(said))
    text += data[at:]
    starts.extend(range(at, len(data)))
    ends.extend(range(at + 1, len(data) + 1))
    return View(bytes(text), starts, ends)


def _said(escape: re.Match[bytes]) -> bytes:
    unicode, byte, hexadecimal, decimal, percent, name, plain = escape.groups()
    if plain is not None:
        return plain
    if name is not None:
        return _NAMED[name]
    if percent is not None:
        return bytes((int(percent, 16),))
    number = int(decimal) if decimal is not None else int(unicode or byte or hexadecimal, 16)
    # A line end that is written as an escape ends no line: detectors would stop there, and a stream is not cut there.
    return chr(number).encode("utf-8", "surrogatepass") if number not in (0, 10) and number < 0x110000 else b" "
