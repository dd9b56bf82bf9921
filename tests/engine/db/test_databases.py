"""Databases open by name, say what is wrong when they cannot, and keep an embedded file to one process."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.util import await_only

from engine.api.data import Write
from engine.db.databases import Database, Databases
from engine.db.errors import DatabaseInUse, DatabaseNotReady, DatabaseUrlInvalid
from tests.engine.db.tables import create_tables, turns

HOLD = """
import asyncio, sys
from engine.db.databases import Databases

async def hold():
    await Databases({"default": sys.argv[1]}).open()
    print("open", flush=True)
    sys.stdin.read()

asyncio.run(hold())
"""


async def value(database: Database, statement: str) -> object:
    async with database.read() as connection:
        return (await connection.execute(text(statement))).scalar()


async def test_sqlite_makes_its_folder_and_uses_a_write_ahead_log(tmp_path: Path) -> None:
    databases = Databases({"default": f"sqlite:///{tmp_path}/new/folder/x.db"})
    await databases.open()
    assert await value(databases.database(), "PRAGMA journal_mode") == "wal"
    assert (tmp_path / "new/folder/x.db").exists()
    await databases.close()


async def test_mysql_sessions_speak_utf8_utc_and_refuse_values_that_do_not_fit(mysql_url: str) -> None:
    databases = Databases({"default": mysql_url})
    await databases.open()
    database = databases.database()
    assert await value(database, "SELECT @@session.time_zone") == "+00:00"
    assert await value(database, "SELECT @@character_set_client") == "utf8mb4"
    assert "STRICT_ALL_TABLES" in str(await value(database, "SELECT @@sql_mode"))
    isolation = await database.run(lambda connection: connection.get_isolation_level())
    assert isolation == "READ COMMITTED"
    await databases.close()


async def test_a_look_reads_with_one_connection_and_may_not_write(database: Database) -> None:
    await create_tables(database)
    await database.submit([Write(turns, "insert", {"id": "a", "status": "running"})])

    def look(connection: Connection) -> list[object]:
        return [connection.execute(text(f"SELECT {column} FROM turns")).scalar() for column in ("id", "status")]

    assert await asyncio.gather(*(database.look(look) for _ in range(20))) == [["a", "running"]] * 20
    if database.embedded:
        with pytest.raises(OperationalError, match="readonly"):
            await database.look(lambda connection: connection.execute(text("DELETE FROM turns")))


async def test_reads_do_not_wait_for_the_writer(database: Database) -> None:
    await create_tables(database)
    await database.submit([Write(turns, "insert", {"id": "a", "status": "running"})])
    begun, finish = asyncio.Event(), asyncio.Event()

    async with database.read() as one, database.read() as two, database.read() as three:
        loop = asyncio.get_running_loop()

        async def read_all() -> list[object]:
            await begun.wait()
            found = [(await each.execute(text("SELECT count(*) FROM turns"))).scalar() for each in (one, two, three)]
            finish.set()
            return found

        reading = asyncio.create_task(read_all())
        if database.embedded:

            def hold() -> None:
                asyncio.run_coroutine_threadsafe(finish.wait(), loop).result(timeout=30)

        else:

            def hold() -> None:
                await_only(finish.wait())

        def write(connection: Connection) -> None:
            connection.execute(turns.insert().values(id="b", status="running"))
            loop.call_soon_threadsafe(begun.set)
            hold()
            connection.commit()

        await database.run(write)
        assert await reading == [1, 1, 1]
    assert await value(database, "SELECT count(*) FROM turns") == 2


async def test_a_reader_connection_cannot_write_to_sqlite(tmp_path: Path) -> None:
    databases = Databases({"default": f"sqlite:///{tmp_path}/x.db"})
    await databases.open()
    with pytest.raises(Exception, match="readonly"):
        await value(databases.database(), "CREATE TABLE t (n)")
    await databases.close()


async def test_names_with_one_address_share_one_database(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    databases = Databases({"default": url, "health": f"sqlite+aiosqlite:///{tmp_path}/./x.db", "ufc": url + "2"})
    await databases.open()
    assert databases.database("default") is databases.database("health")
    assert len(list(databases)) == 2
    await databases.close()


async def test_only_the_named_databases_are_opened(tmp_path: Path) -> None:
    databases = Databases({"default": f"sqlite:///{tmp_path}/x.db", "health": "mysql://nobody@127.0.0.1:1/none"})
    await databases.open("default")
    assert databases.database().is_open
    assert not databases.database("health").is_open
    await databases.close()


async def test_a_failed_open_leaves_nothing_open(tmp_path: Path) -> None:
    databases = Databases({"default": f"sqlite:///{tmp_path}/x.db", "health": "mysql://nobody@127.0.0.1:1/none"})
    with pytest.raises(DatabaseNotReady):
        await databases.open()
    assert not databases.database().is_open
    again = Databases({"default": f"sqlite:///{tmp_path}/x.db"})
    await again.open()
    await again.close()


async def test_a_second_process_is_told_which_process_has_the_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    pipe = asyncio.subprocess.PIPE
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLD, url, stdin=pipe, stdout=pipe)
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"open\n"
    databases = Databases({"default": url})
    with pytest.raises(DatabaseInUse, match=rf"x\.db is in use by process {holder.pid} "):
        await databases.open()
    beside = Databases({"default": url}, exclusive=False)
    await beside.open()
    await beside.close()
    holder.kill()
    await holder.communicate()
    await databases.open()
    await databases.close()


@pytest.mark.parametrize(
    "url",
    [
        "var/betterai.db",
        "postgresql://localhost/x",
        "sqlite+pysqlite:///x.db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///x.db?timeout=1",
        "mysql://root@localhost",
        "mysql+pymysql://root@localhost/x",
        "mysql://root@localhost:port/x",
    ],
)
def test_an_address_that_cannot_work_is_refused_with_its_setting(url: str) -> None:
    with pytest.raises(DatabaseUrlInvalid, match=r"^databases\.health ?") as caught:
        Databases({"health": url})
    assert caught.value.field == "databases.health"


def test_a_name_without_an_address_of_its_own_is_the_default_database(tmp_path: Path) -> None:
    databases = Databases({"default": f"sqlite:///{tmp_path}/x.db", "health": f"sqlite:///{tmp_path}/y.db"})
    assert databases.database("ufc") is databases.database("default")
    assert databases.database("health") is not databases.database("default")


@pytest.mark.parametrize("blocked", ["folder", "file"])
async def test_an_unusable_sqlite_path_is_explained(tmp_path: Path, blocked: str) -> None:
    path = tmp_path / "x.db"
    if blocked == "folder":
        path = tmp_path / "file" / "x.db"
        (tmp_path / "file").write_text("no folder")
    else:
        path.write_text("this is no database" * 100)
    with pytest.raises(DatabaseNotReady, match=r"databases\.default: cannot .*x\.db"):
        await Databases({"default": f"sqlite:///{path}"}).open()


async def test_a_missing_mysql_database_comes_with_the_statement_that_creates_it(mysql_url: str) -> None:
    url = make_url(mysql_url).set(database="betterai_missing").render_as_string(hide_password=False)
    with pytest.raises(DatabaseNotReady, match=r"databases\.default: .*CREATE DATABASE `betterai_missing`"):
        await Databases({"default": url}).open()


async def test_a_refused_mysql_user_is_told_without_the_password(mysql_url: str) -> None:
    url = make_url(mysql_url).set(username="betterai_nobody", password="very-secret")
    with pytest.raises(DatabaseNotReady, match="refuses user betterai_nobody") as caught:
        await Databases({"default": url.render_as_string(hide_password=False)}).open()
    assert "very-secret" not in str(caught.value)


async def test_a_mysql_server_that_is_not_there_is_told_with_its_address() -> None:
    with pytest.raises(DatabaseNotReady, match=r"no MySQL or MariaDB server answers at 127\.0\.0\.1:1\."):
        await Databases({"default": "mysql://root@127.0.0.1:1/betterai"}).open()


async def test_a_missing_mysql_driver_is_told_with_the_extra_that_brings_it() -> None:
    program = (
        "import asyncio, sys; sys.modules['asyncmy'] = None\n"
        "from engine.db.databases import Databases\n"
        "asyncio.run(Databases({'default': 'mysql://root@127.0.0.1:1/x'}).open())\n"
    )
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    _, errors = await started.communicate()
    assert b"pip install 'betterai-engine[mysql]'" in errors
