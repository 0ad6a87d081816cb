"""Masking inside JSON text so that what comes out is JSON as well.

Strings are unescaped, masked and written again, keys included; a number or literal that is hit becomes null. White space, order,
duplicate keys and the precision of numbers stay as they were. A detector that needs what stands beside a value
(`"password": "..."`) sees the raw text too, and then hides the whole string. Only complete JSON is read: text that is not JSON
(RFC 8259) raises ValueError, and the caller withholds it.
"""

import json
import re
from collections import Counter
from typing import cast

from .masker import Detection, Hit

_TOKEN = re.compile(
    rb'(?P<string>"(?:[^"\\\x00-\x1f]|\\.)*+")'
    rb"|(?P<scalar>-?[0-9][0-9.eE+-]*+|true|false|null)"
    rb"|[ \t\r\n]++|[{}\[\],:]"
)


def mask_json(text: bytes, detection: Detection, counts: Counter[str] | None = None) -> bytes | None:
    """`text` with every hit hidden; None if a hit's strategy is `null`; the same object if nothing is hit.

    ValueError if the text does not read as JSON tokens from end to end.
    """
    counted: Counter[str] = Counter() if counts is None else counts
    raw = detection.hits(text)
    if not raw and b"\\" not in text:
        return text
    out: list[bytes] = []
    changed = False
    at = first = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ValueError(f"not JSON at byte {at}")
        piece = token[0]
        at = token.end()
        while first < len(raw) and raw[first].end <= token.start():
            first += 1
        over = _before(raw, first, at)
        if token.lastgroup == "string" and (over or b"\\" in piece):
            masked = _string(piece, detection, over, counted)
            if masked is None:
                return None
        elif token.lastgroup == "scalar" and over:
            for hit in over:
                counted.update(hit.detectors)
                if hit.strategy == "null":
                    return None
            masked = b"null"
        else:
            masked = piece
        changed |= masked is not piece
        out.append(masked)
    return b"".join(out) if changed else text


def _before(raw: list[Hit], first: int, end: int) -> list[Hit]:
    """The hits from index `first` on that begin before `end`."""
    last = first
    while last < len(raw) and raw[last].start < end:
        last += 1
    return raw[first:last]


def _string(piece: bytes, detection: Detection, over: list[Hit], counts: Counter[str]) -> bytes | None:
    """The string token masked: its own hits, or whole where only its surroundings give it away."""
    inner = cast("str", json.loads(piece)) if b"\\" in piece else piece[1:-1].decode("utf-8", "surrogateescape")
    content = inner.encode("utf-8", "surrogateescape" if b"\\" not in piece else "surrogatepass")
    masked = detection.mask_value(content, counts)
    if masked is content and over:
        for hit in over:
            counts.update(hit.detectors)
            masked = None if masked is None else detection.replace(hit.strategy, content)
    if masked is content:
        return piece
    if masked is None:
        return None
    return json.dumps(masked.decode("utf-8", "replace"), ensure_ascii=False).encode()
