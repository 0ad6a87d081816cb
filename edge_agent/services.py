"""What one worker gives to its protocol rooms: the implementation of `gateway.Gateway`.

It puts the parts together and keeps no rules of its own: who an agent is says `identify`, what may run says the gate
through `driver`.
"""

import os
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from edge_agent import repeat
from edge_agent.admitted import Admitted
from edge_agent.bundle import Bundles
from edge_agent.credentials import Credentials
from edge_agent.driver import Driver
from edge_agent.gateway import Channel, Credential, Guarded, IdentityRefusedError, LimitReachedError
from edge_agent.identify import AgentKeys, Identities
from edge_agent.limits import Counters
from edge_agent.logs import Log
from edge_agent.metrics import Counts
from edge_agent.recorder import Recorder
from edge_agent.reviews import Reviews
from edge_agent.secrets import Vault
from edge_agent.settings import Limits, ResourceSettings, Settings, SettingsError
from edge_agent.spool import SpoolError
from gateway_kernel.audit import Body, Noted, SessionClosed, SessionOpened
from gateway_kernel.judge import Judgement, judge
from gateway_kernel.masking.strategies import MaskingKeys
from gateway_kernel.model import Agent, Instant, Operation, Resource, Session

if TYPE_CHECKING:
    from edge_agent._repeat import Repeats

log = Log(__name__)

_NO_LIMITS = Limits(0, 0, 0, 0)


