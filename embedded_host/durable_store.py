"""The durable state of orchestrations and entities: one SQLite file of protobuf bytes.

    instance  one row per orchestration: its header
    history   append only: what replay needs; a new generation for each continue_as_new or rewind
    inbox     what arrived and is not history yet: events of an instance, operations of an entity
    entity    one row per entity: its state and its lock
    signal    entity operations with a time still to come
    lock      critical sections that wait for their entities
    schedule  when each timer function is due next

Outstanding activities, timers and sub-orchestrations are not stored: they are what history asked for and neither
history nor inbox answers. Writes are collected on the event loop (`put_*`) and committed together in a thread
(`commit`): WAL with synchronous=FULL, so a commit has reached the disk when it returns (https://sqlite.org/wal.html).
"""

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import durabletask.internal.orchestrator_service_pb2 as pb
from durabletask.testing.in_memory_backend import EntityState, OrchestrationInstance, PendingLockRequest

SCHEMA_VERSION = 1
SCHEMA = """
create table instance(id text primary key, name text not null, version text, status int not null, input text,
  output text, custom text, created real not null, updated real not null, completed real, failure blob, tags text,
  parent text, parent_task int, start real, generation int not null) strict, without rowid;
create table history(id text not null, generation int not null, n int not null, event blob not null,
  primary key(id, generation, n)) strict, without rowid;
create table inbox(id text not null, n int not null, event blob not null, primary key(id, n)) strict, without rowid;
create table entity(id text primary key, state text, modified real not null, section text, owner text)
  strict, without rowid;
create table signal(n int primary key, entity text not null, at real not null, event blob not null) strict;
create table lock(section text primary key, parent text not null, entities text not null, n int not null)
  strict, without rowid;
create table schedule(name text primary key, last real, next real not null) strict, without rowid;
"""
PUT_INSTANCE = "insert or replace into instance values(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
PUT_ENTITY = "insert or replace into entity values(?,?,?,?,?)"

type Statement = tuple[str, tuple[Any, ...]]


@dataclass(slots=True)
class _Saved:
    """What the file holds of one instance or entity: enough to write only what is new."""

    generation: int = 0
    history: list[pb.HistoryEvent] = field(default_factory=list[pb.HistoryEvent])
    inbox: dict[int, tuple[int, pb.HistoryEvent]] = field(default_factory=dict[int, tuple[int, pb.HistoryEvent]])
    next_inbox: int = 0


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """One orchestration as it was committed; `inbox` is already in its pending events."""

    instance: OrchestrationInstance
    parent: tuple[str, int] | None
    start: datetime | None


@dataclass(frozen=True, slots=True)
class StoredEntity:
    """One entity as it was committed; `owner` is the orchestration that holds its lock."""

    entity: EntityState
    owner: str | None


