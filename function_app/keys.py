"""The control plane's own keys on one machine: files in the data directory that only its account can read.

`grant.key` signs grants and bundles; every other `grant-*.key` beside it only verifies (a key rotated out). `sealing.key` encrypts what
is stored of commands; `cookie.key` signs sign-ins and links. On Azure a Key Vault takes this module's place.
"""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway_kernel.grant import Grant, SignedGrant, sign

_NONCE = 12  # bytes, NIST SP 800-38D, section 8.2.2


class Keys:
    """All keys. Their repr shows nothing."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._signing = Ed25519PrivateKey.from_private_bytes(_secret_file(directory / "grant.key"))
        self._sealing = AESGCM(_secret_file(directory / "sealing.key"))
        self._cookie = _secret_file(directory / "cookie.key")
        self.key_id, public = _public(self._signing)
        self.public_keys = {self.key_id: public}
        for path in sorted(directory.glob("grant-*.key")):
            old_id, old = _public(Ed25519PrivateKey.from_private_bytes(path.read_bytes()))
            self.public_keys[old_id] = old

    def __repr__(self) -> str:
        return "Keys(hidden)"

    def sign_grant(self, grant: Grant) -> SignedGrant:
        return sign(grant, self._signing, self.key_id)

    def sign(self, framed: bytes) -> bytes:
        """Sign bytes that already say what they are (`contract.bundle_bytes`)."""
        return self._signing.sign(framed)

    def seal(self, plain: bytes, about: str) -> bytes:
        """Encrypt with AES-256-GCM; `about` (the row it belongs to) must be given again to open it."""
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._sealing.encrypt(nonce, plain, about.encode())

    def unseal(self, sealed: bytes, about: str) -> bytes:
        """Raise `cryptography.exceptions.InvalidTag` if the bytes were changed or belong to another row."""
        return self._sealing.decrypt(sealed[:_NONCE], sealed[_NONCE:], about.encode())

    def mac(self, purpose: str, *parts: str) -> str:
        """HMAC-SHA256 over framed parts, URL-safe text. `purpose` separates cookies, forms and links from each other."""
        message = b"".join(
            len(part).to_bytes(4, "big") + part for part in (text.encode() for text in (purpose, *parts))
        )
        return base64.urlsafe_b64encode(hmac.digest(self._cookie, message, "sha256")).decode().rstrip("=")

    def mac_holds(self, given: str, purpose: str, *parts: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(given.encode(), self.mac(purpose, *parts).encode())


def new_key(prefix: str, name: str = "") -> tuple[str, str]:
    """Return a key's id and the key: `prefix_id_secret` with 256 random bits, or `prefix_name_secret` where a name is given."""
    identifier = secrets.token_hex(6)
    return identifier, f"{prefix}_{name or identifier}_{secrets.token_urlsafe(32)}"


def _public(key: Ed25519PrivateKey) -> tuple[str, bytes]:
    raw = key.public_key().public_bytes_raw()
    return hashlib.sha256(raw).hexdigest()[:16], raw


def _secret_file(path: Path) -> bytes:
    """The 32 bytes of a key file, made once: written aside, synced and linked, so that no half-written key is ever read."""
    if not path.exists():
        draft = path.with_suffix(f".{os.getpid()}.new")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process of this app was first; its key is the one
        finally:
            draft.unlink()
    secret = path.read_bytes()
    if len(secret) != 32:
        raise ValueError(f"{path} must hold 32 bytes, found {len(secret)}: restore it from a backup")
    return secret
