"""Masking of one value of a PostgreSQL result, by its type and format. Pure; frames and rows are in `rows` and `copyrows`.

Under a column strategy, text becomes what the strategy makes of it and everything else NULL: `***` in an int4 breaks drivers.

Under detectors the content counts, not how it is written: text and binary format of the same value give the same verdict.

- text types: hits are replaced inside the value;
- json, jsonb: replaced inside the tokens, so that it stays JSON; json that does not read as JSON becomes NULL;
- arrays and records: element by element, recursively; an element of a non-text type that is hit becomes NULL inside them;
- int8, numeric, inet, cidr, bytea, their ranges: a hit makes the value NULL;
- any other type (also those users make): its text is scanned, unescaped too; a hit makes it NULL. In binary format it is scanned as
  text if it is printable UTF-8 (enums, citext); otherwise nobody here can read it, and it becomes NULL;
- types that cannot hold what detectors find (`pgtypes.NEVER`) are not looked at.

A malformed array, record or number becomes NULL. UTF-8 is assumed; the edge pins client_encoding.
"""

import html
import ipaddress
import re
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from typing import Literal

from gateway_kernel.masking.json_text import mask_json
from gateway_kernel.masking.masker import Detection
from gateway_kernel.masking.strategies import MaskingKeys, apply, require_keys, stricter
from gateway_kernel.verdict import Strategy

from . import pgtypes as t

type ColumnPlan = Strategy | Literal["withhold"] | None
type Transform = Callable[[bytes], bytes | None]

_I4 = struct.Struct("!i")
_CONTROL = bytes(set(range(0x20)) - {0x09, 0x0A, 0x0D}) + b"\x7f"
DEEPEST = 32  # arrays of records of arrays ...; deeper is withheld


class _Unreadable(Exception):  # noqa: N818 - never leaves this module
    """The value is not what its type says."""


