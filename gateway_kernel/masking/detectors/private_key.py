"""Private keys in PEM (RFC 7468: PKCS 1, PKCS 8, SEC 1, OpenSSH) and OpenPGP armour, from BEGIN to END.

A block without an END is hidden for `MAX_MATCH` bytes. Line ends may also be written as `\\n`, as they are inside JSON.
Not found: DER, PuTTY and XML forms, a bare base64 body.

Its markers steer how a stream is cut, so they are recognised with invalid bytes and NULs between their letters, and with
overlong letters (see `lenient`), in the raw bytes already.
"""

from collections.abc import Iterator

from .detector import MAX_MATCH, Detector, Span, compile_pattern

_JUNK = rb"[\x00\x80-\xff]*"
_LABEL = rb"[A-Z0-9 \x00\x80-\xff]{0,80}"


def _careless(literal: bytes) -> bytes:
    """A pattern for every way in which a careless UTF-8 reader may come to read `literal`."""
    forms: list[bytes] = []
    for byte in literal:
        tail = rb"\x%02x\x%02x" % (0x80 | byte >> 6, 0x80 | byte & 0x3F)
        forms.append(
            rb"(?:\x%02x|\x%02x\x%02x|\xe0%b|\xf0\x80%b)" % (byte, 0xC0 | byte >> 6, 0x80 | byte & 0x3F, tail, tail)
        )
    return _JUNK.join(forms)


_TAIL = (
    _LABEL + _careless(b"PRIVATE KEY") + rb"(?:" + _JUNK + _careless(b" BLOCK") + rb")?" + _JUNK + _careless(b"-----")
)
_END = compile_pattern(_careless(b"-----END ") + _TAIL)


def block_end(data: bytes, start: int) -> int | None:
    """Where the block that begins at `start` ends; None if there is no END within `MAX_MATCH` bytes."""
    match = _END.search(data, start, min(len(data), start + MAX_MATCH))
    return None if match is None else match.end()


def _confirm(data: bytes, start: int, _end: int) -> Iterator[Span]:
    yield start, block_end(data, start) or min(len(data), start + MAX_MATCH)


DETECTOR = Detector(
    name="private_key",
    pattern=_careless(b"-----BEGIN ") + _TAIL,
    confirm=_confirm,
    secret=True,
)

EXAMPLES = (
    (
        "key:\n-----BEGIN RSA PRIVATE KEY-----\nMIIB\nAgMB\n-----END RSA PRIVATE KEY-----\nrest",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIB\nAgMB\n-----END RSA PRIVATE KEY-----",
    ),
    (
        r'{"k":"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"}',
        r"-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----",
    ),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn", "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn"),
)
COUNTER_EXAMPLES = (
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----",
    "the PRIVATE KEY is elsewhere",
)
