"""The store on one machine: SQLite in WAL mode, one writer thread that commits in groups, readers beside it.

`synchronous=FULL` makes a commit survive the machine; grouping makes its 4 ms bearable. Each write is a savepoint in the group's
transaction: one that raises undoes itself only. The event loop never waits for the disk. One process owns the file for writing.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, cast

from function_app.failpoints import reach_write
from function_app.stores.sqlite_registry import SqliteRegistry
from function_app.stores.sqlite_reviews import SqliteReviews
from function_app.stores.sqlite_schema import SCHEMA
from function_app.stores.sqlite_sessions import SqliteSessions
from function_app.stores.sqlite_unit import Sealer

LARGEST_GROUP = 64
"""Writes in one commit: the longest that the first of them waits for the others."""
READERS = 4


class _Write(NamedTuple):
    name: str
    work: Callable[[sqlite3.Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Database:
    """A SQLite file: `write` through the one writer thread, `read` in a few reader threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._writes: queue.SimpleQueue[_Write | None] = queue.SimpleQueue()
        self._local = threading.local()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        connection = self._connect()
        connection.executescript(SCHEMA)
        path.chmod(0o600)
        self._closed = False
        self._thread = threading.Thread(target=self._run, args=(connection,), name="store-writer", daemon=True)
        self._thread.start()

    async def write[T](self, name: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction of the writer; return when it is durable. `name` names its failpoints."""
        if self._closed:
            raise sqlite3.ProgrammingError("the store is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._writes.put(_Write(name, work, loop, future))
        return cast("T", await future)

    async def read[T](self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a reader's connection; it sees everything committed before."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    def close(self) -> None:
        """Finish what was asked and close. Harmless if repeated."""
        if self._closed:
            return
        self._closed = True
        self._writes.put(None)
        self._thread.join(timeout=10)
        self._readers.shutdown(wait=True, cancel_futures=True)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.executescript(
            "pragma busy_timeout=5000; pragma journal_mode=wal; pragma synchronous=full; pragma foreign_keys=on;"
        )
        return connection

    def _read[T](self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            connection.execute("pragma query_only=on")
        return work(connection)

    def _run(self, connection: sqlite3.Connection) -> None:
        while (first := self._writes.get()) is not None:
            group, last = [first], False
            while len(group) < LARGEST_GROUP and not last:
                try:
                    following = self._writes.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    last = True
                else:
                    group.append(following)
            self._commit(connection, group)
            if last:
                break
        connection.close()

    def _commit(self, connection: sqlite3.Connection, group: list[_Write]) -> None:
        """One transaction for the group; answers go out only after the commit."""
        answers: list[tuple[_Write, Any, BaseException | None]]
        try:
            connection.execute("begin immediate")
            answers = [self._attempt(connection, write) for write in group]
            for write in group:
                reach_write(write.name, "before")
            connection.execute("commit")
        except sqlite3.Error as error:  # the disk is full or failing: nobody's write happened
            if connection.in_transaction:
                connection.execute("rollback")
            answers = [(write, None, error) for write in group]
        for write in group:
            reach_write(write.name, "after")
        for write, value, error in answers:
            write.loop.call_soon_threadsafe(_resolve, write.future, value, error)

    @staticmethod
    def _attempt(connection: sqlite3.Connection, write: _Write) -> tuple[_Write, Any, BaseException | None]:
        connection.execute("savepoint work")
        try:
            value = write.work(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the asker's, and is raised there
            connection.execute("rollback to work")
            connection.execute("release work")
            return write, None, error
        connection.execute("release work")
        return write, value, None


class SqliteStore:
    """The store port on one SQLite file."""

    def __init__(self, path: Path, sealer: Sealer) -> None:
        self._database = Database(path)
        self.reviews = SqliteReviews(self._database, sealer)
        self.sessions = SqliteSessions(self._database)
        self.registry = SqliteRegistry(self._database)

    async def ready(self) -> str:
        """ "" if the store answers, else the reason why not."""
        try:
            await self._database.read(lambda connection: connection.execute("select 1").fetchone())
        except sqlite3.Error as error:
            return f"the store does not answer: {error}"
        return ""

    def close(self) -> None:
        self._database.close()


def _resolve(future: asyncio.Future[Any], value: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
