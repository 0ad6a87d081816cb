"""Cookies of an upstream stay on the edge: what the agent gets is sealed, and opens only here, for the same agent and resource.

A session cookie that an upstream gave for the injected credential is a credential itself (invariant 5). So a value is encrypted before it goes
out, bound to agent, resource and name; on its way back it is opened behind the judgement, like any injected credential. A cookie that the
agent made up is its own and goes as it is. The key belongs to the edge's machine and is shared by its workers.
"""

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SEALED = "sp1."
"""What a sealed value begins with."""
_NONCE = 12


class Cookies:
    """Seals and opens cookie values. Shows nothing of its key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def __repr__(self) -> str:
        return "Cookies(hidden)"

    def seal(self, name: str, value: str, agent: str, resource: str) -> str:
        """What the agent gets in the place of `value`."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, value.encode("latin-1"), _bound(name, agent, resource))
        return SEALED + base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def opened(self, header: str, agent: str, resource: str) -> str:
        """A Cookie header (RFC 6265 4.2) with every sealed value opened; a sealed one that is not for this agent and resource is left out."""
        pairs: list[str] = []
        for pair in header.split("; "):
            name, equals, value = pair.partition("=")
            if not value.startswith(SEALED):
                pairs.append(pair)
            elif (inside := self._open(name, value, agent, resource)) is not None:
                pairs.append(f"{name}{equals}{inside}")
        return "; ".join(pairs)

    def _open(self, name: str, value: str, agent: str, resource: str) -> str | None:
        body = value.removeprefix(SEALED)
        try:
            sealed = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], _bound(name, agent, resource)).decode(
                "latin-1"
            )
        except (InvalidTag, binascii.Error, ValueError):
            return None

    def kept(self, header: str, *, prefix: str, secure: bool, agent: str, resource: str) -> str:
        """A Set-Cookie header (RFC 6265 4.1) whose cookie comes back to this edge and resource only, its value sealed."""
        pair, *attributes = header.split(";")
        name, equals, value = pair.strip().partition("=")
        if not equals:
            name, value = "", name
        quoted = value.strip('"')
        kept = [f"{name}={self.seal(name, quoted, agent, resource)}" if quoted else f"{name}="]
        path = "/"
        for attribute in attributes:
            key, _, given = attribute.strip().partition("=")
            match key.lower():
                case "domain" | "partitioned":
                    continue
                case "path":
                    path = given if given.startswith("/") else "/"
                case "secure" if not secure:
                    continue
                case "samesite" if not secure and given.lower() == "none":
                    continue
                case _:
                    kept.append(attribute.strip())
        return "; ".join((*kept, f"Path={prefix}{path}" if path != "/" or not prefix else f"Path={prefix}"))


def _bound(name: str, agent: str, resource: str) -> bytes:
    return f"cookie\0{agent}\0{resource}\0{name}".encode("utf-8", "surrogatepass")
