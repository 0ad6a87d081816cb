"""The durable sidecar: every step is on disk before anybody hears of it.

A step (a client's call, a worker's answer, an alarm) changes memory at once and marks what it touched. The writer then
takes everything touched since its last commit, commits it as one transaction, and only after that answers the
callers and hands out the work. So a kill at any moment leaves a state that some caller was never told of, never the
other way round; and since activities whose completion was not committed are asked again, an activity runs at least once.

A disk that refuses a commit ends the backend: memory is then ahead of the disk, and going on would answer for state
that a restart loses. `failed` carries the error.
"""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, override

import durabletask.internal.orchestrator_service_pb2 as pb
import grpc
from durabletask.internal import helpers
from durabletask.testing.in_memory_backend import OrchestrationInstance

from embedded_host.alarm import utcnow
from embedded_host.durable_store import DurableStore, StoredEntity, StoredInstance
from embedded_host.refused import CALL, Refused
from embedded_host.sidecar import Sidecar
from embedded_host.versions import Versions


class DurableBackend(Sidecar):
    """Sidecar plus disk. Use it on one event loop: `open`, `call`, the `complete_*` methods, `close`."""

    def __init__(self, path: Path, versions: Versions, on_work: Callable[[pb.WorkItem], None]) -> None:
        """`on_work` gets each work item, on the loop, after the commit that asked for it."""
        super().__init__(versions)
        self._store = DurableStore(path)
        self._on_work = on_work
        self._dirty: set[str] = set()
        self._stored_signals: set[int] = set()
        self._stored_locks: list[str] = []
        self._wake = asyncio.Event()
        self._next_commit: asyncio.Future[None] | None = None  # of changes that the writer has not taken yet
        self._this_commit: asyncio.Future[None] | None = None  # of changes on their way to the disk
        self._thread = ThreadPoolExecutor(1, "durable-store")
        self._writer: asyncio.Task[None] | None = None
        self._watchers: dict[str, asyncio.Event] = {}
        self._dispatching = True
        self.commits = 0  # transactions written since the start
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @override
    def _touched(self, key: str) -> None:
        self._dirty.add(key)
        self._changed()

    def _changed(self) -> None:
        if self._next_commit is None:
            self._next_commit = asyncio.get_running_loop().create_future()
        self._wake.set()

    # ---- life

    def open(self) -> None:
        """Take up what the file holds: whatever was asked for and not answered is asked for again."""
        for stored in self._store.instances():
            self._restore(stored)
        for stored in self._store.entities():
            self._entities[stored.entity.instance_id] = stored.entity
            stored.entity.completion_token = self._token()
            if stored.entity.locked_by and stored.owner:
                self._lock_owners[stored.entity.locked_by] = stored.owner
            if stored.entity.pending_operations:
                self._enqueue_entity(stored.entity.instance_id)
        for number, entity_id, when, event in self._store.signals():
            self._stored_signals.add(number)
            self.delay_signal(number, entity_id, when, event)
        self._pending_lock_requests = self._store.locks()
        self._stored_locks = [one.critical_section_id for one in self._pending_lock_requests]
        self._dirty.clear()  # all of it is on the disk already
        self._changed()
        self._writer = asyncio.create_task(self._write(), name="durable-writer")

    def _restore(self, stored: StoredInstance) -> None:
        one = stored.instance
        self._instances[one.instance_id] = one
        one.completion_token = self._token()
        if stored.parent is not None:
            self._parents[one.instance_id] = stored.parent
        if self.is_terminal(one):
            return
        if stored.start is not None and stored.start > utcnow():
            self._wait_to_start(one.instance_id, stored.start)
            return
        self.reopen(one)
        if one.history and not one.history[-1].HasField("orchestratorCompleted") and not one.pending_events:
            one.pending_events.append(helpers.new_orchestrator_started_event(utcnow()))  # a rewind that had not run
        if one.pending_events:
            self._enqueue_orchestration(one.instance_id)

    def _token(self) -> int:
        token, self._next_completion_token = self._next_completion_token, self._next_completion_token + 1
        return token

    def stop_dispatching(self) -> None:
        """Hand out no more work; what is asked for from now on waits on the disk for the next start."""
        self._dispatching = False

    async def close(self) -> None:
        """Commit what is pending and close the file; after a failure, close it as the last commit left it."""
        self.stop_dispatching()
        if self._writer is not None:
            if not self.failed.done():
                with contextlib.suppress(Refused):  # the disk failed just now: `failed` says so
                    await self.sealed()
            self._writer.cancel()
        for instance_id in list(self._instances):
            self._close(instance_id)
        for _, alarm in self._starts.values():
            alarm.cancel()
        for *_, alarm in self._signals.values():
            alarm.cancel()
        self._thread.shutdown()
        self._store.close()

    # ---- for callers

    async def call(self, name: str, request: Any) -> Any:
        """One request of the sidecar's service by its method name; returns when what it saw or did is on the disk.

        Raises Refused, with UNAVAILABLE after the disk failed.
        """
        self._check()
        reply = getattr(self, name)(request, CALL)
        await self.sealed()
        return reply

    def _check(self) -> None:
        if self.failed.done():
            raise Refused(grpc.StatusCode.UNAVAILABLE, "the durable store failed; see the host's log")

    async def sealed(self) -> None:
        """Return when everything changed so far is on the disk. Raises Refused where it never will be."""
        commit = self._next_commit or self._this_commit
        if commit is not None:
            await asyncio.wait([commit])
        self._check()

    async def wait_until(
        self, instance_id: str, settled: Callable[[OrchestrationInstance], bool], limit: float
    ) -> bool:
        """Whether the instance is `settled`, on the disk, within `limit` seconds; False at once if it is unknown."""
        try:
            async with asyncio.timeout(limit):
                while (one := self._instances.get(instance_id)) is not None and not settled(one):
                    await self._watchers.setdefault(instance_id, asyncio.Event()).wait()
                await self.sealed()
        except TimeoutError:
            return False
        return one is not None

    def put_schedule(self, name: str, last: datetime | None, due: datetime) -> None:
        """Remember when a timer function ran and is due; durable with the next commit."""
        self._store.put_schedule(name, last, due)
        self._changed()

    def schedules(self) -> dict[str, tuple[datetime | None, datetime]]:
        """What `put_schedule` remembered before this start."""
        return self._store.schedules()

    # ---- the writer

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._this_commit, self._next_commit = self._next_commit, None
            touched, queued = self._collect(), self.take_queued()
            try:
                await loop.run_in_executor(self._thread, self._store.commit, self._store.take())
            except sqlite3.Error as error:
                self._fail(error)
                return
            self.commits += 1
            if self._this_commit is not None:
                self._this_commit.set_result(None)
                self._this_commit = None
            for key in touched:
                if watcher := self._watchers.pop(key, None):
                    watcher.set()
            if self._dispatching:
                for item in self.work(queued):
                    self._on_work(item)

    def _fail(self, error: sqlite3.Error) -> None:
        self._dispatching = False
        self.failed.set_exception(error)
        self.failed.exception()  # retrieved: whoever awaits the future still gets it
        for commit in (self._this_commit, self._next_commit):
            if commit is not None:
                commit.set_result(None)  # waiters look at `failed`

    def _collect(self) -> set[str]:
        """Put everything touched since the last commit into the next one."""
        touched, self._dirty = self._dirty, set()
        for key in touched:
            if (entity := self._entities.get(key)) is not None:
                owner = self._lock_owners.get(entity.locked_by) if entity.locked_by else None
                self._store.put_entity(StoredEntity(entity, owner))
            elif (one := self._instances.get(key)) is not None:
                start = self._starts.get(key)
                self._store.put_instance(StoredInstance(one, self._parents.get(key), start[0] if start else None))
            else:
                self._store.drop(key)
        for number in self._stored_signals - self._signals.keys():
            self._store.drop_signal(number)
        for number in self._signals.keys() - self._stored_signals:
            self._store.put_signal(number, *self._signals[number][:3])
        self._stored_signals = set(self._signals)
        locks = [one.critical_section_id for one in self._pending_lock_requests]
        if locks != self._stored_locks:
            self._store.put_locks(self._pending_lock_requests)
            self._stored_locks = locks
        return touched
