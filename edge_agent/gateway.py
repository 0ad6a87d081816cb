"""What the parts of an edge offer each other: ports, and the bundle of services that a protocol room is given.

The implementations are `driver`, `recorder`, `identify`, `credentials`, `limits` and `settings`; nothing here does IO.
"""

import ssl
from base64 import b64encode
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
    """What is injected upstream. Its repr shows nothing; `version` tells whether a refetch brought another one.

    `header` or `query` names the place in an HTTP request, both are "" where the protocol has its own; `value` is what stands there, with
    `{secret}` for the secret or `{basic}` for user name and secret as RFC 7617 joins them.
    """

    username: str
    secret: str
    kind: str = "password"
    version: str = ""
    header: str = ""
    query: str = ""
    value: str = ""

    @property
    def injected(self) -> str:
        """What stands in the header or, before it is percent-encoded, in the query."""
        if "{basic}" in self.value:
            return self.value.replace("{basic}", b64encode(f"{self.username}:{self.secret}".encode()).decode())
        return self.value.replace("{secret}", self.secret)

    def __repr__(self) -> str:
        return f"Credential({self.username!r}, hidden)"


class Route(msgspec.Struct, frozen=True):
    """One operation that a resource offers, by path and method: what it is called and what it does.

    `segments` are decoded: text, "" for any one segment, text with `{}` in it for any characters there, and "**" at the end for
    the rest. No `methods` means any. `effects` are pairs of kind and object, () where those of the method hold. `speaks` is
    the language of the body whose own operations count, "" if none.
    """

    segments: tuple[str, ...]
    methods: frozenset[str] = frozenset()
    id: str = ""
    effects: tuple[tuple[str, str], ...] = ()
    speaks: str = ""


def matched(routes: tuple[Route, ...], method: str, segments: tuple[str, ...]) -> Route | None:
    """The route of a request: text goes before a placeholder, segment by segment; of equals the first. A slash at the end does not count.

    HEAD is GET where no route names it.
    """
    if segments and not segments[-1]:
        segments = segments[:-1]
    best: Route | None = None
    rank: tuple[int, ...] = ()
    for route in routes:
        if not route.methods or method in route.methods:
            found = _rank(route.segments, segments)
            if found is not None and (best is None or found < rank):
                best, rank = route, found
    return matched(routes, "GET", segments) if best is None and method == "HEAD" else best


def _rank(pattern: tuple[str, ...], segments: tuple[str, ...]) -> tuple[int, ...] | None:
    """How closely a path fits, less is closer; None where it does not."""
    rest = bool(pattern) and pattern[-1] == "**"
    fixed = pattern[:-1] if rest else pattern
    if len(segments) < len(fixed) or (len(segments) > len(fixed) and not rest):
        return None
    rank: list[int] = []
    for wanted, segment in zip(fixed, segments, strict=False):
        if segment and wanted == segment:
            rank.append(0)
        elif "{}" in wanted and _around(wanted, segment):
            rank.append(1)
        elif not wanted and segment:
            rank.append(2)
        else:
            return None
    return (*rank, 3) if rest else tuple(rank)


def _around(pattern: str, segment: str) -> bool:
    """Text with placeholders in it, each for at least one character. Not a regular expression: the segment is the agent's."""
    first, *middle, last = pattern.split("{}")
    if not segment.startswith(first):
        return False
    at = len(first)
    for text in middle:
        at = segment.find(text, at + 1) + len(text)
        if at < len(text):
            return False
    return len(segment) - len(last) > at and segment.endswith(last)


class Upstream(msgspec.Struct, frozen=True):
    """Where a resource really is: host, port and the options of its URL (database, sslmode, ...)."""

    host: str
    port: int
    path: str = ""
    username: str = ""
    options: dict[str, str] = {}


class Guarded(msgspec.Struct, frozen=True):
    """A resource as this edge guards it: the kernel's resource (labels from the registry), its upstream, its mode and its routes.

    `injected_header` and `injected_query` name the place of its credential, as in `Credential`.
    """

    resource: Resource
    upstream: Upstream
    mode: Mode
    routes: tuple[Route, ...] = ()
    injected_header: str = ""
    injected_query: str = ""


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

    def stop_waiting(self, reason: str) -> None:
        """This waiter ends as if its hold had run out; the review stands."""
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

    def derived_key(self, purpose: str) -> bytes:
        """256 bits for one purpose, the same in every worker of this machine; they never leave it."""
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

    def review_state(self, review: str, agent: str) -> str:
        """Where a review that this agent's operations opened or joined here stands, "" if that is not known."""
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
