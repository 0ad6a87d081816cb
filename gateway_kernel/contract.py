"""What edge and control plane say to each other, version 1. JSON over HTTPS, every message one struct below.

The edge speaks for itself only: it authenticates with its edge key (`Authorization: Bearer`), signs each submission with an Ed25519 key
derived from that key (`edge_signing_key`), and may name only resources and agents that the registry assigned to it.

| method and path                                  | request       | reply                                           |
|--------------------------------------------------|---------------|-------------------------------------------------|
| GET  /v1/edges/{edge}/bundle  (If-None-Match)    |               | 200 SignedBundle with ETag, or 304              |
| POST /v1/edges/{edge}/operations                 | Submission    | 202 Submitted; 409, 422, 429 Problem            |
| GET  /v1/edges/{edge}/decisions?after=N&wait=25  |               | 200 Feed (empty after `wait` seconds)           |
| POST /v1/edges/{edge}/grants/{grant}/consume     | Claim         | 200 Claimed                                     |
| POST /v1/edges/{edge}/grants/{grant}/release     | Claim         | 200 Claimed                                     |
| POST /v1/edges/{edge}/reviews/{review}/withdraw  | Claim         | 200 Submitted                                   |
| POST /v1/edges/{edge}/events                     | audit lines, one per line, `application/x-ndjson` | 200 Acknowledged |

Errors are RFC 9457 problem documents (`Problem`).
"""

import hashlib

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway_kernel.grant import SignedGrant
from gateway_kernel.model import UNREAD, Agent, Instant, Operation, Session
from gateway_kernel.review import State
from gateway_kernel.verdict import Decision

VERSION = 1
LONGEST_POLL = 25
"""Seconds for which the decisions feed is held open."""
LARGEST_SUBMISSION = 8 * 1024 * 1024
"""Bytes of an encoded submission."""
LARGEST_BATCH = 4 * 1024 * 1024
"""Bytes of one batch of audit lines."""


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457. `type` is one of the names in docs/problems.md, `detail` says what, where and what to do."""

    type: str
    title: str
    status: int
    detail: str = ""


class Submission(msgspec.Struct, frozen=True):
    """One operation that needs a review, as the edge judged it. `operation.facts` is never believed: it is read again.

    `original` is what the agent sent where a rewrite changed it. `now` is the edge's clock when it judged; `digest` is
    `grant.digest` of the operation; `rules` and `policy` say by what it was judged.
    """

    v: int
    edge: str
    session: Session
    operation: Operation
    digest: str
    decision: Decision
    rules: tuple[str, ...]
    policy: str
    now: Instant
    original: Operation | None = None


class SignedSubmission(msgspec.Struct, frozen=True):
    """The exact bytes of an encoded `Submission` and the edge's signature over them."""

    payload: bytes
    signature: bytes


class Submitted(msgspec.Struct, frozen=True):
    """The review that the operation opened or joined. `url` carries no capability: it may be shown to the agent."""

    review: str
    state: State
    url: str
    joined: bool = False
    expires: Instant = 0


class Settled(msgspec.Struct, frozen=True):
    """A review reached an end. `grant` is there if and only if it is approved."""

    cursor: int
    review: str
    state: State
    reason: str = ""
    grant: SignedGrant | None = None


class Feed(msgspec.Struct, frozen=True):
    """Reviews of this edge that settled after the cursor asked for; ask next with `cursor`."""

    cursor: int
    settled: tuple[Settled, ...] = ()


class Claim(msgspec.Struct, frozen=True):
    """Which operation claims the grant or review. Repeating a claim is harmless: the answer is the same."""

    operation: str
    session: str


class Claimed(msgspec.Struct, frozen=True):
    """`ours` if the grant belongs to the claiming operation; otherwise `reason`, and the outcome of the operation that has it."""

    ours: bool
    by: str = ""
    outcome: str = ""
    reason: str = ""


class AgentKey(msgspec.Struct, frozen=True):
    """An agent and one of its keys: `hash` is the hex SHA-256 of the whole key. Keys look like `spa_<id>_<secret>`."""

    id: str
    hash: str
    agent: Agent
    expires: Instant = 0
    revoked: bool = False


class RegisteredResource(msgspec.Struct, frozen=True):
    """A resource of this edge, with the labels that hold."""

    name: str
    protocol: str
    labels: dict[str, str] = {}


class Bundle(msgspec.Struct, frozen=True):
    """All that the edge needs to decide alone: policy, resources, agent keys, public keys (id -> raw 32 bytes)."""

    v: int
    edge: str
    issued: Instant
    revision: str
    policy: str
    policy_digest: str
    policy_version: int
    resources: tuple[RegisteredResource, ...]
    keys: tuple[AgentKey, ...]
    grant_keys: dict[str, bytes]
    console: str = ""


class SignedBundle(msgspec.Struct, frozen=True):
    """The exact bytes of an encoded `Bundle`, signed by the control plane."""

    payload: bytes
    key_id: str
    signature: bytes


class Acknowledged(msgspec.Struct, frozen=True):
    """For each session of the batch the sequence of the next event expected; what lies before it is stored for good."""

    next: dict[str, int]


def encode(message: msgspec.Struct) -> bytes:
    """JSON bytes of any message above."""
    return msgspec.json.encode(message)


def decode[T: msgspec.Struct](data: bytes, kind: type[T]) -> T:
    """Decode strictly; raises `msgspec.ValidationError` naming the field."""
    return msgspec.json.decode(data, type=kind)


def without_facts(operation: Operation) -> Operation:
    """The operation as it is submitted: facts are never taken from the other side."""
    return msgspec.structs.replace(operation, facts=UNREAD)


def key_hash(key: str) -> str:
    """How a key is stored: hex SHA-256. Keys carry 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(key.encode()).hexdigest()


def edge_signing_key(edge_key: str) -> Ed25519PrivateKey:
    """The edge's signing key, derived from its edge key by HKDF-SHA256 (RFC 5869); the control plane stores its public half."""
    seed = HKDF(hashes.SHA256(), 32, salt=None, info=b"sallyport edge signing key v1").derive(edge_key.encode())
    return Ed25519PrivateKey.from_private_bytes(seed)


def submission_bytes(payload: bytes) -> bytes:
    """What an edge signs: its submission, framed so that it can be taken for nothing else."""
    return b"sallyport-submission-v1\0" + payload


def bundle_bytes(payload: bytes) -> bytes:
    """What the control plane signs: a bundle, framed so that it can be taken for nothing else."""
    return b"sallyport-bundle-v1\0" + payload
