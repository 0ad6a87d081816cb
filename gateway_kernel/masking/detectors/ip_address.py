"""IPv4 (dotted quad) and IPv6 (RFC 4291, compressed or whole) addresses.

A four-part version number is an address to this detector. Not found: decimal, octal or hexadecimal IPv4; the unspecified
IPv6 address `::`, which names nobody.
"""

import ipaddress
from collections.abc import Iterator

from .detector import ALNUM, Detector, Span

_NEIGHBOURS = ALNUM | frozenset(b":")


def _confirm(data: bytes, start: int, end: int) -> Iterator[Span]:
    if start and (
        data[start - 1] in _NEIGHBOURS or (data[start - 1] == 0x2E and start > 1 and data[start - 2] in ALNUM)
    ):
        return
    while data[end - 1] == 0x2E:  # a full stop after an address
        end -= 1
    if end < len(data) and (
        data[end] in _NEIGHBOURS - frozenset(b":")
        or (data[end] == 0x2E and end + 1 < len(data) and data[end + 1] in b"0123456789")
    ):
        return
    text = data[start:end]
    if text.endswith(b":") and not text.endswith(b"::"):  # "at fe80::1: no route"
        text, end = text[:-1], end - 1
    try:
        address = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        return
    if not (address.version == 6 and address.is_unspecified):
        yield start, end


DETECTOR = Detector(
    name="ip_address",
    pattern=(
        rb"[0-9A-Fa-f:]*::[0-9A-Fa-f:.]*"
        rb"|(?:[0-9A-Fa-f]{1,4}:){6}[0-9A-Fa-f:.]+"
        rb"|[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}"
    ),
    confirm=_confirm,
)

EXAMPLES = (
    ("from 10.1.2.30:5432", "10.1.2.30"),
    ("at 192.168.0.1.", "192.168.0.1"),
    ("fe80::1: no route", "fe80::1"),
    ("[2001:db8::8a2e:370:7334]:443", "2001:db8::8a2e:370:7334"),
    ("2001:0db8:0000:0000:0000:ff00:0042:8329", "2001:0db8:0000:0000:0000:ff00:0042:8329"),
    ("::ffff:10.0.0.1", "::ffff:10.0.0.1"),
)
COUNTER_EXAMPLES = (
    "12:34:56",
    "select 1::text",
    "std::dead",
    "256.1.1.1",
    "1.2.3.4.5",
    "aa:bb:cc:dd:ee:ff",
    "::",
    "v1.2.3",
)
