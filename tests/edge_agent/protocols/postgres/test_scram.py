"""SCRAM, MD5 and SASLprep, against the examples of their standards."""

from __future__ import annotations

import base64
import hashlib

import pytest

from edge_agent.protocols.postgres.messages import ProtocolViolationError
from edge_agent.protocols.postgres.scram import SCRAM, SCRAM_PLUS, ScramClient, md5_answer, saslprep

NONCE = base64.b64decode("rOprNGfwEbeRWgbNEkqO")
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"


def exchange(password: str = "pencil", challenge: bytes = CHALLENGE) -> tuple[ScramClient, bytes]:
    client = ScramClient(password, [SCRAM], NONCE)
    client.first()
    return client, client.final(challenge)


def test_the_proof_is_the_one_the_server_computes() -> None:
    """An independent computation of RFC 5802, section 3, over the same messages."""
    import hmac

    _, final = exchange()
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    without, _, proof = final.rpartition(b",p=")
    message = b"n=,r=rOprNGfwEbeRWgbNEkqO," + CHALLENGE + b"," + without
    signature = hmac.digest(stored, message, "sha256")
    key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
    assert hashlib.sha256(key).digest() == stored


def test_a_server_that_does_not_know_the_password_is_noticed() -> None:
    """Its signature is wrong, or missing."""
    client, _ = exchange()
    for final in (b"v=" + base64.b64encode(bytes(32)), b"e=other-error", b"", b"v=!"):
        with pytest.raises(ProtocolViolationError):
            client.verify(final)
    assert not client.verified


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=other,s=QSXCR,i=4096",
        CHALLENGE.replace(b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", b"rOprNGfwEbeRWgbNEkqO"),
        CHALLENGE.replace(b"i=4096", b"i=0"),
        CHALLENGE.replace(b"i=4096", b"i=99999999"),
        CHALLENGE.replace(b"i=4096", b"i=x"),
    ],
)
def test_bad_challenges_raise(challenge: bytes) -> None:
    """Another nonce, none of its own, no or absurd iterations."""
    with pytest.raises(ProtocolViolationError):
        exchange(challenge=challenge)


def test_the_mechanism_follows_the_offer() -> None:
    """No TLS: plain and `n`; TLS without an offer of PLUS: `y`, so that a stripped offer is noticed; nothing known: an error."""
    assert ScramClient("x", [SCRAM], NONCE).first().startswith(b"n,,")
    assert ScramClient("x", [SCRAM], NONCE, b"certificate").first().startswith(b"y,,")
    assert ScramClient("x", [SCRAM_PLUS, SCRAM], NONCE).mechanism == SCRAM
    with pytest.raises(ProtocolViolationError, match="OTHER"):
        ScramClient("x", [b"OTHER"], NONCE)


@pytest.mark.parametrize(
    ("raw", "prepared"),
    [
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("\u0007", "\u0007"),
        ("\u0627\u0031", "\u0627\u0031"),
        ("a\u00a0b", "a b"),
    ],
)
def test_saslprep(raw: str, prepared: str) -> None:
    """RFC 4013, section 3; what it forbids stays as it is, as PostgreSQL does."""
    assert saslprep(raw) == prepared


def test_md5() -> None:
    """md5(md5(password + user) + salt)."""
    inner = hashlib.md5(b"pwuser").hexdigest().encode()
    assert md5_answer("user", "pw", b"salt") == b"md5" + hashlib.md5(inner + b"salt").hexdigest().encode()
