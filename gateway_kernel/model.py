"""The nouns: who connects, to what, in which session, with which operation, and what that operation would do.

An `Operation` holds what will execute, exactly, and the context in which it would: the digest covers all of that
(`grant.digest`). Its `facts` are derived from it by a reader (`parse`), the same way at the edge and at the control plane.
This module decides nothing.
"""

from enum import StrEnum
from typing import Any, Literal

import msgspec

type Instant = int
"""Microseconds since 1970-01-01 UTC."""

type Json = Any
"""null, bool, int, str, list or dict with str keys. No floats: a digest must be exact."""

SECOND: Instant = 1_000_000

Mode = Literal["enforce", "observe"]


class EffectKind(StrEnum):
    """What a command does to the world. `unknown` is always denied."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    SCHEMA = "schema"
    PRIVILEGE = "privilege"
    EXECUTE = "execute"  # runs code somewhere: a program, a function that is not known to be pure
    SESSION = "session"  # changes what later operations mean: role, search path, settings
    TRANSFER = "transfer"  # bulk copy in or out
    TUNNEL = "tunnel"  # bytes that nobody can judge
    TRANSACTION = "transaction"
    UNKNOWN = "unknown"


class Effect(msgspec.Struct, frozen=True):
    """One thing an operation does: `kind` to `object` (a qualified name, "" if none), `via` what (a view, a trigger, "")."""

    kind: EffectKind
    object: str = ""
    via: str = ""


class Agent(msgspec.Struct, frozen=True):
    """The non-human principal that connects. `claims` are strings from its token; `owners` may not approve for it."""

    name: str
    groups: tuple[str, ...] = ()
    claims: dict[str, str] = {}
    issuer: str = "sallyport"
    owners: tuple[str, ...] = ()


class Resource(msgspec.Struct, frozen=True):
    """One target behind the edge. `labels` come from the control plane's registry, not from the edge."""

    name: str
    protocol: str
    labels: dict[str, str] = {}


class Session(msgspec.Struct):
    """One agent's connection or conversation with one resource, and what it has used so far.

    `usage` answers the caps of a policy: `Cap.key` -> amount used in that window. Counters are the edge's word.
    """

    id: str
    agent: Agent
    resource: Resource
    started: Instant
    mode: Mode = "enforce"
    operations: int = 0
    rows_read: int = 0
    bytes_read: int = 0
    rows_written: int = 0
    reviews: int = 0
    tainted: tuple[str, ...] = ()
    usage: dict[str, int] = {}


class Parameter(msgspec.Struct, frozen=True):
    """One bound value as it travels: protocol type name or number, wire form, bytes (None is NULL)."""

    type: str
    value: bytes | None
    form: Literal["text", "binary"] = "text"


class SqlFacts(msgspec.Struct, frozen=True, tag="sql"):
    """What a SQL statement says, by the real grammar of its server. Names are qualified as `schema.name` once resolved.

    `columns` are `schema.table.column`. `has_where` holds only if every UPDATE and DELETE in the text has one.
    """

    statements: int = 0
    verbs: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    has_where: bool = False
    role: str = ""
    search_path: tuple[str, ...] = ()
    in_transaction: bool = False


class HttpFacts(msgspec.Struct, frozen=True, tag="http"):
    """What the head of an HTTP request says, from the one normalised form that is judged and sent.

    `unreadable` says of a field why it cannot be told (field -> reason): a rule that asks for it denies. The body is no part: it can be
    large, and is read when a rule asks for it (`parse.Reader.asked`).
    """

    method: str = ""
    path: str = ""
    segments: tuple[str, ...] = ()
    query: dict[str, str] = {}
    headers: dict[str, str] = {}
    host: str = ""
    azure: dict[str, str] = {}
    unreadable: dict[str, str] = {}


class KubernetesFacts(msgspec.Struct, frozen=True, tag="k8s"):
    """What a Kubernetes API request says."""

    verb: str = ""
    group: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    dry_run: bool = False
    command: tuple[str, ...] = ()


class SshFacts(msgspec.Struct, frozen=True, tag="ssh"):
    """What an SSH request says."""

    command: str = ""
    argv: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    interactive: bool = False
    subsystem: str = ""


type Family = SqlFacts | HttpFacts | KubernetesFacts | SshFacts


class Facts(msgspec.Struct, frozen=True):
    """What a reader found. `complete` is false where anything could not be resolved: then an `unknown` effect is there too.

    `problem` says in one sentence what could not be read, for the refusal.
    """

    verb: str
    effects: tuple[Effect, ...]
    family: Family
    complete: bool = True
    problem: str = ""

    def only(self, *kinds: EffectKind) -> bool:
        """True if every effect is of one of these kinds."""
        return all(effect.kind in kinds for effect in self.effects)

    def has(self, *kinds: EffectKind) -> bool:
        """True if some effect is of one of these kinds."""
        return any(effect.kind in kinds for effect in self.effects)

    @property
    def changes_nothing(self) -> bool:
        """Only reads and transaction control: recorded before it is forwarded, sealed within a second."""
        return self.only(EffectKind.READ, EffectKind.TRANSACTION)


UNREAD = Facts(
    verb="",
    effects=(Effect(EffectKind.UNKNOWN),),
    family=SqlFacts(),
    complete=False,
    problem="nothing has read this operation yet",
)


class Operation(msgspec.Struct, frozen=True):
    """One command exactly as it would execute.

    `text` is the command, `parameters` its bound values in order, `context` everything asserted by the edge that changes
    what the text means (role, database, search path, catalogue facts, the digests of operations before it in the same
    transaction), `body_digest` the SHA-256 (hex) of streamed input that belongs to it, "" if none. `size` is in bytes.
    """

    id: str
    protocol: str
    text: str
    parameters: tuple[Parameter, ...] = ()
    context: dict[str, Json] = {}
    body_digest: str = ""
    size: int = 0
    facts: Facts = UNREAD
