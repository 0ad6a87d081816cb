"""What the parts of an edge offer each other: ports, and the bundle of services that a protocol room is given.

The implementations are `driver`, `recorder`, `identify`, `credentials`, `limits` and `settings`; nothing here does IO.
"""

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Protocol as Interface

import msgspec

from gateway_kernel.audit import Body
from gateway_kernel.commands import Refuse, Result
from gateway_kernel.judge import Judgement
from gateway_kernel.masking.strategies import MaskingKeys
from gateway_kernel.model import Agent, Instant, Mode, Operation, Resource, Session

if TYPE_CHECKING:
    from edge_agent._repeat import Repeats


class Credential(msgspec.Struct, frozen=True):
    """What is injected upstream. Its repr shows nothing; `version` tells whether a refetch brought another one."""

    username: str
    secret: str
    kind: str = "password"
    version: str = ""

    def __repr__(self) -> str:
        return f"Credential({self.username!r}, hidden)"


class Upstream(msgspec.Struct, frozen=True):
    """Where a resource really is: host, port and the options of its URL (database, sslmode, ...)."""

    host: str
    port: int
    path: str = ""
    username: str = ""
    options: dict[str, str] = {}


class Guarded(msgspec.Struct, frozen=True):
    """A resource as this edge guards it: the kernel's resource (labels from the registry), its upstream and its mode."""

    resource: Resource
    upstream: Upstream
    mode: Mode


class IdentityRefusedError(Exception):
    """The agent did not prove who it is, or may not be here. The text is safe to show to it."""


class LimitReachedError(Exception):
    """A connection, size or rate limit is reached. The text says which, and is safe to show to the agent."""


class Channel(Interface):
    """One operation's way to its agent and its upstream, as the driver sees it. All calls come from the event loop."""

    @property
    def hold(self) -> float:
        """Longest time in seconds for which the agent may be kept waiting for people now."""
        ...

    def waiting(self, review: str, url: str) -> None:
        """Tell the agent, in its own protocol, that people are being asked. Called at once and then every 30 seconds."""
        ...

    def forward(self, judgement: Judgement, max_rows: int | None, done: Callable[[Result], None]) -> None:
        """Send the operation upstream exactly as judged; call `done` once, when its outcome is known."""
        ...

    def refuse(self, refusal: Refuse) -> None:
        """Tell the agent no, after making sure that nothing of the operation takes effect."""
        ...


class Admitting(Interface):
    """An operation on its way through the gate."""

    @property
    def waiting(self) -> bool:
        """True while people are being asked."""
        ...

    def withdraw(self) -> None:
        """The agent cancelled: this waiter ends; the review is withdrawn if no other waiter is left."""
        ...

    def abandon(self) -> None:
        """The agent went away: this waiter ends, the review stands."""
        ...


class Gateway(Interface):
    """The services of one worker."""

    @property
    def edge(self) -> str: ...

    @property
    def replica(self) -> int:
        """This worker's number, 16 bits: part of what a cancel key encodes."""
        ...

    @property
    def hold(self) -> float:
        """Longest time in seconds for which a connection is held before the pending answer."""
        ...

    @property
    def hold_in_transaction(self) -> float:
        """The same where a transaction is open upstream and keeps its locks."""
        ...

    @property
    def masking_keys(self) -> MaskingKeys | None:
        """The keys of the strategies `hash` and `token`; they never leave the machine."""
        ...

    def now(self) -> Instant: ...

    def guarded(self, name: str) -> Guarded | None:
        """The resource of that name, or None. Reflects the latest reload and registry."""
        ...

    async def identify(self, name: str, secret: str, *, resource: str, peer: str) -> Agent:
        """Turn what the agent presented (`name` may be "" where the protocol has none) into an Agent; raise `IdentityRefusedError`."""
        ...

    async def credential(self, resource: str, *, refetch: bool = False) -> Credential:
        """The credential to inject; `refetch` after upstream refused the cached one."""
        ...

    def open_session(self, agent: Agent, guarded: Guarded, *, peer: str, client: str) -> Session:
        """Count the connection against its limits (raise `LimitReachedError`) and record `SessionOpened`."""
        ...

    def close_session(self, session: Session, reason: str) -> None:
        """Record `SessionClosed` and give the limits back. Harmless if repeated."""
        ...

    def record(self, session: Session, *events: Body) -> None:
        """Record events which no operation is waiting for (prepared statements, notes); raise `LimitReachedError` if they cannot be."""
        ...

    def admit(self, operation: Operation, session: Session, channel: Channel) -> Admitting:
        """Lead an operation through the gate. On the fast path `channel.forward` is called before this returns."""
        ...

    def repeats(self, session: Session) -> "Repeats | None":
        """The short way for what this session sends again; None where it was not compiled."""
        ...

    def judge_only(self, operation: Operation, session: Session) -> Judgement:
        """Judge without forwarding: for statements that are prepared or described but not run. Records nothing.

        Raises `LimitReachedError` where there is no policy that may be used.
        """
        ...

    def listener_tls(self, protocol: str) -> ssl.SSLContext | None: ...

    def forward_cancel(self, replica: int, key: bytes) -> None:
        """A cancel key of another worker: hand it to that one's room (`Room.cancel`)."""
        ...

    def on_drain(self, callback: Callable[[], None]) -> None: ...
