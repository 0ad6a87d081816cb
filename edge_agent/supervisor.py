"""The process that is started and stopped: it holds the ports, keeps the workers alive, and answers for all of them.

Workers die and are started again with growing pauses; a reload reaches each without dropping a connection; SIGTERM
drains. It sees no byte of any agent and opens no spool.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from pathlib import Path

import msgspec

from edge_agent.control_client import Backoff
from edge_agent.health import Health
from edge_agent.hub import Ask, Cancel, Drain, Line, Message, Ready, Reload, Status
from edge_agent.logs import Log
from edge_agent.metrics import Sample
from edge_agent.process import EXIT_SETTINGS
from edge_agent.settings import Settings, SettingsError, load
from edge_agent.worker import SHIP_AT_THE_END, bound

log = Log(__name__)

STEADY = 30.0  # seconds after which a worker counts as having started well
WATCH_EVERY = 1.0  # seconds between two looks at edge.yaml
STATUS_LIMIT = 2.0  # seconds for a worker's answer
LEAVE_LIMIT = 5.0  # seconds beyond `drain` until a worker that does not stop is killed


class _Worker:
    """One worker as the supervisor sees it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: Process | None = None
        self.line: Line | None = None
        self.ready = asyncio.Event()
        self.restarts = 0
        self.answers: dict[int, asyncio.Future[Status]] = {}


