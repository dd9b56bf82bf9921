"""Reads of a database that is away, or that has too many readers."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
import uvloop
from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import OperationalError

from engine.api.data import Write
from engine.api.errors import DatabaseUnavailable
from engine.api.identity import KeyLimits
from engine.auth.rates import Rates
from engine.db.databases import Database, Databases
from engine.db.errors import DatabaseNotReady
from engine.db.mysql import MySqlLink, open_mysql
from engine.db.sqlite import READERS
from engine.http.probes import Probes, for_anybody
from engine.loader.health import CheckLine
from tests.databases import MariaDbServer
from tests.engine.db.tables import create_tables, turns


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    databases = Databases({"default": f"sqlite:///{tmp_path}/data/x.db"})
    await databases.open()
    await create_tables(databases.database())
    yield databases.database()
    await databases.close()


async def ask(database: Database) -> None:
    async with database.read() as connection:
        await connection.execute(text("SELECT 1"))


async def test_a_read_of_a_file_that_is_gone_may_be_tried_again(
    sqlite: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(tmp_path / "data")
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable) as raised:
            await ask(sqlite)
        assert (raised.value.status, raised.value.retryable) == (503, True)
        assert str(tmp_path) not in raised.value.message
        with pytest.raises(DatabaseUnavailable):
            await sqlite.look(lambda connection: connection.execute(text("SELECT 1")))
    assert capsys.readouterr().out.count("database_away") == 1
    (tmp_path / "data").mkdir()
    await ask(sqlite)
    assert "database_back" in capsys.readouterr().out


async def test_a_wrong_statement_is_not_taken_for_a_database_that_is_away(sqlite: Database) -> None:
    with pytest.raises(OperationalError, match="no such table"):
        async with sqlite.read() as connection:
            await connection.execute(text("SELECT * FROM nowhere"))


async def test_a_server_that_is_gone_is_unavailable_until_it_is_back(mariadb_server: MariaDbServer) -> None:
    databases = Databases({"default": mariadb_server.url})
    await databases.open()
    database = databases.database()
    try:
        await ask(database)
        mariadb_server.kill()
        with pytest.raises(DatabaseUnavailable):
            await ask(database)
        with pytest.raises(DatabaseUnavailable):
            await database.look(lambda connection: connection.execute(text("SELECT 1")).all())
        (line,) = await Probes(databases, None).lines()
        assert line == CheckLine(name="database.default", state="failed", detail="the database does not answer")
        await mariadb_server.start()
        await ask(database)
        assert await Probes(databases, None).lines() == []
    finally:
        await databases.close()


async def test_readers_who_leave_while_they_wait_take_no_connection_along(sqlite: Database) -> None:
    async with AsyncExitStack() as held:
        for _ in range(READERS):
            await held.enter_async_context(sqlite.read())
        waiting = [asyncio.create_task(ask(sqlite)) for _ in range(50)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.gather(*(ask(sqlite) for _ in range(2 * READERS)))


async def test_rows_that_nobody_waits_for_leave_no_complaint(sqlite: Database, tmp_path: Path) -> None:
    complaints: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    with closing(sqlite3.connect(tmp_path / "data" / "x.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        row = Write(turns, "insert", {"id": "a", "status": "running", "text": ""})
        unwatched = sqlite.submit([row], deadline=0.05)
        await asyncio.wait([unwatched])
        del unwatched
        other.execute("ROLLBACK")
    await asyncio.sleep(0)
    assert complaints == []


async def test_a_locked_file_is_not_ready_and_is_asked_once_in_a_moment(tmp_path: Path) -> None:
    databases = Databases({"default": f"sqlite:///{tmp_path}/x.db"})
    await databases.open()
    try:
        probes = Probes(databases, None)
        with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            many = await asyncio.gather(*(probes.lines() for _ in range(100)))
            other.execute("ROLLBACK")
        assert [line.state for line in many[0]] == ["failed"]
        assert all(lines is many[0] for lines in [*many, await probes.lines()])
        assert await Probes(databases, None).lines() == []
    finally:
        await databases.close()


async def test_rows_that_cannot_be_written_speak_against_a_database_that_answers(
    sqlite: Database, tmp_path: Path
) -> None:
    databases = Databases({"default": f"sqlite:///{tmp_path}/y.db"})
    await databases.open()
    database = databases.database()
    try:
        await create_tables(database)
        await database.run(lambda connection: connection.exec_driver_sql("PRAGMA max_page_count=20").close())
        big = database.submit(
            [Write(turns, "insert", {"id": "big", "status": "running", "text": "x" * 200_000})], deadline=0.05
        )
        with pytest.raises(DatabaseUnavailable):
            await big
        (line,) = await Probes(databases, None).lines()
        assert (line.state, line.detail) == ("failed", "the database cannot be written")
    finally:
        await databases.close()


async def test_a_redis_that_is_away_is_named_once_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    rates = Rates(KeyLimits(requests_per_minute=5), "redis://127.0.0.1:9/0")
    for _ in range(2):
        (line,) = await Probes([], rates).lines()
        assert (line.name, line.state) == ("redis", "degraded")
    assert capsys.readouterr().out.count("rates_store_away") == 1
    assert await Rates(KeyLimits(), None).reachable()


@pytest.mark.parametrize(
    ("detail", "shown"),
    [
        ("no file /opt/models/a.gguf", "no file …"),
        ("no MySQL answers at db.internal:3306", "no MySQL answers at …"),
        ("Connect call failed ('127.0.0.1', 9)", "Connect call failed ('…', 9)"),
        ("${env:OPENAI_API_KEY} is not set", "… is not set"),
        ("2 of 3 models loaded; input/output", "2 of 3 models loaded; input/output"),
    ],
)
def test_the_open_page_names_no_path_address_or_variable(detail: str, shown: str) -> None:
    assert for_anybody(CheckLine(name="a", state="degraded", detail=detail)).detail == shown


@contextmanager
def closing_server() -> Iterator[int]:
    """The port of a server that accepts and closes, as a proxy does in front of a database that is away."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                server.accept()[0].close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_server_that_accepts_and_closes_is_away(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def meet(url: URL) -> None:
        link = MySqlLink(url)
        for _ in range(20):
            with pytest.raises(Exception) as raised:
                await link.look(lambda connection: connection.execute(text("SELECT 1")))
            assert link.passing(raised.value, reading=True)
            with pytest.raises(Exception) as raised:
                await link.run(lambda connection: connection.execute(text("SELECT 1")))
            assert link.passing(raised.value)
        await link.close()
        with pytest.raises(DatabaseNotReady, match="no MySQL or MariaDB server answers"):
            await open_mysql(url, setting="databases.default")

    with closing_server() as port, asyncio.Runner(loop_factory=loop) as runner:
        runner.run(meet(make_url(f"mysql+asyncmy://root@127.0.0.1:{port}/any")))