class Values:
    """Masks values under one detection plan and set of keys, and counts by detector name.

    `text_oids`: types beyond the built-in ones that the catalogue says read and write as text does (citext, its like).
    """

    __slots__ = ("_keys", "_texts", "counts", "detection")

    def __init__(
        self, detection: Detection | None = None, keys: MaskingKeys | None = None, text_oids: Collection[int] = ()
    ) -> None:
        self.detection = detection
        self._keys = keys
        self._texts = t.TEXTS | frozenset(text_oids)
        self.counts: Counter[str] = Counter()

    def by_plan(self, plan: Strategy | Literal["withhold"], oid: int) -> Transform:
        """What a column rule does to a value of this type; the same for text and binary format."""
        if plan == "withhold" or plan == "null" or oid not in self._texts:
            return _null
        require_keys(plan, self._keys)
        detection = self.detection
        if detection is None or not self.content_matters(plan):
            return lambda value: apply(plan, value, self._keys)

        def stricter_of_both(value: bytes) -> bytes | None:
            strategy = plan
            for hit in detection.hits(value):
                strategy = stricter(strategy, hit.strategy)
            return apply(strategy, value, self._keys)

        return stricter_of_both

    def content_matters(self, plan: Strategy) -> bool:
        """True if a detector could ask for something stricter than `plan` in a column of text."""
        return (
            any(stricter(plan, other) != plan for other in self.detection.strategies.values())
            if self.detection
            else False
        )

    def is_text(self, oid: int) -> bool:
        return oid in self._texts

    def detects(self, oid: int) -> bool:
        """False where detectors have nothing to look at in this type."""
        return bool(self.detection) and oid not in t.NEVER and t.ARRAYS.get(oid, TEXT) not in t.NEVER

    def detect(self, oid: int, binary: bool, value: bytes) -> bytes | None:
        """The value with what detectors find hidden; None is NULL; the same object if there is nothing to hide."""
        try:
            return self._detect(oid, binary, value, 0)
        except (_Unreadable, ValueError, struct.error, IndexError):
            self.counts["withheld"] += 1
            return None

    def _detect(self, oid: int, binary: bool, value: bytes, depth: int) -> bytes | None:
        if oid in t.NEVER:
            return value
        if depth > DEEPEST:
            raise _Unreadable
        detection = self.detection
        assert detection is not None
        if oid in self._texts:
            if oid == t.XML and b"&#" in value and self._hit(html.unescape(value.decode("utf-8", "replace")).encode()):
                return None
            return detection.mask_value(value, self.counts)
        if oid in (t.JSON, t.JSONB):
            return self._json(oid, binary, value)
        if oid in t.ARRAYS:
            read = self._binary_array if binary else self._text_array
            return read(t.ARRAYS[oid], value, depth)
        if oid == t.RECORD:
            return (self._binary_record if binary else self._text_record)(value, depth)
        return None if any(self._hit(text) for text in _renderings(oid, binary, value)) else value

    def _hit(self, text: bytes) -> bool:
        assert self.detection is not None
        for hit in self.detection.hits(text):
            self.counts.update(hit.detectors)
            return True
        return False

    def _json(self, oid: int, binary: bool, value: bytes) -> bytes | None:
        assert self.detection is not None
        if not (binary and oid == t.JSONB):
            return mask_json(value, self.detection, self.counts)
        if value[:1] != b"\x01":  # jsonb_send: one version byte, then text
            raise _Unreadable
        body = value[1:]
        masked = mask_json(body, self.detection, self.counts)
        if masked is body:
            return value
        return None if masked is None else b"\x01" + masked

    # Arrays (array_out, array_send)

    def _text_array(self, element: int, value: bytes, depth: int) -> bytes | None:
        at = value.index(b"=") + 1 if value[:1] == b"[" else 0
        out = [value[:at]]
        changed = False
        while at < len(value):
            token = _ARRAY_TOKEN.match(value, at)
            if token is None:
                raise _Unreadable
            piece = token[0]
            at = token.end()
            if token.lastgroup == "quoted":
                content = _ESCAPED.sub(rb"\1", piece[1:-1])
            elif token.lastgroup == "bare" and piece.upper() != b"NULL":
                content = piece
            else:
                out.append(piece)
                continue
            masked = self._detect(element, False, content, depth + 1)
            changed |= masked is not content
            out.append(piece if masked is content else b"NULL" if masked is None else _quoted(masked))
        return b"".join(out) if changed else value

    def _binary_array(self, element: int, value: bytes, depth: int) -> bytes | None:
        dimensions, _flags, sent = struct.unpack_from("!iiI", value)
        if not 0 <= dimensions <= 6 or sent != element:
            raise _Unreadable
        at = 12 + 8 * dimensions
        out = [value[8:at]]
        changed = has_null = False
        while at < len(value):
            content, at = _sized(value, at)
            masked = None if content is None else self._detect(element, True, content, depth + 1)
            changed |= masked is not content
            has_null |= masked is None
            out.append(_resized(masked))
        return struct.pack("!ii", dimensions, has_null) + b"".join(out) if changed else value

    # Records (record_out, record_send)

    def _text_record(self, value: bytes, depth: int) -> bytes | None:
        if value[:1] != b"(" or value[-1:] != b")":
            raise _Unreadable
        out: list[bytes] = []
        changed = False
        at = 1
        while True:
            field = _RECORD_FIELD.match(value, at, len(value) - 1)
            assert field is not None  # the pattern accepts the empty string, which is NULL
            piece = field[0]
            at = field.end()
            masked = self._record_field(piece, depth)
            changed |= masked is not piece
            out.append(masked)
            if at == len(value) - 1:
                break
            if value[at] != 0x2C:
                raise _Unreadable
            at += 1
        return b"(" + b",".join(out) + b")" if changed else value

    def _record_field(self, piece: bytes, depth: int) -> bytes:
        """A field of a record in text, whose type is not told: a JSON document, a number, or text."""
        assert self.detection is not None
        content = _ESCAPED_OR_DOUBLED.sub(lambda m: m[1] or m[2] or b"", piece)
        if not content:
            return piece
        masked: bytes | None
        if content[:1] in b"{[":
            try:
                masked = mask_json(content, self.detection, self.counts)
            except ValueError:
                masked = self._opaque(content)
        elif content[:1] == b"(" and content[-1:] == b")":
            masked = self._text_record(content, depth + 1) if depth < DEEPEST else None
        elif content.startswith(b"\\x") or _NUMBER.fullmatch(content):
            masked = self._detect(t.BYTEA if content.startswith(b"\\x") else t.NUMERIC, False, content, depth + 1)
        else:
            masked = self.detection.mask_value(content, self.counts)
        if masked is content:
            return piece
        return b"" if masked is None else _quoted(masked)

    def _opaque(self, content: bytes) -> bytes | None:
        return None if any(self._hit(text) for text in _unescapings(content)) else content

    def _binary_record(self, value: bytes, depth: int) -> bytes | None:
        (count,) = _I4.unpack_from(value)
        out = [value[:4]]
        changed = False
        at = 4
        for _ in range(count):
            (oid,) = struct.unpack_from("!I", value, at)
            out.append(value[at : at + 4])
            content, at = _sized(value, at + 4)
            masked = None if content is None else self._detect(oid, True, content, depth + 1)
            changed |= masked is not content
            out.append(_resized(masked))
        if at != len(value):
            raise _Unreadable
        return b"".join(out) if changed else value


