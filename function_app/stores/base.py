"""The port of the store: what is kept, as plain structs, and what each backend must do atomically.

Every method is one transaction: it happens whole and is durable when it returns, or it raises. Methods that may run again after a crash
insert or read. Instants are microseconds, durations seconds. No backend decides anything about reviews that is not in
`gateway_kernel.review`.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Protocol as Interface

import msgspec

from gateway_kernel.contract import Claim, Claimed, RegisteredResource, Settled
from gateway_kernel.grant import SignedGrant
from gateway_kernel.model import Effect, Instant
from gateway_kernel.review import PersonDecision, State
from gateway_kernel.verdict import ReviewTerms


class StoreError(Exception):
    """A request that the stored state does not allow. `kind` is the problem type (docs/control-plane.md), `status` its HTTP status."""

    def __init__(self, kind: str, status: int, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.status = status


class Due(msgspec.Struct, frozen=True):
    """When a review does what, fixed when it is opened. `remind` and `escalate` are None where the terms ask for neither."""

    opened: Instant
    expire: Instant
    remind: Instant | None = None
    escalate: Instant | None = None


class Asked(msgspec.Struct, frozen=True):
    """What re-evaluation found and people are asked about. `eligible` grows at `Due.escalate` by `escalated`."""

    terms: ReviewTerms
    due: Due
    eligible: tuple[str, ...]
    escalated: tuple[str, ...]
    owners: tuple[str, ...]
    rules: tuple[str, ...]
    reason: str
    policy: str
    verb: str
    effects: tuple[Effect, ...]


class NewReview(msgspec.Struct, frozen=True):
    """A submission that wants a review. `opened` is the control plane's clock, `preview` the beginning of the text, redacted."""

    edge: str
    agent: str
    resource: str
    protocol: str
    digest: str
    session: str
    operation: str
    opened: Instant
    preview: str = ""


class Review(msgspec.Struct, frozen=True):
    """One review as stored. `asked` is None until its orchestration has judged it; `preview` is sealed for `id:preview`."""

    id: str
    edge: str
    agent: str
    resource: str
    protocol: str
    digest: str
    session: str
    operation: str
    opened: Instant
    state: State
    asked: Asked | None = None
    reason: str = ""
    approvers: tuple[str, ...] = ()
    settled: Instant = 0
    identical_to: str = ""
    identical_outcome: str = ""
    grant: str = ""
    outcome: str = ""
    alert: str = ""
    preview: bytes = b""


class Opened(msgspec.Struct, frozen=True):
    """The review that a submission opened (`joined` False) or joined."""

    review: Review
    joined: bool


class Nudge(msgspec.Struct, frozen=True):
    """A review whose orchestration has something to do that it may not know of. `lost` if it may not even have started."""

    review: str
    lost: bool


class OutboxEntry(msgspec.Struct, frozen=True):
    """One message to people about one step of one review, sent at least once."""

    review: str
    step: str
    notifier: str


class Swept(msgspec.Struct, frozen=True):
    """What a sweep did and found: reviews it let expire, and orchestrations to nudge."""

    expired: tuple[str, ...]
    nudges: tuple[Nudge, ...]
    unsent: tuple[OutboxEntry, ...]


class Alert(msgspec.Struct, frozen=True):
    """Something that an auditor must look at."""

    id: int
    at: Instant
    kind: str
    review: str
    detail: str


class Reviews(Interface):
    """Reviews, decisions, grants and the feeds of the edges."""

    async def submit(self, new: NewReview, payload: bytes, limit: int) -> Opened:
        """Join a joinable review of the same agent, resource and digest, or insert one.

        `StoreError` review-limit beyond `limit` open ones of the agent.
        """
        ...

    async def get(self, review: str) -> Review | None: ...

    async def payload(self, review: str) -> bytes:
        """The submission, decrypted."""
        ...

    async def listed(self, *, state: str, agent: str, limit: int, after: str) -> list[Review]:
        """Newest first; `after` is the id of the last one seen."""
        ...

    async def open_review(self, review: str, asked: Asked, alert: str) -> Review:
        """Fix terms and times once; a second call changes nothing."""
        ...

    async def settle_denied(self, review: str, reason: str, alert: str, at: Instant) -> Review:
        """Re-evaluation denied: the review ends without people."""
        ...

    async def decide(self, review: str, decision: PersonDecision, link: str = "") -> Review:
        """Store a decision (repeating an id is harmless) and tally. With `link`, use that link up in the same transaction."""
        ...

    async def decisions(self, review: str) -> list[PersonDecision]: ...

    async def tally(self, review: str, now: Instant) -> Review:
        """Transition by the decisions stored and the deadline; marks all decisions as digested."""
        ...

    async def issue_grant(self, review: str, signed: SignedGrant, grant: str, expires: Instant) -> SignedGrant | None:
        """Insert or read the one grant of an approved review and put it into the feeds. None if the review is not approved any more."""
        ...

    async def consume(self, edge: str, grant: str, claim: Claim, now: Instant) -> Claimed: ...

    async def release(self, edge: str, grant: str, claim: Claim) -> Claimed: ...

    async def withdraw(self, edge: str, review: str, claim: Claim, now: Instant) -> Review: ...

    async def feed(self, edge: str, after: int, limit: int) -> tuple[int, tuple[Settled, ...]]:
        """The settled reviews of an edge after a cursor, and the next cursor."""
        ...

    async def sweep(self, now: Instant) -> Swept: ...

    async def alerts(self, limit: int) -> list[Alert]: ...

    async def outbox_claim(self, review: str, step: str, notifier: str, now: Instant) -> bool:
        """Note that this message is to be sent. True if it was not sent yet."""
        ...

    async def outbox_sent(self, review: str, step: str, notifier: str, now: Instant) -> None:
        """Note that it was sent."""
        ...

    async def add_link(self, token_hash: str, review: str, person: str, expires: Instant) -> None:
        """Insert or keep a single-use link."""
        ...

    async def link_open(self, token_hash: str, review: str, person: str, now: Instant) -> bool:
        """True if the link exists for this review and person, is unused and has not expired."""
        ...


