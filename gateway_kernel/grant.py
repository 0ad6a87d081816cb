"""A grant: a signed, single-use, expiring permission for exactly one operation digest.

`digest` fixes what a person approved; `sign` and `verify` bind it to an agent, a resource and a time with Ed25519 (RFC 8032);
consumption (once, across edges and restarts) is the control plane's store, through `contract`. Keys are arguments.
"""

import hashlib

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway_kernel.canonical import canonical
from gateway_kernel.errors import GrantError
from gateway_kernel.model import Instant, Json, Operation

CLOCK_SKEW: Instant = 30 * 1_000_000
"""How far the clocks of edge and control plane may differ before a fresh grant is refused, in microseconds."""


def digest(operation: Operation, resource: str) -> str:
    """The hex SHA-256 of everything that decides what `operation` does at `resource`; its id and facts are not part of it.

    Covered: protocol, resource, text, parameters (type, form, value, order), context, streamed input.
    """
    exact: Json = {
        "v": 1,
        "protocol": operation.protocol,
        "resource": resource,
        "text": operation.text,
        "parameters": [
            [parameter.type, parameter.form, None if parameter.value is None else parameter.value.hex()]
            for parameter in operation.parameters
        ],
        "context": operation.context,
        "body": operation.body_digest,
    }
    return hashlib.sha256(canonical(exact)).hexdigest()


class Grant(msgspec.Struct, frozen=True):
    """What a signed grant says. `approvers` are the people whose decisions made it; `policy` the digest they decided under."""

    id: str
    review: str
    digest: str
    agent: str
    resource: str
    issued: Instant
    expires: Instant
    approvers: tuple[str, ...]
    policy: str
    max_rows: int | None = None


class SignedGrant(msgspec.Struct, frozen=True):
    """A grant as it travels: the exact signed bytes, which key signed them, and the signature."""

    payload: bytes
    key_id: str
    signature: bytes


def sign(grant: Grant, key: Ed25519PrivateKey, key_id: str) -> SignedGrant:
    """Sign `grant` as the control plane."""
    payload = msgspec.json.encode(grant)
    return SignedGrant(payload, key_id, key.sign(_framed(payload)))


def verify(
    signed: SignedGrant,
    keys: dict[str, Ed25519PublicKey],
    *,
    operation_digest: str,
    agent: str,
    resource: str,
    now: Instant,
) -> Grant:
    """Return the grant if it permits exactly this operation now; raise `GrantError` naming the first thing that differs."""
    key = keys.get(signed.key_id)
    if key is None:
        raise GrantError(f"grant is signed by key {signed.key_id!r}, which this edge does not know")
    try:
        key.verify(signed.signature, _framed(signed.payload))
    except InvalidSignature as error:
        raise GrantError("grant signature does not verify") from error
    grant = msgspec.json.decode(signed.payload, type=Grant)
    if grant.digest != operation_digest:
        raise GrantError(f"grant {grant.id} was given for another operation (digest {grant.digest[:12]}…)")
    if grant.agent != agent:
        raise GrantError(f"grant {grant.id} was given to agent {grant.agent!r}")
    if grant.resource != resource:
        raise GrantError(f"grant {grant.id} was given for resource {grant.resource!r}")
    if now >= grant.expires:
        raise GrantError(f"grant {grant.id} has expired")
    if now < grant.issued - CLOCK_SKEW:
        raise GrantError(f"grant {grant.id} is not valid yet: compare the clocks of edge and control plane")
    return grant


def _framed(payload: bytes) -> bytes:
    """A signature over a grant can never be taken for a signature over anything else."""
    return b"sallyport-grant-v1\0" + payload
