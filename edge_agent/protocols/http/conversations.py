"""The sessions of one connection, and who asks on it.

A session is one agent at one resource on one connection. Who asks is said with each request; what was proved a moment ago is not proved again.
"""

import base64
import binascii
import time
from typing import TYPE_CHECKING

from edge_agent.gateway import Gateway, Guarded, LimitReachedError
from edge_agent.protocols.http.messages import RequestHead
from gateway_kernel.audit import Noted
from gateway_kernel.model import Agent, Session

if TYPE_CHECKING:
    from edge_agent._repeat import Repeats

IDENTITY_KEPT = 1.0  # seconds for which a proved identity is not proved again
_CLIENT = 200  # characters of a User-Agent that are recorded

type Identity = tuple[str, str, str]
"""What was presented, and where: a name ("" if none), a secret, the resource."""


class Conversation:
    """A session, how many operations it has had, and the short way for what it repeats."""

    __slots__ = ("operations", "repeats", "session")

    def __init__(self, session: Session, repeats: "Repeats | None") -> None:
        self.session = session
        self.operations = 0
        self.repeats = repeats


class Conversations:
    """The sessions of one connection."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._open: dict[tuple[str, str], Conversation] = {}
        self._proved: tuple[Identity, float, Agent] | None = None

    # -- who asks -----------------------------------------------------------------------------------------------------

    def presented(self, head: RequestHead, resource: str) -> Identity | None:
        """What a request presents for a resource ("" if it names none); None if it presents nothing."""
        guarded = self._gateway.guarded(resource)
        elsewhere = guarded.injected_header.lower() if guarded is not None else ""
        found: Identity | None = None
        for name, value in head.headers:
            low = name.lower()
            if low == "authorization":
                pair = _pair(value)
                return None if pair is None else (*pair, resource)
            if low == elsewhere:  # client libraries put their key where the API expects it
                found = "", value.rpartition(" ")[2], resource
        return found

    def proved(self, identity: Identity, now: float) -> Agent | None:
        """Who that is, if it was proved a moment ago."""
        known = self._proved
        return known[2] if known is not None and known[0] == identity and now < known[1] else None

    def forget(self) -> None:
        """Whoever asks next proves it again."""
        self._proved = None

    async def prove(self, identity: Identity, peer: str) -> Agent:
        """Who that is; raise as `Gateway.identify` does."""
        name, secret, resource = identity
        agent = await self._gateway.identify(name, secret, resource=resource, peer=peer)
        self._proved = (identity, time.monotonic() + IDENTITY_KEPT, agent)
        return agent

    # -- sessions -----------------------------------------------------------------------------------------------------

    def of(self, agent: Agent, guarded: Guarded, head: RequestHead, peer: str) -> Conversation:
        """The session of this agent at this resource, opened if there is none; raise `LimitReachedError` if it cannot be."""
        key = (agent.name, guarded.resource.name)
        found = self._open.get(key)
        if found is not None:
            session = found.session
            if session.agent == agent and session.resource == guarded.resource and session.mode == guarded.mode:
                return found
            del self._open[key]
            self._gateway.close_session(session, "the agent or the resource changed")
        client = next((value for name, value in head.headers if name.lower() == "user-agent"), "")
        session = self._gateway.open_session(agent, guarded, peer=peer, client=client[:_CLIENT])
        found = self._open[key] = Conversation(session, self._gateway.repeats(session))
        return found

    def note(self, what: str, detail: str) -> None:
        """Record what belongs to the connection, in each of its sessions."""
        for conversation in self._open.values():
            try:
                self._gateway.record(conversation.session, Noted(what, detail))
            except LimitReachedError:
                return  # the recording is unavailable; nothing is forwarded either

    def close(self, reason: str) -> None:
        """The connection is over."""
        for conversation in self._open.values():
            self._gateway.close_session(conversation.session, reason)
        self._open.clear()


def _pair(value: str) -> tuple[str, str] | None:
    """Name and secret of an Authorization header (RFC 6750, RFC 7617)."""
    scheme, _, rest = value.strip().partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer" and rest:
        return "", rest
    if scheme.lower() == "basic":
        try:
            name, colon, secret = base64.b64decode(rest, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return (name, secret) if colon and secret else None
    return None