class Services:
    """The services of worker number `replica`."""

    def __init__(
        self,
        settings: Settings,
        *,
        edge: str,
        replica: int,
        recorder: Recorder,
        reviews: Reviews,
        bundles: Bundles,
        send_cancel: Callable[[int, bytes], None],
    ) -> None:
        self._settings = settings
        self._masking_keys: MaskingKeys | None = None
        self._edge = edge
        self._replica = replica
        self._recorder = recorder
        self._reviews = reviews
        self._bundles = bundles
        self._send_cancel = send_cancel
        self._resources: dict[str, ResourceSettings] = {}
        self._guarded: dict[str, Guarded] = {}
        self._tls: dict[str, ssl.SSLContext] = {}
        self._open: dict[str, Session] = {}
        self._watch = ""  # the session under which this worker records what belongs to no other
        self._drains: list[Callable[[], None]] = []
        self._credentials = Credentials()
        self._identities = Identities(bundles, (AgentKeys(bundles),), self.now, self._record_unidentified)
        self.counts = Counts()
        self.counters = Counters(settings.edge_limits, settings.agent_limits, self._limits_of)
        self.driver = Driver(
            edge=edge,
            recorder=recorder,
            reviews=reviews,
            bundles=bundles,
            counters=self.counters,
            counts=self.counts,
            now=self.now,
        )
        bundles.changed = self._refresh
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Use other settings from now on; connections stay. Raise `SettingsError`, changing nothing, if a certificate cannot be used."""
        tls = _contexts(settings)
        self._settings = settings
        self._tls = tls
        self._resources = {each.name: each for each in settings.resources}
        self.counters.configure(settings.edge_limits, settings.agent_limits, self._limits_of)
        self._bundles.configure(settings)
        self._refresh()

    def _limits_of(self, resource: str) -> Limits:
        found = self._resources.get(resource)
        return found.limits if found else _NO_LIMITS

    def _refresh(self) -> None:
        """Settings or bundle changed."""
        guarded: dict[str, Guarded] = {}
        for mine in self._settings.resources:
            registered = self._bundles.resource(mine.name)
            if registered is not None:
                place = mine.credential
                header, query = (place.header, place.query) if place else ("", "")
                guarded[mine.name] = Guarded(registered, mine.upstream, mine.mode, mine.routes, header, query)
        self._guarded = guarded
        policy = self._bundles.policy
        self.driver.usage.use(policy.caps if policy else ())

    # -- gateway.Gateway ----------------------------------------------------------------------------------------------

    @property
    def edge(self) -> str:
        return self._edge

    @property
    def replica(self) -> int:
        return self._replica

    @property
    def hold(self) -> float:
        return self._settings.hold

    @property
    def hold_in_transaction(self) -> float:
        return self._settings.hold_in_transaction

    @property
    def masking_keys(self) -> MaskingKeys | None:
        if self._masking_keys is None:
            self._masking_keys = Vault.masking_keys(self._settings.data_dir)
        return self._masking_keys

    def derived_key(self, purpose: str) -> bytes:
        return Vault.derived_key(self._settings.data_dir, purpose)

    def now(self) -> Instant:
        return time.time_ns() // 1000

    def guarded(self, name: str) -> Guarded | None:
        return self._guarded.get(name)

    async def identify(self, name: str, secret: str, *, resource: str, peer: str) -> Agent:
        try:
            agent = await self._identities.identify(name, secret, resource=resource, peer=peer)
        except IdentityRefusedError:
            self.counts.unidentified += 1
            raise
        self.counts.identified += 1
        return agent

    async def credential(self, resource: str, *, refetch: bool = False) -> Credential:
        return await self._credentials.credential(self._resources[resource], refetch=refetch)

    def open_session(self, agent: Agent, guarded: Guarded, *, peer: str, client: str) -> Session:
        resource = guarded.resource
        now = self.now()
        self.counters.connect(agent.name, resource.name, now)
        session = Session(_session_id(), agent, resource, now, guarded.mode)
        opened = SessionOpened(agent, resource, guarded.mode, self._edge, peer, client)
        try:
            self._recorder.open(session.id, opened)
        except SpoolError as error:
            self.counters.disconnect(agent.name, resource.name)
            raise LimitReachedError(f"the recording is unavailable, so no session can open: {error}") from None
        self._open[session.id] = session
        return session

    def close_session(self, session: Session, reason: str) -> None:
        if self._open.pop(session.id, None) is None:
            return
        self.counters.disconnect(session.agent.name, session.resource.name)
        self.driver.usage.forget(session)
        closed = SessionClosed(reason, session.operations, session.rows_read, session.bytes_read)
        self._recorder.owe(session.id, closed)

    def record(self, session: Session, *events: Body) -> None:
        try:
            self._recorder.record(session.id, *events)
        except SpoolError as error:
            raise LimitReachedError(f"the recording is unavailable: {error}") from None

    def admit(self, operation: Operation, session: Session, channel: Channel) -> Admitted:
        return self.driver.admit(operation, session, channel)

    def repeats(self, session: Session) -> "Repeats | None":
        return repeat.repeats(self.driver, session)

    def review_state(self, review: str, agent: str) -> str:
        state = self._reviews.state(review, agent)
        return "" if state is None else state.value

    def judge_only(self, operation: Operation, session: Session) -> Judgement:
        policy = self._bundles.policy
        stale = self._bundles.policy_stale()
        if policy is None or stale:
            raise LimitReachedError(stale)
        return judge(operation, session, policy, self.now())

    def listener_tls(self, protocol: str) -> ssl.SSLContext | None:
        return self._tls.get(protocol)

    def forward_cancel(self, replica: int, key: bytes) -> None:
        self._send_cancel(replica, key)

    def on_drain(self, callback: Callable[[], None]) -> None:
        self._drains.append(callback)

    def server_tls(self, protocol: str) -> ssl.SSLContext | None:
        """For a listener that begins with TLS: each handshake shows the certificate of the settings that are in force then."""
        now = self._tls.get(protocol)
        if now is None:
            return None
        first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        first.minimum_version = ssl.TLSVersion.TLSv1_2
        first.set_alpn_protocols(["http/1.1"])

        def current(handshake: ssl.SSLObject | ssl.SSLSocket, *_: object) -> None:
            handshake.context = self._tls.get(protocol, now)

        first.sni_callback = current
        return first

    # -- the worker's part --------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Tell held operations and the rooms that this worker stops."""
        self.driver.drain()
        for callback in self._drains:
            callback()

    def note(self, what: str, detail: str) -> None:
        """Record something that belongs to no session, in a session of this worker's own."""
        try:
            if not self._watch:
                self._watch = _session_id()
                agent, resource = Agent(f"edge:{self._edge}", issuer="edge"), Resource(f"edge:{self._edge}", "edge")
                self._recorder.open(self._watch, SessionOpened(agent, resource, "enforce", self._edge))
            self._recorder.record(self._watch, Noted(what, detail))
        except SpoolError as error:
            log.fault("a note could not be recorded", what=what, reason=str(error))
            if not self._recorder.is_open(self._watch):
                self._watch = ""

    def _record_unidentified(self, name: str, resource: str, peer: str, reason: str) -> None:
        detail = msgspec.json.encode(
            {"agent": name, "resource": resource[:128], "peer": peer, "reason": reason}
        ).decode()
        self.note("agent refused", detail)
        log.warning("agent refused", agent=name, resource=resource[:128], peer=peer, reason=reason)

    async def close(self) -> None:
        """Close what is still open, after the rooms have drained."""
        for session in list(self._open.values()):
            self.close_session(session, "edge stopped")
        if self._watch:
            self._recorder.owe(self._watch, SessionClosed("edge stopped"))
            self._watch = ""
        await self._credentials.close()


def _session_id() -> str:
    """Sorts by time: 48 bits of milliseconds, then 80 random bits."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


def _contexts(settings: Settings) -> dict[str, ssl.SSLContext]:
    contexts: dict[str, ssl.SSLContext] = {}
    for listener in settings.listeners:
        if listener.tls is None:
            continue
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(listener.tls.cert, listener.tls.key)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"{settings.source}: tls: the certificate {listener.tls.cert} and its key cannot be used: {error.strerror or error}"
            ) from None
        contexts[listener.protocol] = context
    return contexts
