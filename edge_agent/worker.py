"""One worker: listeners, spool and the loops towards the control plane, in one event loop.

Workers share nothing but ports and data_dir: each has its own spool, its own long poll and its own copy of the
bundle. How a room speaks its protocol is not known here, nor how the process came to be: see `process`.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Coroutine
from typing import Any

from edge_agent import logs, repeat
from edge_agent.bundle import BundleError, Bundles
from edge_agent.control_client import Backoff, ControlClient, ControlPlaneError
from edge_agent.hub import Ask, Cancel, Drain, Line, Message, Ready, Reload, Status
from edge_agent.metrics import Sample
from edge_agent.protocols import Room
from edge_agent.recorder import Recorder
from edge_agent.reviews import Reviews
from edge_agent.secrets import Vault
from edge_agent.services import Services
from edge_agent.settings import Settings, SettingsError, edge_key, edge_name, load
from edge_agent.shipping import Shipping
from edge_agent.spool import Spool
from gateway_kernel.contract import Claim

log = logs.Log(__name__)

POLL_BUNDLE = 2.0  # seconds between two looks for a newer bundle; a look at an unchanged one costs a 304
FIRST_BUNDLE = 5.0  # seconds for which a starting worker waits for its first bundle before it serves without
SHIP_AT_THE_END = 5.0  # seconds for which a stopping worker tries to ship the rest
BACKLOG = 4096
HANDSHAKE_LIMIT = 15.0  # seconds for TLS where a connection begins with it


class Worker:
    """Everything that one worker process holds."""

    def __init__(self, settings: Settings, number: int, line: Line, rooms: tuple[Room, ...]) -> None:
        self._settings = settings
        self._number = number
        self._line = line
        self._rooms = rooms
        self._edge = edge_name(settings)
        self._stopping = asyncio.Event()
        self._looked = asyncio.Event()
        self._serving = False
        self._bundle_problem = ""
        self._settings_problem = ""
        self._servers: list[asyncio.Server] = []
        self._open_rooms: list[Room] = []
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._spool = Spool(
            settings.data_dir / "spool" / str(number),
            quota=settings.spool_quota,
            segment=settings.spool_segment,
            durability=settings.durability,
        )
        self._recorder = Recorder(self._spool, Vault.in_directory(settings.data_dir), self._now)
        self._client = ControlClient(settings.control_plane, self._edge, edge_key())
        self._bundles = Bundles(settings, self._edge)
        self._reviews = Reviews(self._client, self._bundles, settings.data_dir / f"reviews-{number}.json", self._now)
        self._shipping = Shipping(self._spool, self._client)
        self._services = Services(
            settings,
            edge=self._edge,
            replica=number,
            recorder=self._recorder,
            reviews=self._reviews,
            bundles=self._bundles,
            send_cancel=lambda replica, key: line.say(Cancel(replica, key)),
        )

    def _now(self) -> int:
        return self._services.now()

    async def run(self, sockets: dict[str, tuple[str, int]]) -> None:
        """Serve until told to stop, then drain. `sockets` are the addresses that the supervisor holds, by protocol."""
        unused = self._recorder.recover()
        for damage in self._spool.found.damage:
            log.fault("the spool was damaged", what=damage)
            self._services.note("spool damaged", damage)
        self._bundles.restore()
        async with self._client:
            for each in unused:
                self._reviews.give_back(each.grant, Claim(each.operation, each.session))
            loops = [
                asyncio.create_task(_forever(loop))
                for loop in (self._follow_bundle(), self._reviews.follow(), self._shipping.run())
            ]
            listening = asyncio.create_task(self._listen_to_supervisor())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._looked.wait(), FIRST_BUNDLE)
            await self._open(sockets)
            self._serving = True
            self._line.say(Ready())
            await self._stopping.wait()
            await self._drain()
            for task in (*loops, listening):
                task.cancel()
            self._reviews.close()
        await self._spool.close()

    def stop(self) -> None:
        """Begin to drain."""
        self._stopping.set()

    # -- listeners ----------------------------------------------------------------------------------------------------

    async def _open(self, sockets: dict[str, tuple[str, int]]) -> None:
        loop = asyncio.get_running_loop()
        for room in self._rooms:
            if room.name in sockets:
                factory = room.connections(self._services)
                tls = self._services.server_tls(room.name) if room.tls_first else None
                limit = HANDSHAKE_LIMIT if tls is not None else None
                server = await loop.create_server(
                    factory, sock=bound(*sockets[room.name]), backlog=BACKLOG, ssl=tls, ssl_handshake_timeout=limit
                )
                self._servers.append(server)
                self._open_rooms.append(room)

    async def _drain(self) -> None:
        log.info("draining", sessions=self._services.counters.connections)
        for server in self._servers:
            server.close()
        self._services.drain()
        seconds = self._settings.drain
        drains = [asyncio.create_task(room.drain(seconds)) for room in self._open_rooms]
        if drains:
            done, late = await asyncio.wait(drains, timeout=seconds + 1)
            for task in late:
                task.cancel()
            for task in done:
                if (failure := task.exception()) is not None:
                    log.fault("a room could not drain", failure=failure)
        await self._services.close()
        self._spool.seal(lambda _: None)  # the last events, now and not within a second
        try:
            await asyncio.wait_for(self._shipping.flushed(), SHIP_AT_THE_END)
        except TimeoutError:
            log.warning("audit events stay in the spool until the next start", bytes=self._spool.unshipped)

    # -- bundle -------------------------------------------------------------------------------------------------------

    async def _follow_bundle(self) -> None:
        backoff = Backoff()
        while True:
            try:
                found = await self._client.bundle(self._bundles.etag)
                if found is None:
                    self._bundles.confirm()
                else:
                    self._spool.flush()  # what is queued was judged by the policy before, so it goes before the next one is in force
                    self._bundles.accept(*found)
                self._bundle_trouble("")
                backoff.reset()
                pause = POLL_BUNDLE
            except (ControlPlaneError, BundleError) as error:
                self._bundle_trouble(str(error))
                pause = backoff.pause()
            self._looked.set()
            await asyncio.sleep(pause)

    def _bundle_trouble(self, problem: str) -> None:
        if problem != self._bundle_problem:
            self._bundle_problem = problem
            if problem:
                log.warning("policy and keys cannot be fetched", reason=problem)
            else:
                log.info("policy and keys are fetched again")

    # -- supervisor ---------------------------------------------------------------------------------------------------

    async def _listen_to_supervisor(self) -> None:
        await self._line.listen(self._heard)
        self.stop()  # the supervisor is gone: nobody would start or stop this worker any more

    def _heard(self, message: Message) -> None:
        match message:
            case Ask(number):
                self._line.say(self.status(number))
            case Cancel(_, key):
                for room in self._open_rooms:
                    room.cancel(key)
            case Reload():
                self._reload()
            case Drain():
                self.stop()
            case _:
                pass

    def _reload(self) -> None:
        try:
            settings = load(self._settings.source, tuple(room.name for room in self._rooms))
            self._services.configure(settings)
        except SettingsError as error:
            self._settings_problem = str(error)
            log.fault("edge.yaml is not used; the settings before stay", problem=str(error))
            return
        self._settings, self._settings_problem = settings, ""
        log.info("settings in force", resources=len(settings.resources))

    def status(self, number: int) -> Status:
        """What the supervisor is told about this worker."""
        bundles, spool, client = self._bundles, self._spool, self._client
        starting = "" if self._serving else "it is starting"
        problems = (starting, bundles.policy_stale(), bundles.revocations_stale(), spool.failure)
        warnings = (
            self._bundle_problem,
            self._settings_problem,
            bundles.policy_problem,
            *bundles.resource_problems,
            client.clock_problem,
            self._reviews.problem,
            self._shipping.problem,
        )
        return Status(number, _said(problems), _said(warnings), tuple(self._samples()))

    def _samples(self) -> list[Sample]:
        counts, spool, bundles = self._services.counts, self._spool, self._bundles
        connections = self._services.counters.by_resource()
        return [
            Sample("sallyport_worker_up", 1),
            Sample("sallyport_operations_forwarded", counts.forwarded + repeat.sent()),
            Sample("sallyport_reviews_asked", counts.reviews),
            Sample("sallyport_values_masked", counts.masked),
            Sample("sallyport_agents_identified", counts.identified),
            Sample("sallyport_agents_refused", counts.unidentified),
            Sample("sallyport_events_recorded", self._recorder.events + repeat.sent() + repeat.completed()),
            Sample("sallyport_operations_waiting", self._reviews.waiting),
            Sample("sallyport_spool_bytes", spool.size),
            Sample("sallyport_spool_unshipped_bytes", spool.unshipped),
            Sample("sallyport_spool_writable", 0 if spool.failure else 1),
            Sample("sallyport_bundle_age_seconds", bundles.age if bundles.revision else -1),
            Sample("sallyport_control_plane_reachable", 1 if self._client.reachable else 0),
            Sample("sallyport_clock_skew_seconds", round(self._client.skew, 1)),
            Sample("sallyport_policy_version", bundles.policy_version),
            *(Sample("sallyport_connections", n, {"resource": name}) for name, n in connections.items()),
            *(Sample("sallyport_outcomes", n, {"outcome": name}) for name, n in counts.by_outcome().items()),
            *(Sample("sallyport_operations_refused", n, {"rule": name}) for name, n in counts.refusals.items()),
        ]


def _said(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text for text in texts if text)


async def _forever(loop: Coroutine[Any, Any, None]) -> None:
    """A loop of a worker never ends by itself; if a defect ends it, the worker must not go on half alive."""
    try:
        await loop
    except Exception as error:  # noqa: BLE001 - recorded, then the process ends and is started again
        log.fault("a loop of this worker failed; the worker is started again", failure=error)
        os.kill(os.getpid(), signal.SIGKILL)


def bound(host: str, port: int) -> socket.socket:
    """A TCP socket bound to this address, shared with the other workers by SO_REUSEPORT; not listening yet."""
    family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    one = socket.socket(family, kind, number)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(address)
        one.setblocking(False)
    except OSError:
        one.close()
        raise
    return one