class Supervisor:
    """Runs the edge agent that `settings` describe."""

    def __init__(self, settings: Settings, protocols: tuple[str, ...]) -> None:
        self._settings = settings
        self._protocols = protocols
        self._reserved: dict[str, socket.socket] = {}
        self._workers = [_Worker(number) for number in range(settings.workers)]
        self._stopping = asyncio.Event()
        self._failed = asyncio.Event()
        self._asked = 0
        self._settings_problem = ""
        self._health = Health(self.status)

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit status."""
        try:
            self._reserve()
            health = await self._health.listen(self._settings.health)
        except OSError as error:
            sys.stderr.write(f"{self._settings.source}: an address cannot be used: {error.strerror or error}\n")
            self._release()
            return 1
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        keepers = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
        watch = asyncio.create_task(self._watch_file())
        if await self._all_ready():
            self._announce(health)
            await self._stopping.wait()
        watch.cancel()
        self._stopping.set()
        await self._stop_workers()
        await asyncio.gather(*keepers)
        await self._health.close()
        self._release()
        return 1 if self._failed.is_set() else 0

    # -- addresses ----------------------------------------------------------------------------------------------------

    def _reserve(self) -> None:
        """Bind every address without listening: ports that the system chooses stay ours while workers come and go."""
        for listener in self._settings.listeners:
            self._reserved[listener.protocol] = bound(listener.address.host, listener.address.port)

    def _addresses(self) -> dict[str, tuple[str, int]]:
        return {protocol: each.getsockname()[:2] for protocol, each in self._reserved.items()}

    def _release(self) -> None:
        for each in self._reserved.values():
            each.close()

    def _announce(self, health: str) -> None:
        bound_to = {
            protocol: f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            for protocol, (host, port) in self._addresses().items()
        }
        said = {"listeners": bound_to, "health": health, "workers": len(self._workers), "pid": os.getpid()}
        sys.stdout.write(f"ready {msgspec.json.encode(said).decode()}\n")
        sys.stdout.flush()
        log.info("ready", **said)

    # -- workers ------------------------------------------------------------------------------------------------------

    async def _keep(self, worker: _Worker) -> None:
        """Keep one worker alive until the edge stops."""
        loop = asyncio.get_running_loop()
        backoff = Backoff()
        while not self._stopping.is_set():
            started = loop.time()
            status = await self._run_once(worker)
            if self._stopping.is_set():
                return
            if status == EXIT_SETTINGS and not worker.restarts and not worker.ready.is_set():
                self._failed.set()
                return
            if loop.time() - started >= STEADY:
                backoff.reset()
            pause = backoff.pause()
            log.fault("a worker died; it is started again", worker=worker.number, status=status, pause=round(pause, 2))
            worker.restarts += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _run_once(self, worker: _Worker) -> int:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            worker.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "edge_agent.process"),
                *("--config", str(self._settings.source)),
                *("--number", str(worker.number)),
                *("--hub", str(theirs.fileno())),
                *("--listen", msgspec.json.encode(self._addresses()).decode()),
                pass_fds=(theirs.fileno(),),
            )
        worker.line = await Line.over(ours)
        listening = asyncio.create_task(worker.line.listen(lambda message: self._heard(worker, message)))
        if self._stopping.is_set():
            worker.line.say(Drain())
        status = await worker.process.wait()
        listening.cancel()
        worker.line.close()
        worker.line = worker.process = None
        for answer in worker.answers.values():
            answer.cancel()
        worker.answers.clear()
        return status

    def _heard(self, worker: _Worker, message: Message) -> None:
        match message:
            case Ready():
                worker.ready.set()
            case Cancel(replica, _):
                if replica < len(self._workers) and (line := self._workers[replica].line) is not None:
                    line.say(message)
            case Status(number):
                answer = worker.answers.pop(number, None)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case _:
                pass

    async def _all_ready(self) -> bool:
        events = [self._stopping, self._failed]
        ready = asyncio.create_task(self._every_worker_ready())
        ends = [ready, *(asyncio.create_task(_happened(event)) for event in events)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        succeeded = ready.done() and not self._failed.is_set()
        for each in ends:
            each.cancel()
        await asyncio.gather(*ends, return_exceptions=True)
        return succeeded

    async def _every_worker_ready(self) -> None:
        for worker in self._workers:
            await worker.ready.wait()

    async def _stop_workers(self) -> None:
        for worker in self._workers:
            if worker.line is not None:
                worker.line.say(Drain())
        running = [worker.process for worker in self._workers if worker.process is not None]
        if not running:
            return
        limit = self._settings.drain + SHIP_AT_THE_END + LEAVE_LIMIT
        _, late = await asyncio.wait([asyncio.create_task(each.wait()) for each in running], timeout=limit)
        if late:
            for process in running:
                if process.returncode is None:
                    log.fault("a worker did not stop in time; it is killed", pid=process.pid)
                    process.kill()

    # -- settings -----------------------------------------------------------------------------------------------------

    async def _watch_file(self) -> None:
        """Reload when edge.yaml changes."""
        seen = _stamp(self._settings.source)
        while True:
            await asyncio.sleep(WATCH_EVERY)
            stamp = _stamp(self._settings.source)
            if stamp != seen:
                seen = stamp
                self._reload()

    def _reload(self) -> None:
        try:
            settings = load(self._settings.source, self._protocols)
        except SettingsError as error:
            self._settings_problem = str(error)
            log.fault("edge.yaml is not used; the settings before stay", problem=str(error))
            return
        self._settings_problem = ""
        for name in ("listeners", "workers", "health", "data_dir", "control_plane", "edge", "durability"):
            if getattr(settings, name) != getattr(self._settings, name):
                log.warning("this setting takes effect at the next start", setting=name)
        for worker in self._workers:
            if worker.line is not None:
                worker.line.say(Reload())

    # -- health -------------------------------------------------------------------------------------------------------

    async def status(self) -> dict[str, Status]:
        """How each worker is; one that does not answer has a problem. The supervisor's own word stands under `supervisor`."""
        answers = await asyncio.gather(*(self._ask(worker) for worker in self._workers))
        statuses = {str(worker.number): answer for worker, answer in zip(self._workers, answers, strict=True)}
        warnings = (self._settings_problem,) if self._settings_problem else ()
        problems = ("it is stopping",) if self._stopping.is_set() else ()
        restarts = Sample("sallyport_worker_restarts", sum(worker.restarts for worker in self._workers))
        statuses["supervisor"] = Status(0, problems, warnings, (restarts,))
        return statuses

    async def _ask(self, worker: _Worker) -> Status:
        down = Status(0, ("the worker does not answer",), (), (Sample("sallyport_worker_up", 0),))
        if worker.line is None:
            return down
        self._asked += 1
        number = self._asked
        answer = worker.answers[number] = asyncio.get_running_loop().create_future()
        worker.line.say(Ask(number))
        try:
            return await asyncio.wait_for(answer, STATUS_LIMIT)
        except (TimeoutError, asyncio.CancelledError):
            worker.answers.pop(number, None)
            return down


async def _happened(event: asyncio.Event) -> None:
    await event.wait()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
