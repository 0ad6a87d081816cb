"""What an agent or a resource may use of one worker: connections at a time, connections and operations a second; and
usage for caps.

Each worker counts by itself, so an edge with several allows each limit once per worker. Caps of the policy are the
gate's business: `Usage` only counts for them, in sliding windows.
"""

from collections import deque
from collections.abc import Callable, Iterable

from edge_agent.gateway import LimitReachedError
from edge_agent.settings import Limits
from gateway_kernel.model import SECOND, Instant, Session
from gateway_kernel.verdict import Cap

_BUCKETS = 60  # a sliding window moves in steps of a sixtieth


class Rate:
    """At most `limit` a second on average, `burst` at once (as many as `limit` unless given); a limit of 0 is none."""

    __slots__ = ("_at", "_burst", "_limit", "_tokens")

    def __init__(self, limit: float, burst: float = 0) -> None:
        self._limit = limit
        self._burst = self._tokens = burst or limit
        self._at: Instant = 0

    def spent(self, now: Instant) -> bool:
        """True if there is none left now."""
        if not self._limit:
            return False
        gained = max(0, now - self._at) * self._limit / SECOND
        self._tokens = min(self._burst, self._tokens + gained)
        self._at = now
        return self._tokens < 1

    def take(self, now: Instant) -> bool:
        """Use one, if there is one."""
        if not self._limit:
            return True
        if self.spent(now):
            return False
        self._tokens -= 1
        return True

    def give_back(self) -> None:
        """One was not used after all."""
        self._tokens = min(self._burst, self._tokens + 1)


class _Holder:
    """What one agent, resource or worker holds now."""

    __slots__ = ("connections", "limits", "opening", "operations")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.connections = 0
        self.opening = Rate(limits.connections_per_second)
        self.operations = Rate(limits.operations_per_second)


class Pair:
    """All that count for one agent at one resource, with how errors call them. `statement` is their smallest limit, 0 if none.

    A pair holds until the limits change: then `replaced` is true.
    """

    __slots__ = ("holders", "rated", "replaced", "statement")

    def __init__(self, holders: tuple[tuple[str, _Holder], ...]) -> None:
        limits = [holder.limits for _, holder in holders]
        self.holders = holders
        self.statement = min((each.statement for each in limits if each.statement), default=0)
        self.replaced = False
        self.rated = any(each.operations_per_second for each in limits)

    def allows(self, size: int) -> bool:
        """True if an operation of `size` bytes is within every limit, and nothing has to be counted for it."""
        return not self.rated and (not self.statement or size <= self.statement)


