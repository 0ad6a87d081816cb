"""One exact byte form for a JSON value, so that a digest means the same everywhere: RFC 8785, without floats.

Strings must be Unicode without lone surrogates, integers lie within the I-JSON range (RFC 7493, section 2.2); anything
else raises `ValueError` instead of being rounded. Object keys are sorted by UTF-16 code units (RFC 8785, section 3.2.3).
"""

import msgspec

from gateway_kernel.model import Json

_LARGEST = 2**53 - 1
_string = msgspec.json.Encoder().encode


def canonical(value: Json) -> bytes:
    """Return the canonical bytes of `value`: null, bool, int, str, list, tuple or dict with str keys."""
    parts: list[bytes] = []
    _write(value, parts)
    return b"".join(parts)


def _write(value: Json, out: list[bytes]) -> None:
    match value:
        case None:
            out.append(b"null")
        case bool():
            out.append(b"true" if value else b"false")
        case int():
            if abs(value) > _LARGEST:
                raise ValueError(f"integer {value} is outside the exact range of JSON; carry it as a string")
            out.append(b"%d" % value)
        case str():
            out.append(_string(value))
        case list() | tuple():
            _write_array(value, out)
        case dict():
            _write_object(value, out)
        case _:
            raise ValueError(f"{type(value).__name__} has no exact JSON form")


def _write_array(value: list[Json] | tuple[Json, ...], out: list[bytes]) -> None:
    out.append(b"[")
    for position, item in enumerate(value):
        if position:
            out.append(b",")
        _write(item, out)
    out.append(b"]")


def _write_object(value: dict[str, Json], out: list[bytes]) -> None:
    out.append(b"{")
    for position, key in enumerate(sorted(value, key=lambda name: name.encode("utf-16-be"))):
        if position:
            out.append(b",")
        out.append(_string(key))
        out.append(b":")
        _write(value[key], out)
    out.append(b"}")
