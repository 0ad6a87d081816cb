"""The recording: what is written down about a session, and the hash chain that shows whether it was changed.

An event is one JSON line. Each line names the SHA-256 of the line before it, so the hash of a line is the hash of the
whole recording up to there; `verify` walks it. Lines are kept and shipped as the bytes that were hashed, never re-encoded.
This module neither writes files nor knows the time.
"""

import hashlib
from collections.abc import Iterable, Iterator
from enum import StrEnum

import msgspec

from gateway_kernel.chain import GENESIS, Chain
from gateway_kernel.errors import TamperedError
from gateway_kernel.model import Agent, Effect, Instant, Json, Mode, Operation, Parameter, Resource
from gateway_kernel.verdict import Decision, Obligations, Verdict


class Outcome(StrEnum):
    """The truth about what the upstream did. `unknown`: it was being sent when we lost sight of it; never sent again."""

    NOT_SENT = "not_sent"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"


class OperationRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """An operation as it is recorded. Secrets in `text` and `parameters` are replaced; `sealed` holds them encrypted."""

    id: str
    protocol: str
    verb: str
    text: str
    effects: tuple[Effect, ...]
    parameters: tuple[Parameter, ...] = ()
    context: dict[str, Json] = {}
    body_digest: str = ""
    size: int = 0
    problem: str = ""
    digest: str = ""
    sealed: bytes = b""


class VerdictRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A verdict as it is recorded: `policy` is the digest of the policy version that spoke."""

    decision: Decision
    rules: tuple[str, ...]
    matched: tuple[str, ...]
    policy: str
    reason: str = ""


class SessionOpened(msgspec.Struct, frozen=True, tag="session_opened"):
    """`peer` is the client's address, `client` what it says of itself, `edge` who asserts all that follows."""

    agent: Agent
    resource: Resource
    mode: Mode
    edge: str
    peer: str = ""
    client: str = ""


class Prepared(msgspec.Struct, frozen=True, tag="prepared", omit_defaults=True):
    """A statement was prepared or described but not run; judged on its text alone."""

    operation: OperationRecord
    verdict: VerdictRecord


class Pending(msgspec.Struct, frozen=True, tag="pending", omit_defaults=True):
    """The operation waits for people."""

    operation: OperationRecord
    verdict: VerdictRecord
    rewritten_from: str = ""


class Decided(msgspec.Struct, frozen=True, tag="decided", omit_defaults=True):
    """The decision that stands. Refused if it denies; `review`, `grant` and `approvers` are there where people decided."""

    operation: OperationRecord
    verdict: VerdictRecord
    rewritten_from: str = ""
    review: str = ""
    grant: str = ""
    approvers: tuple[str, ...] = ()
    observed: bool = False


class Sending(msgspec.Struct, frozen=True, tag="sending", omit_defaults=True):
    """From here on a crash means `unknown`. Where nobody was asked, the decision stands in the same event."""

    id: str
    operation: OperationRecord | None = None
    verdict: VerdictRecord | None = None
    rewritten_from: str = ""
    observed: bool = False


class Repeated(msgspec.Struct, frozen=True, tag="repeated", omit_defaults=True):
    """A `Sending` that differs from that of event `like` of this session only in what stands here; `text` is "" if it is the same.

    Most of what agents send repeats. `expanded` gives the `Sending` that it stands for.
    """

    id: str
    like: int
    text: str = ""
    parameters: tuple[Parameter, ...] = ()
    size: int = 0


class ResponseRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came back, as masked. `body` is in the protocol's own frames, as far as the policy's `record` keeps it.

    `digest` is the hex SHA-256 of the whole response where `body` is not all of it, else "".
    """

    kind: str = ""
    body: bytes = b""
    digest: str = ""
    rows: int = 0
    bytes: int = 0
    masked: dict[str, int] = {}
    truncated: bool = False


class Finished(msgspec.Struct, frozen=True, tag="finished", omit_defaults=True):
    """The operation is closed. `detail` is the upstream's command tag or error code."""

    id: str
    outcome: Outcome
    detail: str = ""
    response: ResponseRecord | None = None
    micros: int = 0


