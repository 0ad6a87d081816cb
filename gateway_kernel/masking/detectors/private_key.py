"""Private keys in PEM (RFC 7468: PKCS 1, PKCS 8, SEC 1, OpenSSH) and OpenPGP armour, from BEGIN to END.

A block without an END is hidden for `MAX_MATCH` bytes. Line ends may also be written as `\\n`, as they are inside JSON.
Not found: DER, PuTTY and XML forms, a bare base64 body.
"""

from collections.abc import Iterator

from .detector import MAX_MATCH, Detector, Span, compile_pattern

_END = compile_pattern(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")


def block_end(data: bytes, start: int) -> int | None:
    """Where the block that begins at `start` ends; None if there is no END within `MAX_MATCH` bytes."""
    match = _END.search(data, start, min(len(data), start + MAX_MATCH))
    return None if match is None else match.end()


def _confirm(data: bytes, start: int, _end: int) -> Iterator[Span]:
    yield start, block_end(data, start) or min(len(data), start + MAX_MATCH)


DETECTOR = Detector(
    name="private_key",
    anchors=(b"PRIVATE KEY",),
    pattern=rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
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
