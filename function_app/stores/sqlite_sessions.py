"""Recordings in SQLite: the exact lines, and what is derived from them.

A line is stored only if it continues its session's hash chain. Lines are kept as the bytes that were hashed.
"""

import hashlib
import sqlite3
from collections.abc import AsyncIterator, Iterable

import msgspec

from function_app.stores import sqlite_permits as permits
from function_app.stores.base import SessionRow, StoreError
from function_app.stores.sqlite_unit import Unit
from gateway_kernel.audit import (
    AuditEvent,
    Decided,
    Finished,
    Outcome,
    Repeated,
    Sending,
    SessionClosed,
    SessionOpened,
    read,
)
from gateway_kernel.chain import GENESIS
from gateway_kernel.model import Instant
from gateway_kernel.verdict import Decision

EXPORT_BATCH = 500
"""Lines read at a time by an export."""
_COUNTERS = ("operations", "allowed", "reviewed", "denied", "failed", "unknown", "rows", "masked")


class SqliteSessions:
    """The recordings on one database."""

    def __init__(self, unit: Unit) -> None:
        self._unit = unit

    async def ingest(self, edge: str, lines: Iterable[bytes]) -> dict[str, int]:
        batch = list(lines)
        expected, refusal = await self._unit.write("ingest", lambda db: _ingest(db, edge, batch))
        if refusal is not None:
            raise refusal
        return expected

    async def get(self, session: str) -> SessionRow | None:
        sql = "select * from session where id = ?"
        row = await self._unit.read(lambda db: db.execute(sql, (session,)).fetchone())
        return None if row is None else _session(row)

    async def listed(
        self, *, agent: str, resource: str, since: Instant, until: Instant, limit: int, after: str
    ) -> list[SessionRow]:
        sql = (
            "select * from session s where (:agent = '' or agent = :agent) and (:resource = '' or resource = :resource) "
            "and started >= :since and started < :until and (:after = '' or "
            "(started, id) < (select started, id from session where id = :after)) "
            "order by started desc, id desc limit :limit"
        )
        values = {"agent": agent, "resource": resource, "since": since, "until": until, "limit": limit, "after": after}
        return await self._unit.read(lambda db: [_session(row) for row in db.execute(sql, values)])

    async def lines(self, session: str, start: int = 0) -> AsyncIterator[bytes]:
        sql = "select bytes from line where session = ? and sequence >= ? order by sequence limit ?"
        while True:
            values = (session, start, EXPORT_BATCH)
            rows = await self._unit.read(lambda db, values=values: db.execute(sql, values).fetchall())
            for row in rows:
                yield row["bytes"]
            if len(rows) < EXPORT_BATCH:
                return
            start += len(rows)


