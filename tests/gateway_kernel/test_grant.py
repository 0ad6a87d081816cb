"""A grant permits one digest, for one agent, at one resource, for a time."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway_kernel.errors import GrantError
from gateway_kernel.grant import CLOCK_SKEW, Grant, SignedGrant, digest, sign, verify
from gateway_kernel.model import SECOND, Effect, EffectKind, Facts, Operation, Parameter, SqlFacts

NOON = 1_800_000_000_000_000
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
KEYS = {"k1": KEY.public_key()}
SEVEN = Operation(
    "op-1",
    "postgres",
    "DELETE FROM orders WHERE id = $1",
    (Parameter("23", b"7"),),
    {"role": "app", "search_path": ["public"]},
)
GRANT = Grant(
    "g-1", "r-1", digest(SEVEN, "orders-db"), "ci-bot", "orders-db", NOON, NOON + 60 * SECOND, ("ann@example.com",), "p"
)


def check(signed: SignedGrant, **changes: object) -> Grant:
    asked: dict[str, object] = {
        "operation_digest": GRANT.digest,
        "agent": "ci-bot",
        "resource": "orders-db",
        "now": NOON + SECOND,
        "keys": KEYS,
    }
    return verify(signed, **(asked | changes))  # type: ignore[arg-type]


def test_a_grant_permits_what_it_was_given_for() -> None:
    """Signed and asked for the same operation, it verifies."""
    assert check(sign(GRANT, KEY, "k1")) == GRANT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operation_digest": "0" * 64}, "another operation"),
        ({"agent": "other-bot"}, "given to agent 'ci-bot'"),
        ({"resource": "billing"}, "given for resource 'orders-db'"),
        ({"now": GRANT.expires}, "expired"),
        ({"now": NOON - CLOCK_SKEW - 1}, "not valid yet"),
        ({"keys": {}}, "does not know"),
        ({"keys": {"k1": OTHER.public_key()}}, "does not verify"),
    ],
)
def test_a_grant_permits_nothing_else(changes: dict[str, object], message: str) -> None:
    """Each difference is refused with its own reason."""
    with pytest.raises(GrantError, match=message):
        check(sign(GRANT, KEY, "k1"), **changes)


def test_an_altered_grant_does_not_verify() -> None:
    """The signature covers every byte of the payload."""
    signed = sign(GRANT, KEY, "k1")
    forged = msgspec.json.encode(msgspec.structs.replace(GRANT, max_rows=10**6))
    with pytest.raises(GrantError, match="does not verify"):
        check(SignedGrant(forged, "k1", signed.signature))


@pytest.mark.parametrize(
    "other",
    [
        msgspec.structs.replace(SEVEN, text="DELETE FROM orders WHERE id = $1 "),
        msgspec.structs.replace(SEVEN, parameters=(Parameter("23", b"8"),)),
        msgspec.structs.replace(SEVEN, parameters=(Parameter("20", b"7"),)),
        msgspec.structs.replace(SEVEN, parameters=(Parameter("23", b"7", "binary"),)),
        msgspec.structs.replace(SEVEN, parameters=(Parameter("23", None),)),
        msgspec.structs.replace(SEVEN, parameters=()),
        msgspec.structs.replace(SEVEN, context={"role": "owner", "search_path": ["public"]}),
        msgspec.structs.replace(SEVEN, context={"role": "app", "search_path": ["evil", "public"]}),
        msgspec.structs.replace(SEVEN, body_digest="ab"),
        msgspec.structs.replace(SEVEN, protocol="mysql"),
    ],
)
def test_every_part_that_decides_what_runs_is_in_the_digest(other: Operation) -> None:
    """Text, parameters with type and form, context, streamed input and protocol all count."""
    assert digest(other, "orders-db") != digest(SEVEN, "orders-db")


def test_the_resource_is_in_the_digest() -> None:
    """The same bytes at another resource are another operation."""
    assert digest(SEVEN, "orders-db") != digest(SEVEN, "orders-copy")


def test_id_and_facts_are_not_in_the_digest() -> None:
    """A retry under a new id is the same operation, and facts are derived, never approved."""
    facts = Facts("DELETE", (Effect(EffectKind.DELETE, "public.orders"),), SqlFacts())
    again = msgspec.structs.replace(SEVEN, id="op-2", facts=facts)
    assert digest(again, "orders-db") == digest(SEVEN, "orders-db")


def test_the_digest_is_stable_across_releases() -> None:
    """A pending review survives an upgrade: this value never changes within version 1."""
    assert digest(SEVEN, "orders-db") == digest(
        msgspec.json.decode(msgspec.json.encode(SEVEN), type=Operation), "orders-db"
    )
    assert digest(SEVEN, "orders-db") == "1f6818a65157761911d2fe2f47ec56c4091b9095cff4e9fbf7352826105941bd"
