"""How a value is hidden: the five strategies, and the keys two of them need.

`null` the value becomes NULL (inside a text it is cut out) · `redact` it becomes `***` · `hash` a keyed HMAC-SHA256, the same
value giving the same hash · `token` AES-SIV (RFC 5297), reversible by who holds the key, which never leaves the edge ·
`partial` the last four characters, or the domain of an email address, stay.

Order of strictness: null > redact > hash > token > partial (`gateway_kernel.verdict.STRICTNESS`). Hash and token show which
values are equal; token also shows their length. This module finds nothing: see `detectors` and column plans.
"""

import base64
import binascii
import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway_kernel.verdict import STRICTNESS, Strategy, stricter_strategy

MASK = b"***"
KEPT = 4  # characters that `partial` leaves
SHORTEST_KEPT = 8  # characters; a shorter value shows none of them under `partial`
HASH_LENGTH = 24  # hexadecimal digits, 96 bits: a billion values collide with a chance of 1 in 10^11
TOKEN_PREFIX = b"tok_"
_TOKEN_CONTEXT = [b"sallyport token 1"]
_CONTINUATION = bytes(range(0x80, 0xC0))  # UTF-8 (RFC 3629): bytes that do not begin a character
_DOMAIN = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.-")
_LONGEST_DOMAIN = 253  # RFC 1035 section 2.3.4

stricter = stricter_strategy


class MaskingKeys:
    """The keys of `hash` (any length from 16 bytes) and `token` (32, 48 or 64 bytes). Shows nothing of them."""

    __slots__ = ("_hash", "_siv")

    def __init__(self, hash_key: bytes, token_key: bytes) -> None:
        if len(hash_key) < 16:
            raise ValueError("the hash key is shorter than 16 bytes: make one with 32 random bytes")
        if len(token_key) not in (32, 48, 64):
            raise ValueError("the token key must have 32, 48 or 64 bytes")
        self._hash = hash_key
        self._siv = AESSIV(token_key)

    @classmethod
    def derive(cls, secret: bytes) -> "MaskingKeys":
        """Both keys from one secret of at least 16 random bytes (HKDF, RFC 5869)."""
        if len(secret) < 16:
            raise ValueError("the masking secret is shorter than 16 bytes: make one with 32 random bytes")
        material = HKDF(algorithm=SHA256(), length=96, salt=None, info=b"sallyport masking 1").derive(secret)
        return cls(material[:32], material[32:])

    def __repr__(self) -> str:
        return "MaskingKeys(...)"

    def __reduce__(self) -> str:
        raise TypeError("masking keys are not copied or stored")

    def hash(self, value: bytes) -> bytes:
        """`HASH_LENGTH` hexadecimal digits of HMAC-SHA256."""
        return hmac.new(self._hash, value, hashlib.sha256).hexdigest()[:HASH_LENGTH].encode()

    def token(self, value: bytes) -> bytes:
        """`tok_` and base64url; the same value gives the same token."""
        sealed = self._siv.encrypt(b"\x01" + value, _TOKEN_CONTEXT)  # AESSIV takes no empty text
        return TOKEN_PREFIX + base64.urlsafe_b64encode(sealed).rstrip(b"=")

    def untoken(self, token: bytes) -> bytes:
        """The value behind a token. ValueError if it was not made with this key."""
        if not token.startswith(TOKEN_PREFIX):
            raise ValueError("not a token: a token begins with 'tok_'")
        body = token[len(TOKEN_PREFIX) :]
        try:
            return self._siv.decrypt(base64.urlsafe_b64decode(body + b"=" * (-len(body) % 4)), _TOKEN_CONTEXT)[1:]
        except (InvalidTag, binascii.Error, ValueError):
            raise ValueError("not a token made with this key, or altered since") from None


def partial(value: bytes) -> bytes:
    """`***` and the domain of an email address, or the last four characters of a value of eight or more."""
    at = value.rfind(b"@")
    if at > 0:
        domain = value[at + 1 :]
        if len(domain) <= _LONGEST_DOMAIN and b"." in domain and _DOMAIN.issuperset(domain):
            return MASK + value[at:]
    if value.isascii():
        return MASK + value[-KEPT:] if len(value) >= SHORTEST_KEPT else MASK
    if len(value.translate(None, _CONTINUATION)) < SHORTEST_KEPT:
        return MASK
    cut, kept = len(value), 0
    while kept < KEPT:
        cut -= 1
        kept += value[cut] & 0xC0 != 0x80
    return MASK + value[cut:]


def require_keys(strategy: Strategy, keys: MaskingKeys | None) -> None:
    """ValueError if `strategy` cannot be carried out without the keys that are missing."""
    if strategy not in STRICTNESS:
        raise ValueError(f"unknown masking strategy {strategy!r}; known are {', '.join(STRICTNESS)}")
    if keys is None and strategy in ("hash", "token"):
        raise ValueError(f"the masking strategy {strategy!r} needs masking keys: set the edge's masking secret")


def apply(strategy: Strategy, value: bytes, keys: MaskingKeys | None) -> bytes | None:
    """What stands for `value` under `strategy`; None is NULL. ValueError without the keys that it needs."""
    match strategy:
        case "null":
            return None
        case "redact":
            return MASK
        case "partial":
            return partial(value)
        case "hash" | "token":
            require_keys(strategy, keys)
            assert keys is not None
            return keys.hash(value) if strategy == "hash" else keys.token(value)