class DurableStore:
    """Not safe for two processes: the host locks its directory."""

    def __init__(self, path: Path) -> None:
        """Opens or creates the file; raises sqlite3.Error, or ValueError for a file of a later release."""
        path.touch(mode=0o600)  # the log files take the mode of the file
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.executescript("pragma journal_mode=wal; pragma synchronous=full; pragma busy_timeout=5000;")
        (version,) = self._db.execute("pragma user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise ValueError(f"{path} has schema version {version}; this release reads {SCHEMA_VERSION}")
        if version == 0:
            self._db.executescript(f"begin; {SCHEMA} pragma user_version={SCHEMA_VERSION}; commit;")
        self._saved: dict[str, _Saved] = {}
        self._batch: list[Statement] = []

    # ---- collecting a commit, on the event loop

    def put_instance(self, stored: StoredInstance) -> None:
        """Write the header, the events that history gained, and what changed in the inbox."""
        one, saved = stored.instance, self._saved.setdefault(stored.instance.instance_id, _Saved())
        key, kept = one.instance_id, len(saved.history)
        if _replaced(one.history, saved.history):
            self._batch.append(("delete from history where id=?", (key,)))
            saved.generation, saved.history, kept = saved.generation + 1, [], 0
        for n, event in enumerate(one.history[kept:], kept):
            self._batch.append(("insert into history values(?,?,?,?)", (key, saved.generation, n, _bytes(event))))
            saved.history.append(event)
        arrived = [e for e in one.dispatched_events if not e.HasField("orchestratorStarted")] + one.pending_events
        self._put_inbox(key, saved, arrived)
        parent, task = stored.parent or (None, None)
        failure = one.failure_details.SerializeToString() if one.failure_details else None
        times = one.created_at.timestamp(), one.last_updated_at.timestamp(), _seconds(one.completed_at)
        tags = json.dumps(one.tags) if one.tags else None
        head = (key, one.name, one.version, int(one.status), one.input, one.output, one.custom_status, *times)
        tail = (failure, tags, parent, task, _seconds(stored.start), saved.generation)
        self._batch.append((PUT_INSTANCE, head + tail))

    def drop(self, key: str) -> None:
        """Forget an instance or an entity altogether."""
        self._saved.pop(key, None)
        for table in ("instance", "history", "inbox", "entity"):
            self._batch.append((f"delete from {table} where id=?", (key,)))  # noqa: S608 (our own names)

    def put_entity(self, stored: StoredEntity) -> None:
        """Write an entity's state, its lock, and what changed in its queue of operations."""
        one = stored.entity
        saved = self._saved.setdefault(one.instance_id, _Saved())
        self._put_inbox(one.instance_id, saved, [*one.dispatched_operations, *one.pending_operations])
        modified = one.last_modified_at.timestamp()
        row = (one.instance_id, one.serialized_state, modified, one.locked_by, stored.owner)
        self._batch.append((PUT_ENTITY, row))

    def _put_inbox(self, key: str, saved: _Saved, events: list[pb.HistoryEvent]) -> None:
        now = {id(event) for event in events}
        for gone in [identity for identity in saved.inbox if identity not in now]:
            n, _ = saved.inbox.pop(gone)
            self._batch.append(("delete from inbox where id=? and n=?", (key, n)))
        for event in events:
            if id(event) not in saved.inbox:  # the saved reference keeps the identity from being reused
                saved.inbox[id(event)] = saved.next_inbox, event
                self._batch.append(("insert into inbox values(?,?,?)", (key, saved.next_inbox, _bytes(event))))
                saved.next_inbox += 1

    def put_signal(self, number: int, entity_id: str, when: datetime, event: pb.HistoryEvent) -> None:
        """Write an entity operation that waits for its time."""
        self._batch.append(("insert into signal values(?,?,?,?)", (number, entity_id, when.timestamp(), _bytes(event))))

    def drop_signal(self, number: int) -> None:
        """Its time came."""
        self._batch.append(("delete from signal where n=?", (number,)))

    def put_locks(self, waiting: list[PendingLockRequest]) -> None:
        """Write the critical sections that wait, in their order, in place of the former."""
        self._batch.append(("delete from lock", ()))
        for n, one in enumerate(waiting):
            row = (one.critical_section_id, one.parent_instance_id, json.dumps(one.lock_set), n)
            self._batch.append(("insert into lock values(?,?,?,?)", row))

    def put_schedule(self, name: str, last: datetime | None, due: datetime) -> None:
        """Write when a timer function ran last and is due next."""
        self._batch.append(("insert or replace into schedule values(?,?,?)", (name, _seconds(last), due.timestamp())))

    def take(self) -> list[Statement]:
        """The statements collected so far; the next commit starts empty."""
        batch, self._batch = self._batch, []
        return batch

    # ---- the writer's thread

    def commit(self, batch: list[Statement]) -> None:
        """Everything or nothing; on the disk when this returns. Raises sqlite3.Error."""
        if not batch:
            return
        self._db.execute("begin immediate")
        try:
            for sql, row in batch:
                self._db.execute(sql, row)
            self._db.execute("commit")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("rollback")
            raise

    def close(self) -> None:
        """Fold the log into the file and close it."""
        self._db.close()

    # ---- after a restart

    def instances(self) -> Iterator[StoredInstance]:
        """Every orchestration, its pending events restored."""
        for row in self._db.execute("select * from instance").fetchall():
            key, name, version, status, given, output, custom, created, updated, completed, failure, tags = row[:12]
            parent, task, start, generation = row[12:]
            one = OrchestrationInstance(
                key, name, status, version, given, output, custom, _time(created), _time(updated)
            )
            one.completed_at = _time(completed) if completed is not None else None
            one.failure_details = pb.TaskFailureDetails.FromString(failure) if failure is not None else None
            one.tags = json.loads(tags) if tags else None
            saved = self._saved[key] = _Saved(generation)
            sql = "select event from history where id=? and generation=? order by n"
            one.history = [pb.HistoryEvent.FromString(b) for (b,) in self._db.execute(sql, (key, generation))]
            saved.history = list(one.history)
            one.pending_events = self._inbox(key, saved)
            link = (parent, task) if parent is not None else None
            yield StoredInstance(one, link, _time(start) if start is not None else None)

    def entities(self) -> Iterator[StoredEntity]:
        """Every entity, its queue of operations restored."""
        for key, state, modified, section, owner in self._db.execute("select * from entity").fetchall():
            one = EntityState(key, state, _time(modified), section)
            one.pending_operations = self._inbox(key, self._saved.setdefault(key, _Saved()))
            yield StoredEntity(one, owner)

    def _inbox(self, key: str, saved: _Saved) -> list[pb.HistoryEvent]:
        events: list[pb.HistoryEvent] = []
        for n, raw in self._db.execute("select n, event from inbox where id=? order by n", (key,)):
            events.append(pb.HistoryEvent.FromString(raw))
            saved.inbox[id(events[-1])] = n, events[-1]
            saved.next_inbox = n + 1
        return events

    def signals(self) -> Iterator[tuple[int, str, datetime, pb.HistoryEvent]]:
        """The entity operations that wait for their time."""
        for number, entity_id, when, raw in self._db.execute("select * from signal").fetchall():
            yield number, entity_id, _time(when), pb.HistoryEvent.FromString(raw)

    def locks(self) -> list[PendingLockRequest]:
        """The critical sections that wait, in their order."""
        rows = self._db.execute("select section, parent, entities from lock order by n").fetchall()
        return [PendingLockRequest(section, parent, json.loads(entities)) for section, parent, entities in rows]

    def schedules(self) -> dict[str, tuple[datetime | None, datetime]]:
        """For each timer function: when it ran last, and when it is due."""
        rows = self._db.execute("select name, last, next from schedule").fetchall()
        return {name: (_time(last) if last is not None else None, _time(due)) for name, last, due in rows}


def _replaced(history: list[pb.HistoryEvent], saved: list[pb.HistoryEvent]) -> bool:
    """Whether `history` is another generation than the saved one; events are never changed, so the first tells."""
    return bool(saved) and (len(history) < len(saved) or history[0] is not saved[0])


def _bytes(event: pb.HistoryEvent) -> bytes:
    if not event.timestamp.seconds:
        event.timestamp.GetCurrentTime()  # the sidecar leaves most of them at the epoch
    return event.SerializeToString()


def _seconds(when: datetime | None) -> float | None:
    return None if when is None else when.timestamp()


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
