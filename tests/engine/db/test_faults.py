"""What the writer does while a database is locked, full, restarting or gone."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection, func, select, text

from engine.api.data import Write
from engine.api.errors import DatabaseUnavailable
from engine.db.databases import Database, Databases
from engine.db.link import Link
from engine.db.writer import Writer
from tests.databases import MariaDbServer, mysql_connection
from tests.engine.db.tables import create_tables, turns

T = TypeVar("T")


class ObservedLink:
    """A link that tells when a piece of work has failed."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.dialect = link.dialect
        self.read = link.read
        self.look = link.look
        self.passing = link.passing
        self.close = link.close
        self.failed = asyncio.Event()

    async def run(self, work: Callable[[Connection], T], *, limit: float | None = None) -> T:
        try:
            return await self._link.run(work, limit=limit)
        except Exception:
            self.failed.set()
            raise


def turn(id: str, text: str = "") -> Write:
    return Write(turns, "insert", {"id": id, "status": "running", "text": text})


def observed(database: Database) -> tuple[Writer, asyncio.Event]:
    link = ObservedLink(database._opened())
    return Writer(link), link.failed


async def count(database: Database) -> int:
    async with database.read() as connection:
        return (await connection.execute(select(func.count()).select_from(turns))).scalar_one()


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    databases = Databases({"default": f"sqlite:///{tmp_path}/x.db"})
    await databases.open()
    await create_tables(databases.database())
    yield databases.database()
    await databases.close()


@pytest.fixture
async def mysql(mariadb_server: MariaDbServer) -> AsyncIterator[Database]:
    databases = Databases({"default": mariadb_server.url})
    await databases.open()
    await create_tables(databases.database())
    yield databases.database()
    await databases.close()


@pytest.fixture
async def outsider(tmp_path: Path, sqlite: Database) -> AsyncIterator[sqlite3.Connection]:
    """Another program's connection to the same file."""
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
    yield connection
    connection.close()


async def test_rows_wait_while_sqlite_is_locked(sqlite: Database, outsider: sqlite3.Connection) -> None:
    writer, failed = observed(sqlite)
    outsider.execute("BEGIN EXCLUSIVE")
    futures = [writer.submit([turn(f"t{n:03}")]) for n in range(150)]
    await failed.wait()
    futures.append(writer.submit([turn("later")]))
    assert not any(future.done() for future in futures)
    outsider.execute("COMMIT")
    await asyncio.gather(*futures)
    assert await count(sqlite) == 151


async def test_rows_fail_at_their_deadline_and_others_wait_on(sqlite: Database, outsider: sqlite3.Connection) -> None:
    writer, _ = observed(sqlite)
    outsider.execute("BEGIN EXCLUSIVE")
    short = [writer.submit([turn("a")], deadline=0.1), writer.submit([turn("b")], deadline=0.1)]
    long = writer.submit([turn("c")], deadline=60)
    for future in short:
        with pytest.raises(DatabaseUnavailable):
            await future
    assert not long.done()
    outsider.execute("COMMIT")
    await long
    assert await count(sqlite) == 1


async def test_closing_a_locked_database_fails_what_is_left(sqlite: Database, outsider: sqlite3.Connection) -> None:
    writer, failed = observed(sqlite)
    outsider.execute("BEGIN EXCLUSIVE")
    future = writer.submit([turn("a")], deadline=60)
    await failed.wait()
    await writer.close(timeout=0.1)
    assert isinstance(future.exception(), DatabaseUnavailable)
    assert writer.queued_rows == 0
    outsider.execute("COMMIT")


async def test_a_full_disk_keeps_rows_until_there_is_room(sqlite: Database) -> None:
    writer, failed = observed(sqlite)

    def limit_pages(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=20")

    def lift_limit(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA max_page_count=100000")

    await sqlite.run(limit_pages)
    future = writer.submit([turn("big", "x" * 200_000)], deadline=60)
    await failed.wait()
    assert not future.done()
    assert await count(sqlite) == 0
    await sqlite.run(lift_limit)
    await future
    assert await count(sqlite) == 1


async def test_a_disk_that_stays_full_fails_the_rows_at_their_deadline(sqlite: Database) -> None:
    await sqlite.run(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count=20").close())
    with pytest.raises(DatabaseUnavailable):
        await sqlite.submit([turn("big", "x" * 200_000)], deadline=0.2)
    await sqlite.submit([turn("small")])
    assert await count(sqlite) == 1


async def test_killed_connections_lose_no_row_and_double_none(mysql: Database, mariadb_server: MariaDbServer) -> None:
    futures = []
    async with mysql_connection(mariadb_server.url) as admin:
        own = (await admin.execute(text("SELECT CONNECTION_ID()"))).scalar()
        for round in range(10):
            futures += [mysql.submit([turn(f"{round}.{n}")], deadline=60) for n in range(150)]
            listed = await admin.execute(text("SELECT id FROM information_schema.processlist WHERE user = 'root'"))
            for id in listed.scalars().all():
                if id != own:
                    try:
                        await admin.execute(text(f"KILL {id}"))
                    except Exception as error:  # it may be gone by then
                        assert "1094" in str(error)
    await asyncio.gather(*futures)
    assert await count(mysql) == 1500


async def test_rows_wait_for_a_server_that_is_killed_and_started_again(
    mysql: Database, mariadb_server: MariaDbServer
) -> None:
    await mysql.submit([turn("before")])
    writer, failed = observed(mysql)
    mariadb_server.kill()
    futures = [writer.submit([turn(f"t{n}")], deadline=60) for n in range(150)]
    await failed.wait()
    impatient = writer.submit([turn("impatient")], deadline=0.1)
    with pytest.raises(DatabaseUnavailable):
        await impatient
    await mariadb_server.start()
    await asyncio.gather(*futures)
    assert await count(mysql) == 151


async def test_a_server_that_hangs_fails_rows_at_their_deadline_and_takes_the_others_later(
    mysql: Database, mariadb_server: MariaDbServer
) -> None:
    await mysql.submit([turn("before")])
    mariadb_server.freeze()
    short, long = mysql.submit([turn("short")], deadline=0.5), mysql.submit([turn("long")], deadline=60)
    with pytest.raises(DatabaseUnavailable):
        await short
    assert not long.done()
    mariadb_server.thaw()
    await long
    assert await count(mysql) == 2


async def test_a_row_locked_by_another_session_is_written_when_it_is_free(
    mysql: Database, mariadb_server: MariaDbServer
) -> None:
    await mysql.submit([turn("a")])
    await mysql.run(lambda connection: connection.execute(text("SET GLOBAL innodb_lock_wait_timeout = 1")).close())
    await mysql.close()
    await mysql.open()
    writer, failed = observed(mysql)
    begun, free = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with mysql_connection(mariadb_server.url) as connection:
            await connection.execute(text("BEGIN"))
            await connection.execute(text("UPDATE turns SET text = 'theirs'"))
            begun.set()
            await free.wait()
            await connection.execute(text("COMMIT"))

    holding = asyncio.create_task(hold())
    await begun.wait()
    future = writer.submit([Write(turns, "update", {"text": "ours"}, {"id": "a"})], deadline=60)
    await failed.wait()
    assert not future.done()
    free.set()
    await future
    await holding
    async with mysql.read() as connection:
        assert (await connection.execute(select(turns.c.text))).scalar() == "ours"