class Counters:
    """The limits of one worker. Names are those of agents and resources."""

    def __init__(self, edge: Limits, agent: Limits, resource: Callable[[str], Limits]) -> None:
        self._agent_limits = agent
        self._resource_limits = resource
        self._edge = _Holder(edge)
        self._agents: dict[str, _Holder] = {}
        self._resources: dict[str, _Holder] = {}
        self._pairs: dict[tuple[str, str], Pair] = {}

    def configure(self, edge: Limits, agent: Limits, resource: Callable[[str], Limits]) -> None:
        """Use other limits from now on; what is open stays open and counted."""
        self._agent_limits, self._resource_limits = agent, resource
        for pair in self._pairs.values():
            pair.replaced = True
        self._pairs.clear()
        for holder, limits in (
            (self._edge, edge),
            *((each, agent) for each in self._agents.values()),
            *((each, resource(name)) for name, each in self._resources.items()),
        ):
            if holder.limits != limits:
                holder.limits = limits
                holder.opening, holder.operations = (
                    Rate(limits.connections_per_second),
                    Rate(limits.operations_per_second),
                )

    def pair(self, agent: str, resource: str) -> Pair:
        """Who counts for this agent at this resource. Holders last as long as the worker, a pair as long as the limits."""
        pair = self._pairs.get((agent, resource))
        if pair is None:
            pair = self._pairs[agent, resource] = Pair(self._held(agent, resource))
        return pair

    def _held(self, agent: str, resource: str) -> tuple[tuple[str, _Holder], ...]:
        by_agent = self._agents.get(agent)
        if by_agent is None:
            by_agent = self._agents[agent] = _Holder(self._agent_limits)
        by_resource = self._resources.get(resource)
        if by_resource is None:
            by_resource = self._resources[resource] = _Holder(self._resource_limits(resource))
        return (
            ("this edge", self._edge),
            (f"agent {agent!r}", by_agent),
            (f"resource {resource!r}", by_resource),
        )

    def connect(self, agent: str, resource: str, now: Instant) -> None:
        """Count a connection; raise `LimitReachedError` if one limit says no, counting nothing."""
        holders = self.pair(agent, resource).holders
        for whose, holder in holders:
            limit = holder.limits.connections
            if limit and holder.connections >= limit:
                raise LimitReachedError(
                    f"{whose} has reached its limit of {limit} connections; close one and try again"
                )
        for whose, holder in holders:
            if not holder.opening.take(now):
                rate = holder.limits.connections_per_second
                raise LimitReachedError(f"{whose} opens more than {rate} connections a second; slow down")
        for _, holder in holders:
            holder.connections += 1

    def disconnect(self, agent: str, resource: str) -> None:
        """Give a connection back."""
        for _, holder in self.pair(agent, resource).holders:
            holder.connections -= 1

    def operate(self, agent: str, resource: str, size: int, now: Instant) -> tuple[str, str] | None:
        """Count an operation of `size` bytes; return the gate rule and the reason if a limit refuses it."""
        pair = self.pair(agent, resource)
        if pair.allows(size):
            return None
        for whose, holder in pair.holders:
            limit = holder.limits.statement
            if limit and size > limit:
                return "operation-too-large", f"It has {size} bytes; {whose} may send {limit} in one operation."
            if not holder.operations.take(now):
                rate = holder.limits.operations_per_second
                return "rate-limit", f"{whose} sends more than {rate} operations a second; slow down."
        return None

    def give_back(self, agent: str, resource: str) -> None:
        """An operation that `operate` counted was not sent."""
        for _, holder in self.pair(agent, resource).holders:
            holder.operations.give_back()

    @property
    def connections(self) -> int:
        return self._edge.connections

    def by_resource(self) -> dict[str, int]:
        """Connections open now, by resource."""
        return {name: holder.connections for name, holder in self._resources.items()}


class _Window:
    """A sum over the last `seconds`, in steps of a sixtieth of it; 0 seconds: everything so far."""

    __slots__ = ("_buckets", "_step", "total")

    def __init__(self, seconds: int) -> None:
        self._step = max(1, seconds * SECOND // _BUCKETS)
        self._buckets: deque[list[int]] | None = deque() if seconds else None
        self.total = 0

    def add(self, amount: int, now: Instant) -> None:
        self.total += amount
        if self._buckets is None:
            return
        slot = now // self._step
        if self._buckets and self._buckets[-1][0] >= slot:
            self._buckets[-1][1] += amount
        else:
            self._buckets.append([slot, amount])

    def at(self, now: Instant) -> int:
        if self._buckets is not None:
            oldest = now // self._step - _BUCKETS
            while self._buckets and self._buckets[0][0] < oldest:
                self.total -= self._buckets.popleft()[1]
        return self.total


class Usage:
    """Counts for the caps that the active policy has, per session and per agent. What no cap asks for is not counted."""

    def __init__(self) -> None:
        self.caps: tuple[Cap, ...] = ()
        self._windows: dict[tuple[str, str], _Window] = {}

    def use(self, caps: Iterable[Cap]) -> None:
        """Count for these caps from now on; windows that another policy had as well go on."""
        self.caps = tuple({cap.key: cap for cap in caps}.values())
        keys = {cap.key for cap in self.caps}
        self._windows = {name: window for name, window in self._windows.items() if name[1] in keys}

    def add(self, session: Session, quantity: str, amount: int, now: Instant) -> None:
        """Count `amount` of `quantity`, one of `verdict.CapQuantity`."""
        for cap in self.caps:
            if cap.quantity == quantity and amount:
                owner = session.id if cap.per == "session" else session.agent.name
                window = self._windows.get((owner, cap.key))
                if window is None:
                    window = self._windows[owner, cap.key] = _Window(cap.window)
                window.add(amount, now)

    def fill(self, session: Session, now: Instant) -> None:
        """Bring `session.usage` up to date."""
        if not self.caps:
            return
        usage: dict[str, int] = {}
        for cap in self.caps:
            owner = session.id if cap.per == "session" else session.agent.name
            window = self._windows.get((owner, cap.key))
            usage[cap.key] = window.at(now) if window else 0
        session.usage = usage

    def forget(self, session: Session) -> None:
        """The session is over."""
        for cap in self.caps:
            if cap.per == "session":
                self._windows.pop((session.id, cap.key), None)