class _Recording:
    """One session's recording while a batch is appended to it."""

    def __init__(self, db: sqlite3.Connection, edge: str, session: str) -> None:
        self.db = db
        self.edge = edge
        self.session = session
        self.row = db.execute("select * from session where id = ?", (session,)).fetchone()
        if self.row is not None and self.row["edge"] != edge:
            raise StoreError("foreign-session", 403, f"Session {session} belongs to another edge.")
        self.next = 0 if self.row is None else int(self.row["events"])
        self.head = GENESIS if self.row is None else str(self.row["head"])
        self.counts = dict.fromkeys(_COUNTERS, 0)
        self.ended: tuple[Instant, str] | None = None

    def append(self, event: AuditEvent, line: bytes) -> None:
        """Append the line, or recognise it; `StoreError` says what is wrong with it."""
        where = f"session {self.session}, event {event.sequence}"
        if event.sequence < self.next:
            self._recognise(event, line, where)
            return
        if event.sequence > self.next:
            raise StoreError("recording-gap", 409, f"{where}: event {self.next} is expected next; send from there.")
        if event.previous != self.head:
            raise StoreError("recording-tampered", 422, f"{where}: it does not follow from the event before it.")
        if self.next == 0:
            self._open(event, where)
        self.db.execute("insert into line values(?, ?, ?)", (self.session, self.next, line))
        self.head = hashlib.sha256(line).hexdigest()
        self.next += 1
        self._derive(event)

    def _recognise(self, event: AuditEvent, line: bytes, where: str) -> None:
        sql = "select bytes from line where session = ? and sequence = ?"
        if self.db.execute(sql, (self.session, event.sequence)).fetchone()["bytes"] != line:
            raise StoreError("recording-conflict", 409, f"{where}: another event is stored under this number.")

    def _open(self, event: AuditEvent, where: str) -> None:
        body = event.body
        if not isinstance(body, SessionOpened):
            raise StoreError("recording-unopened", 422, f"{where}: a recording begins with session_opened.")
        if body.edge != self.edge:
            raise StoreError(
                "foreign-session", 403, f"{where}: it speaks for edge {body.edge!r}, but {self.edge!r} sent it."
            )
        self.db.execute(
            "insert into session(id, edge, agent, resource, protocol, mode, started, events, head) values(?, ?, ?, ?, ?, ?, ?, 0, '')",
            (self.session, self.edge, body.agent.name, body.resource.name, body.resource.protocol, body.mode, event.at),
        )

    def _derive(self, event: AuditEvent) -> None:
        match event.body:
            case Sending(operation=operation, verdict=verdict) if operation is not None and verdict is not None:
                self.counts["operations"] += 1
                self.counts["denied" if verdict.decision is Decision.DENY else "allowed"] += 1
            case Repeated():
                self.counts["operations"] += 1
                self.counts["allowed"] += 1
            case Decided() as decided:
                self._decided(decided)
            case Finished() as finished:
                self._finished(finished, event.at)
            case SessionClosed(reason=reason):
                self.ended = (event.at, reason)
            case _:
                pass

    def _decided(self, decided: Decided) -> None:
        self.counts["operations"] += 1
        if decided.verdict.decision is Decision.DENY:
            self.counts["denied"] += 1
        elif decided.grant:
            self.counts["reviewed"] += 1
            self.db.execute(
                "insert or replace into reviewed_operation values(?, ?, ?, ?)",
                (self.session, decided.operation.id, decided.review, decided.grant),
            )
        else:
            self.counts["allowed"] += 1

    def _finished(self, finished: Finished, at: Instant) -> None:
        if finished.outcome in (Outcome.FAILED, Outcome.UNKNOWN):
            self.counts[finished.outcome.value] += 1
        if finished.response is not None:
            self.counts["rows"] += finished.response.rows
            self.counts["masked"] += sum(finished.response.masked.values())
        reviewed = self.db.execute(
            "select review, permit from reviewed_operation where session = ? and operation = ?",
            (self.session, finished.id),
        ).fetchone()
        if reviewed is not None:
            permits.finish(
                self.db, self.edge, reviewed["review"], reviewed["permit"], finished.id, finished.outcome, at
            )

    def store(self) -> None:
        """Write what was derived from the appended lines."""
        added = ", ".join(f"{name} = {name} + :{name}" for name in _COUNTERS)  # names of ours, not input
        self.db.execute(
            f"update session set events = :next, head = :head, {added} where id = :session",  # noqa: S608
            {"next": self.next, "head": self.head, "session": self.session, **self.counts},
        )
        if self.ended is not None:
            self.db.execute("update session set ended = ?, reason = ? where id = ?", (*self.ended, self.session))


def _ingest(db: sqlite3.Connection, edge: str, batch: list[bytes]) -> tuple[dict[str, int], StoreError | None]:
    """Append the batch; return the next sequences and the first refusal. A session that was refused gets no further lines."""
    recordings: dict[str, _Recording] = {}
    broken: set[str] = set()
    refusal: StoreError | None = None
    for number, line in enumerate(batch, 1):
        try:
            event = read(line)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            refusal = refusal or StoreError(
                "recording-unreadable", 422, f"line {number} is not an audit event: {error}"
            )
            break  # nobody can tell whose line it was, so nothing behind it is taken
        if event.session in broken:
            continue
        try:
            if event.session not in recordings:
                recordings[event.session] = _Recording(db, edge, event.session)
            recordings[event.session].append(event, line)
        except StoreError as error:
            refusal = refusal or error
            broken.add(event.session)
    for recording in recordings.values():
        if recording.next:
            recording.store()
    return {session: recording.next for session, recording in recordings.items()}, refusal


def _session(row: sqlite3.Row) -> SessionRow:
    return SessionRow(**{key: row[key] for key in SessionRow.__struct_fields__})
