"""SCRAM-SHA-256 and SCRAM-SHA-256-PLUS as a client, and the older password answers, towards an upstream server.

RFC 5802, RFC 7677, RFC 5929 (tls-server-end-point), RFC 4013 (SASLprep), PostgreSQL "SASL Authentication". There is no server
side here: towards agents SCRAM would need their keys in a form from which an answer can be computed, and keys are stored hashed.
"""

import base64
import binascii
import hashlib
import hmac
import stringprep
import unicodedata

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from edge_agent.protocols.postgres.messages import ProtocolViolationError

SCRAM = b"SCRAM-SHA-256"
SCRAM_PLUS = b"SCRAM-SHA-256-PLUS"
MAX_ITERATIONS = 1_000_000  # a server that asks for more would keep the worker busy for seconds

_PROHIBITED = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(password: str) -> str:
    """RFC 4013; a password that it forbids is used as it is, as the server does (pg_saslprep)."""
    if password.isascii():
        return password
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    if not prepared or any(check(char) for char in prepared for check in _PROHIBITED):
        return password
    if any(stringprep.in_table_a1(char) for char in prepared):
        return password
    right_to_left = [stringprep.in_table_d1(char) for char in prepared]
    if any(right_to_left) and (
        any(stringprep.in_table_d2(char) for char in prepared) or not (right_to_left[0] and right_to_left[-1])
    ):
        return password
    return prepared


def server_end_point(certificate: bytes) -> bytes:
    """The tls-server-end-point binding of a DER certificate: its hash, MD5 and SHA-1 replaced by SHA-256 (RFC 5929, 4.1)."""
    algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    if algorithm is None or isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        return hashlib.sha256(certificate).digest()
    return hashlib.new(algorithm.name, certificate).digest()


def md5_answer(user: str, password: str, salt: bytes) -> bytes:
    """The answer to AuthenticationMD5Password."""
    inner = hashlib.md5((password + user).encode(), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()


class ScramClient:
    """One exchange. `certificate` is the server's in DER where TLS is in use; binding is used wherever it is offered."""

    __slots__ = ("_bare", "_binding", "_gs2", "_message", "_nonce", "_password", "_signature", "mechanism", "verified")

    def __init__(self, password: str, offered: list[bytes], nonce: bytes, certificate: bytes | None = None) -> None:
        if certificate is not None and SCRAM_PLUS in offered:
            self.mechanism, self._gs2 = SCRAM_PLUS, b"p=tls-server-end-point,,"
            self._binding = server_end_point(certificate)
        elif SCRAM in offered:
            # `y` tells a server that could bind that we could too: a stripped offer is noticed (RFC 5802, 6).
            self.mechanism, self._gs2 = SCRAM, b"n,," if certificate is None else b"y,,"
            self._binding = b""
        else:
            names = ", ".join(name.decode(errors="replace") for name in offered)
            raise ProtocolViolationError(f"the server offers no SASL mechanism that is spoken here: {names}")
        self._nonce = base64.b64encode(nonce)
        self._password = saslprep(password).encode()
        self._bare = b"n=,r=" + self._nonce  # the server takes the user from the startup packet
        self._message = self._signature = b""
        self.verified = False

    def first(self) -> bytes:
        """The client-first-message."""
        return self._gs2 + self._bare

    def final(self, challenge: bytes) -> bytes:
        """The client-final-message that answers the server-first-message `challenge`."""
        fields = _fields(challenge)
        try:
            nonce, salt, iterations = fields[b"r"], base64.b64decode(fields[b"s"], validate=True), int(fields[b"i"])
        except (KeyError, ValueError, binascii.Error):
            raise ProtocolViolationError("SCRAM: the server's challenge is malformed") from None
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce):
            raise ProtocolViolationError("SCRAM: the server did not extend our nonce")
        if not 0 < iterations <= MAX_ITERATIONS:
            raise ProtocolViolationError(f"SCRAM: {iterations} iterations are not between 1 and {MAX_ITERATIONS}")
        salted = hashlib.pbkdf2_hmac("sha256", self._password, salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        without_proof = b"c=" + base64.b64encode(self._gs2 + self._binding) + b",r=" + nonce
        self._message = self._bare + b"," + challenge + b"," + without_proof
        proof = hmac.digest(hashlib.sha256(client_key).digest(), self._message, "sha256")
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self._signature = hmac.digest(server_key, self._message, "sha256")
        xored = bytes(a ^ b for a, b in zip(client_key, proof, strict=True))
        return without_proof + b",p=" + base64.b64encode(xored)

    def verify(self, final: bytes) -> None:
        """Check the server-final-message: a server that does not know the password cannot sign."""
        try:
            signature = base64.b64decode(_fields(final)[b"v"], validate=True)
        except (KeyError, ValueError, binascii.Error):
            raise ProtocolViolationError("SCRAM: the server's last message is malformed") from None
        if not self._signature or not hmac.compare_digest(signature, self._signature):
            raise ProtocolViolationError("SCRAM: the server's signature is wrong; this is not the server we know")
        self.verified = True


def _fields(text: bytes) -> dict[bytes, bytes]:
    return {part[:1]: part[2:] for part in text.split(b",") if part[1:2] == b"="}
