"""The embedded database: one writing thread, a few readers that never wait for it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from engine.db.errors import DatabaseNotReady
from engine.db.lock import ProcessLock
from engine.db.refusals import original
from engine.log import get_logger

log = get_logger(__name__)

T = TypeVar("T")

READERS = 8
POOL_SECONDS = 5.0
"""Seconds that a read waits for one of them."""

# The writer retries by itself and must see its deadlines, so SQLite's own wait is short there.
WRITER_WAIT_MS = 200
READER_WAIT_MS = 5000

_PASSING_CODES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)


class SqliteLink:
    """An open SQLite file in WAL mode; made by `open_sqlite`."""

    dialect = "sqlite"

    def __init__(self, path: Path, lock: ProcessLock) -> None:
        self._lock = lock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"sqlite-{path.stem}")
        self._writing = create_engine(
            URL.create("sqlite+pysqlite", database=str(path)),
            pool_size=1,
            max_overflow=0,
            hide_parameters=True,
        )
        event.listen(self._writing, "connect", _prepare_writer)
        event.listen(self._writing, "begin", _begin_immediate)
        self._writer: Connection | None = None
        self._reading = create_async_engine(
            URL.create("sqlite+aiosqlite", database=str(path)),
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_size=READERS,
            max_overflow=0,
            pool_timeout=POOL_SECONDS,
            hide_parameters=True,
        )
        event.listen(self._reading.sync_engine, "connect", _prepare_reader)
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix=f"look-{path.stem}")
        self._looking = create_engine(
            URL.create("sqlite+pysqlite", database=str(path)),
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
            pool_size=READERS,
            max_overflow=0,
            pool_timeout=POOL_SECONDS,
            hide_parameters=True,
        )
        event.listen(self._looking, "connect", _prepare_reader)

    async def run(self, work: Callable[[Connection], T], *, limit: float | None = None) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        async with self._reading.connect() as connection:
            yield connection

    async def look(self, work: Callable[[Connection], T]) -> T:
        # The asynchronous driver goes to its thread and back for every cursor, statement and fetch.
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._look, work)

    def passing(self, error: Exception, *, reading: bool = False) -> bool:
        code = getattr(original(error), "sqlite_errorcode", None)
        if reading and code == sqlite3.SQLITE_READONLY:
            return False  # whoever reads has tried to write
        # The low byte is the primary code, the rest says more about it.
        return code is not None and code & 0xFF in _PASSING_CODES

    async def close(self) -> None:
        await self._reading.dispose()
        # In the database's thread, so after the work that is under way there.
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()
        self._threads.shutdown()
        self._looking.dispose()
        self._lock.release()

    def _run(self, work: Callable[[Connection], T]) -> T:
        # Kept from one piece of work to the next: to take it from a pool costs as much as a transaction.
        if self._writer is None:
            self._writer = self._writing.connect()
        try:
            return work(self._writer)
        finally:
            if self._writer.in_transaction():
                self._writer.rollback()

    def _look(self, work: Callable[[Connection], T]) -> T:
        with self._looking.connect() as connection:
            return work(connection)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writing.dispose()


async def open_sqlite(path: Path, *, setting: str, exclusive: bool) -> SqliteLink:
    """Open or create the file and its folder; `exclusive` keeps other processes out until it is closed."""
    lock = ProcessLock(path)
    try:
        _keep_private(path)
        if exclusive:
            lock.acquire()
    except OSError as error:
        raise DatabaseNotReady(
            f"{setting}: cannot use {path}: {error.strerror}. Name a file in a folder that this user may write.",
            field=setting,
        ) from None
    link = SqliteLink(path, lock)
    try:
        await link.run(_touch)
    except DBAPIError as error:
        await link.close()
        raise DatabaseNotReady(f"{setting}: cannot open {path}: {error.orig}.", field=setting) from None
    except BaseException:
        await link.close()
        raise
    return link


def _keep_private(path: Path) -> None:
    """Make the file, and have it and what stands beside it be its owner's alone, whatever the umask: it holds what people said.

    A folder that is made here, or is called `var`, is the owner's alone, too; others may be anybody's and stay as they are.
    """
    made = not path.parent.exists()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if made or path.parent.name == "var":
        _close_to_others(path.parent)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for ending in ("", "-wal", "-shm", ".lock"):
        _close_to_others(path.with_name(path.name + ending))


def _close_to_others(path: Path) -> None:
    with suppress(FileNotFoundError, PermissionError):
        mode = path.stat().st_mode
        if mode & 0o077:
            path.chmod(stat.S_IMODE(mode) & 0o700)
            log.info("made_private", path=str(path), before=f"{stat.S_IMODE(mode):o}")


def _touch(connection: Connection) -> None:
    connection.exec_driver_sql("SELECT count(*) FROM sqlite_master")


def _prepare_writer(connection: Any, record: object) -> None:
    # The driver would begin transactions by its own rules and leave DDL out of them; ours begin in `_begin_immediate`.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", f"busy_timeout={WRITER_WAIT_MS}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _prepare_reader(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("query_only=ON", f"busy_timeout={READER_WAIT_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads first and writes later could not be upgraded while another writes, and would fail at once.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