class SessionRow(msgspec.Struct, frozen=True):
    """What is derived from a recording."""

    id: str
    edge: str
    agent: str
    resource: str
    protocol: str
    mode: str
    started: Instant
    ended: Instant
    reason: str
    events: int
    head: str
    operations: int
    allowed: int
    reviewed: int
    denied: int
    failed: int
    unknown: int
    rows: int
    masked: int


class Sessions(Interface):
    """Recordings: the exact lines, and rows derived from them."""

    async def ingest(self, edge: str, lines: Iterable[bytes]) -> dict[str, int]:
        """Append lines that continue their session's chain and return the next sequence of each session in the batch.

        The valid prefix of every session is kept even if another session's lines are refused by `StoreError`.
        """
        ...

    async def get(self, session: str) -> SessionRow | None: ...

    async def listed(
        self, *, agent: str, resource: str, since: Instant, until: Instant, limit: int, after: str
    ) -> list[SessionRow]: ...

    def lines(self, session: str, start: int = 0) -> AsyncIterator[bytes]:
        """The exact recorded lines in order, in batches."""
        ...


class KeyRow(msgspec.Struct, frozen=True):
    """A key, never the key itself."""

    id: str
    kind: str
    name: str
    hash: str
    created: Instant
    expires: Instant = 0
    revoked: bool = False
    public: bytes = b""


class AgentRow(msgspec.Struct, frozen=True):
    """An agent as registered."""

    name: str
    groups: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    created: Instant = 0
    revoked: bool = False


class PersonRow(msgspec.Struct, frozen=True):
    """A person and the roles it holds; `person` is a mail address in lower case."""

    person: str
    roles: tuple[str, ...]
    created: Instant = 0
    revoked: bool = False


class EdgeRow(msgspec.Struct, frozen=True):
    """An edge and what it may speak for. `agents` may be `("*",)`: every agent."""

    edge: str
    resources: tuple[RegisteredResource, ...] = ()
    agents: tuple[str, ...] = ()
    created: Instant = 0

    def serves(self, agent: str) -> bool:
        return "*" in self.agents or agent in self.agents

    def resource(self, name: str) -> RegisteredResource | None:
        return next((resource for resource in self.resources if resource.name == name), None)


class PolicyRow(msgspec.Struct, frozen=True):
    """One version of the policy."""

    version: int
    digest: str
    text: str
    author: str
    comment: str
    created: Instant
    active: bool = False


class SignIn(msgspec.Struct, frozen=True):
    """A signed-in browser."""

    id: str
    person: str
    expires: Instant


class Registry(Interface):
    """Agents, people, edges, their keys, policies and sign-ins."""

    async def key(self, key_hash: str) -> KeyRow | None: ...

    async def keys(self, kind: str, name: str = "") -> list[KeyRow]: ...

    async def add_key(self, key: KeyRow) -> None: ...

    async def bootstrap(self, key: KeyRow) -> bool:
        """Insert the first administrator's key; False if there ever was one."""
        ...

    async def revoke_key(self, kind: str, name: str, key: str) -> bool: ...

    async def add_agent(self, agent: AgentRow, key: KeyRow) -> None:
        """`StoreError` exists if there is an agent of that name that is not revoked."""
        ...

    async def agent(self, name: str) -> AgentRow | None: ...

    async def agents(self) -> list[AgentRow]: ...

    async def revoke(self, kind: str, name: str) -> bool:
        """Revoke an agent or a person with all its keys."""
        ...

    async def put_person(self, person: PersonRow, key: KeyRow) -> None: ...

    async def person(self, person: str) -> PersonRow | None: ...

    async def people(self) -> list[PersonRow]: ...

    async def put_edge(self, edge: EdgeRow, key: KeyRow | None) -> None:
        """Register or change an edge. `StoreError` taken if another edge guards one of its resources otherwise."""
        ...

    async def edge(self, edge: str) -> EdgeRow | None: ...

    async def edges(self) -> list[EdgeRow]: ...

    async def add_policy(self, policy: PolicyRow) -> PolicyRow:
        """Store a version (number given here) and, if `policy.active`, make it the active one."""
        ...

    async def policies(self) -> list[PolicyRow]: ...

    async def policy(self, version: int) -> PolicyRow | None: ...

    async def policy_by_digest(self, digest: str) -> PolicyRow | None: ...

    async def active_policy(self) -> PolicyRow | None: ...

    async def activate(self, version: int) -> bool: ...

    async def sign_in(self, sign_in: SignIn, key: str) -> None:
        """`key` is the id of the key used: revoking it ends the sign-in."""
        ...

    async def signed_in(self, identifier: str, now: Instant) -> str:
        """The person signed in, or "" if signed out, expired or revoked."""
        ...

    async def sign_out(self, identifier: str) -> None: ...


class Store(Interface):
    """The whole store."""

    @property
    def reviews(self) -> Reviews: ...

    @property
    def sessions(self) -> Sessions: ...

    @property
    def registry(self) -> Registry: ...

    async def ready(self) -> str:
        """ "" if the store answers, else the reason why not."""
        ...

    def close(self) -> None: ...