TEXT = t.TEXT
_ARRAY_TOKEN = re.compile(rb'(?P<quoted>"(?:[^"\\]|\\.)*+")|(?P<bare>[^{},"\\]++)|[{},]', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPED_OR_DOUBLED = re.compile(rb'\\(.)|"("?)', re.DOTALL)
_RECORD_FIELD = re.compile(rb'(?:"(?:[^"\\]|""|\\.)*+"|[^,()"\\]|\\.)*+', re.DOTALL)
_NUMBER = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?")


def _null(_value: bytes) -> None:
    return None


def _quoted(content: bytes) -> bytes:
    """As array_out and record_out write an element that needs quotes; a backslash escape is read by both."""
    return b'"' + content.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _sized(value: bytes, at: int) -> tuple[bytes | None, int]:
    """The content behind a length at `at` (None for -1), and where it ends."""
    (length,) = _I4.unpack_from(value, at)
    at += 4
    if length == -1:
        return None, at
    if length < 0 or at + length > len(value):
        raise _Unreadable
    return value[at : at + length], at + length


def _resized(content: bytes | None) -> bytes:
    return b"\xff\xff\xff\xff" if content is None else _I4.pack(len(content)) + content


def _renderings(oid: int, binary: bool, value: bytes) -> Iterator[bytes]:
    """The texts by which a value of a non-text type can be read; _Unreadable if there is none."""
    if oid == t.BYTEA:
        yield value if binary else _unescaped_bytea(value)
    elif not binary:
        yield from _unescapings(value)
    elif oid == t.INT8:
        yield str(struct.unpack("!q", value)[0]).encode()
    elif oid == t.NUMERIC:
        yield _numeric(value)
    elif oid in (t.INET, t.CIDR):
        yield str(ipaddress.ip_address(value[4:])).encode()
    elif oid in t.RANGES:
        yield from _bounds(t.RANGES[oid], value)
    elif oid in t.MULTIRANGES:
        at = 4
        while at < len(value):
            content, at = _sized(value, at)
            yield from _bounds(t.RANGES[t.MULTIRANGES[oid]], content or b"")
    else:
        text = value.decode()  # UnicodeDecodeError is a ValueError
        if value.translate(None, _CONTROL) != value or not text.isprintable():
            raise _Unreadable
        yield from _unescapings(value)


def _unescapings(value: bytes) -> Iterator[bytes]:
    """The text, and what it says without the escapes of literals inside it."""
    yield value
    if b"\\" in value or b'""' in value:
        yield _ESCAPED_OR_DOUBLED.sub(lambda m: m[1] or m[2] or b"", value)


def _bounds(element: int, value: bytes) -> Iterator[bytes]:
    """range_send: flags, then each finite bound with its length."""
    at = 1
    while at < len(value):
        content, at = _sized(value, at)
        if content is not None:
            yield from _renderings(element, True, content)


def _unescaped_bytea(value: bytes) -> bytes:
    r"""byteaout: `\x` and hexadecimal, or with escapes `\\` and `\ooo`."""
    if value.startswith(b"\\x"):
        return bytes.fromhex(value[2:].decode("ascii"))
    return _BYTEA_ESCAPE.sub(lambda m: bytes([int(m[1], 8) & 0xFF]) if m[1] else b"\\", value)


_BYTEA_ESCAPE = re.compile(rb"\\(?:([0-7]{3})|\\)")


def _numeric(value: bytes) -> bytes:
    """numeric_send (digits to base 10000) as numeric_out writes it; NaN and infinities as an empty text."""
    count, weight, sign, scale = struct.unpack_from("!hhHh", value)
    if sign not in (0, 0x4000):
        return b""
    digits = struct.unpack_from(f"!{count}H", value, 8)
    if weight > 4 * 1024 or scale < 0:
        raise _Unreadable
    groups = [digits[i] if 0 <= i < count else 0 for i in range(max(weight + 1, 0))]
    whole = "".join(f"{group:04d}" for group in groups).lstrip("0") or "0"
    places = (digits[i] if 0 <= i < count else 0 for i in range(weight + 1, weight + 1 + -(-scale // 4)))
    fraction = "".join(f"{group:04d}" for group in places)[:scale]
    return f"{'-' if sign else ''}{whole}{'.' + fraction if fraction else ''}".encode()
