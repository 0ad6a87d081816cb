"""Masking inside JSON text so that what comes out is JSON as well.

Strings are unescaped, masked and written again, keys included; a number or literal that is hit becomes null. White space, order,
duplicate keys and the precision of numbers stay as they were. A detector that needs what stands beside a value
(`"password": "..."`) sees the raw text too, and then hides the whole string. Only complete JSON is read: text that is not JSON
(RFC 8259) raises ValueError, and the caller withholds it.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import cast

from .detectors import MAX_MATCH
from .detectors.private_key import DETECTOR as PRIVATE_KEY
from .masker import Detection, Hit
from .strategies import stricter

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
    last = key = -1  # where the string before began, and the key that a colon made of it
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            raise ValueError(f"not JSON at byte {at}")
        piece = token[0]
        at = token.end()
        while first < len(raw) and raw[first].end <= token.start():
            first += 1
        over = hits_before(raw, first, at)
        if token.lastgroup == "string":
            masked = mask_string(
                piece, token.start(), detection, over, counted, text[key : token.start()] if key >= 0 else b""
            )
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
        if piece == b":":
            key = last
        elif token.lastgroup == "string":
            last = token.start()
        if not (piece == b":" or piece.isspace()):
            key = -1
        changed |= masked is not piece
        out.append(masked)
    return b"".join(out) if changed else text


def hits_before(raw: list[Hit], first: int, end: int) -> list[Hit]:
    """The hits from index `first` on that begin before `end`."""
    last = first
    while last < len(raw) and raw[last].start < end:
        last += 1
    return raw[first:last]


def mask_string(
    piece: bytes, at: int, detection: Detection, over: Sequence[Hit], counts: Counter[str], before: bytes = b""
) -> bytes | None:
    """A string token that begins at `at` masked: its own hits, or whole where its surroundings give it away; None if a hit asks for `null`.

    `over` are the hits of the raw text that overlap it, `before` is the key of which it is the value, up to it: where either is written
    with escapes, the two are read together once more without them.
    """
    escaped = b"\\" in piece or b"\\" in before
    if not (over or escaped):
        return piece
    if not escaped and _inside(over, at, at + len(piece)):
        shifted = [Hit(hit.start - at, hit.end - at, hit.strategy, hit.detectors) for hit in over]
        # No strategy makes what JSON would have to escape out of what it had not to.
        return None if (pieces := detection.pieces(piece, shifted, 0, counts)) is None else b"".join(pieces)
    content = string_content(piece)
    found: Counter[str] = Counter()
    masked = detection.mask_value(content, found)
    if before and escaped:
        key, colon, space = before.rpartition(b":")  # no colon behind the one that parts them
        name = key.rstrip()
        lead = b'"' + string_content(name) + b'"' + key[len(name) :] + colon + space + b'"'
        over = [*over, *(hit for hit in detection.hits(lead + content[:MAX_MATCH]) if hit.end > len(lead))]
    counts.update(found)
    if unseen := [hit for hit in over if not found.keys() >= set(hit.detectors)]:
        strategy = unseen[0].strategy
        for hit in unseen:
            counts.update(set(hit.detectors) - found.keys())
        for hit in (*over, *(detection.hits(content) if found else ())):
            strategy = stricter(strategy, hit.strategy)
        masked = detection.replace(strategy, content)
    if masked is content:
        return piece
    return None if masked is None else string_token(masked)


def _inside(over: Sequence[Hit], start: int, end: int) -> bool:
    """True if the hits lie between the quotes; a private key is cut out of its surroundings first, as in a stream."""
    return over[0].start > start and over[-1].end < end and all(PRIVATE_KEY.name not in hit.detectors for hit in over)


def string_content(piece: bytes) -> bytes:
    """What the string token says: UTF-8, and bytes that were invalid already. ValueError for an escape that JSON does not know."""
    if b"\\" not in piece:
        return piece[1:-1]
    text = cast("str", json.loads(piece.decode("utf-8", "surrogateescape")))
    return text.encode("utf-8", "surrogatepass")


def string_token(content: bytes) -> bytes:
    """The token that says `content`."""
    return json.dumps(content.decode("utf-8", "replace"), ensure_ascii=False).encode()