class Noted(msgspec.Struct, frozen=True, tag="noted", omit_defaults=True):
    """Something an operator or auditor must know: an alert, a lookup made in the session, a drain, a gap."""

    what: str
    detail: str = ""
    operation: str = ""


class SessionClosed(msgspec.Struct, frozen=True, tag="session_closed", omit_defaults=True):
    """The last event of a recording."""

    reason: str
    operations: int = 0
    rows_read: int = 0
    bytes_read: int = 0


type Body = SessionOpened | Prepared | Pending | Decided | Sending | Repeated | Finished | Noted | SessionClosed


class AuditEvent(msgspec.Struct, frozen=True):
    """One link. `sequence` counts from 0 within the session; `previous` is the hex SHA-256 of the line before."""

    v: int
    session: str
    sequence: int
    at: Instant
    previous: str
    body: Body


_decode = msgspec.json.Decoder(AuditEvent).decode


def read(line: bytes) -> AuditEvent:
    """Decode one line. Raises `msgspec.MsgspecError` or `UnicodeDecodeError` if it is not an event."""
    return _decode(line)


def verify(session: str, lines: Iterable[bytes], *, sequence: int = 0, head: str = GENESIS) -> Chain:
    """Walk a recording from `sequence` on and return where its chain stands; raise `TamperedError` at the first broken link."""
    chain = Chain(session, sequence, head)
    for line in lines:
        try:
            event = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise TamperedError(session, chain.sequence, f"is not an audit event: {error}") from error
        if event.session != session:
            raise TamperedError(session, chain.sequence, f"belongs to session {event.session}")
        if event.sequence != chain.sequence:
            raise TamperedError(session, chain.sequence, f"is missing: found event {event.sequence} in its place")
        if event.previous != chain.head:
            raise TamperedError(session, chain.sequence, "does not follow from the event before it")
        chain.head = hashlib.sha256(line).hexdigest()
        chain.sequence += 1
    return chain


def expanded(events: Iterable[AuditEvent]) -> Iterator[AuditEvent]:
    """The events of one session, from its first on, with a `Sending` in the place of each `Repeated`.

    Raises `TamperedError` where one refers to an event that is no such `Sending`.
    """
    whole: dict[int, Sending] = {}
    for event in events:
        body = event.body
        if isinstance(body, Sending) and body.operation is not None:
            whole[event.sequence] = body
        elif isinstance(body, Repeated):
            like = whole.get(body.like)
            if like is None or like.operation is None:
                raise TamperedError(event.session, event.sequence, f"repeats event {body.like}, which sends nothing")
            yield msgspec.structs.replace(event, body=_expanded(body, like, like.operation))
            continue
        yield event


def _expanded(body: Repeated, like: Sending, operation: OperationRecord) -> Sending:
    operation = msgspec.structs.replace(
        operation, id=body.id, text=body.text or operation.text, parameters=body.parameters, size=body.size
    )
    return msgspec.structs.replace(like, id=body.id, operation=operation)


def operation_record(operation: Operation, digest: str = "") -> OperationRecord:
    """The recorded form of an operation. Catalogue facts are left out of the context: the digest covers them."""
    facts = operation.facts
    context = operation.context
    if "catalogue" in context:
        context = {key: value for key, value in context.items() if key != "catalogue"}
    return OperationRecord(
        operation.id,
        operation.protocol,
        facts.verb,
        operation.text,
        facts.effects,
        operation.parameters,
        context,
        operation.body_digest,
        operation.size,
        facts.problem,
        digest,
    )


def verdict_record(verdict: Verdict) -> VerdictRecord:
    """The recorded form of a verdict."""
    return VerdictRecord(verdict.decision, verdict.rules, verdict.matched, verdict.policy, verdict.reason)


def responses_kept(obligations: Obligations, *, observed: bool) -> str:
    """How much of a response is recorded. In `observe` mode nothing is masked, so only the digest is kept."""
    return "digest" if observed else obligations.responses
