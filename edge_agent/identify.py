"""Who an agent is: turns the key that it presents into an `Agent` of the cached bundle, or refuses.

Keys are looked up by their SHA-256, compared in constant time, held against the name given, expiry and revocation.
Failed attempts are limited by peer. A new kind of credential (an Entra token) is one more `Prover` in the tuple that
`Identities` is given. Secrets are neither logged nor recorded.
"""

import hmac
import re
from collections.abc import Callable
from typing import Protocol as Interface

from edge_agent.bundle import Bundles
from edge_agent.gateway import IdentityRefusedError
from edge_agent.limits import Rate
from gateway_kernel.contract import key_hash
from gateway_kernel.model import Agent, Instant

FAILURES_PER_SECOND = 1.0  # for one peer, on average
FAILURES_AT_ONCE = 20
_PEERS = 10_000  # peers whose failures are remembered
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}\Z")
_REFUSED = "this agent name and key are not known here"


class Prover(Interface):
    """One kind of credential."""

    async def agent(self, name: str, secret: str, now: Instant) -> Agent | None:
        """The agent that `secret` proves, None if it is of another kind; raise `IdentityRefusedError` if it proves nothing."""
        ...


class AgentKeys:
    """Keys `spa_<id>_<secret>` of the cached bundle."""

    def __init__(self, bundles: Bundles) -> None:
        self._bundles = bundles

    async def agent(self, name: str, secret: str, now: Instant) -> Agent | None:
        presented = key_hash(secret)
        key = self._bundles.key(presented)
        if key is None or not hmac.compare_digest(key.hash, presented):
            return None
        if name and not hmac.compare_digest(key.agent.name.encode(), name.encode()):
            raise IdentityRefusedError(_REFUSED)
        if key.revoked:
            raise IdentityRefusedError(f"key {key.id} of agent {key.agent.name} is revoked")
        if key.expires and now >= key.expires:
            raise IdentityRefusedError(f"key {key.id} of agent {key.agent.name} has expired; ask for a new one")
        return key.agent


class Identities:
    """Asks each prover in turn; the first that knows the credential decides."""

    def __init__(
        self,
        bundles: Bundles,
        provers: tuple[Prover, ...],
        now: Callable[[], Instant],
        refused: Callable[[str, str, str, str], None],
    ) -> None:
        """`refused(name, resource, peer, reason)` records a refusal; `name` is "" where what stood there was no name."""
        self._bundles = bundles
        self._provers = provers
        self._now = now
        self._refused = refused
        self._failures: dict[str, Rate] = {}

    async def identify(self, name: str, secret: str, *, resource: str, peer: str) -> Agent:
        """The agent, or `IdentityRefusedError` with a text for it, after recording the refusal."""
        host = peer.rpartition(":")[0] or peer
        try:
            self._pace(host)
            return await self._identified(name, secret)
        except IdentityRefusedError as refusal:
            self._count(host)
            shown = name if _NAME.match(name) and not name.startswith("spa_") else ""
            self._refused(shown, resource, peer, str(refusal))
            raise

    async def _identified(self, name: str, secret: str) -> Agent:
        stale = self._bundles.revocations_stale()
        if stale:
            raise IdentityRefusedError(stale)
        for prover in self._provers:
            agent = await prover.agent(name, secret, self._now())
            if agent is not None:
                return agent
        raise IdentityRefusedError(_REFUSED)

    def _pace(self, host: str) -> None:
        rate = self._failures.get(host)
        if rate is not None and rate.spent(self._now()):
            raise IdentityRefusedError("too many failed attempts from this address; wait a minute")

    def _count(self, host: str) -> None:
        if host not in self._failures:
            if len(self._failures) >= _PEERS:
                self._failures.pop(next(iter(self._failures)))
            self._failures[host] = Rate(FAILURES_PER_SECOND, FAILURES_AT_ONCE)
        self._failures[host].take(self._now())
