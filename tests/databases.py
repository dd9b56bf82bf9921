"""Real databases for tests: SQLite files, throwaway databases on a MariaDB server, and servers of a test's own.

A module takes the fixtures by importing them: `database` is open and empty, once on SQLite and once on MariaDB.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest
from sqlalchemy import URL, MetaData, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from engine.db.databases import Database, Databases

SERVER = os.environ.get("BETTERAI_TEST_MYSQL_URL", "mysql+asyncmy://root@127.0.0.1:3306/")

T = TypeVar("T")


def unavailable(reason: str) -> NoReturn:
    """Skip on a laptop, fail where everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@asynccontextmanager
async def mysql_connection(url: URL | str) -> AsyncIterator[AsyncConnection]:
    """A connection for statements about the server, each committed at once."""
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            yield connection
    finally:
        await engine.dispose()


async def on_server(url: URL | str, *statements: str) -> None:
    async with mysql_connection(url) as connection:
        for statement in statements:
            await connection.execute(text(statement))


@pytest.fixture(scope="module")
def mysql_url() -> Iterator[str]:
    """A throwaway database on the test server, dropped after the module's last test."""
    server = make_url(SERVER).set(drivername="mysql+asyncmy", database="")
    name = f"betterai_test_{os.getpid()}_{secrets.token_hex(4)}"
    try:
        _apart(on_server(server, f"CREATE DATABASE {name} CHARACTER SET utf8mb4"))
    except (OperationalError, OSError):
        unavailable(f"no MariaDB answers at {server.host}:{server.port}; set BETTERAI_TEST_MYSQL_URL")
    yield server.set(database=name).render_as_string(hide_password=False)
    _apart(on_server(server, f"DROP DATABASE {name}"))


@pytest.fixture(params=["sqlite", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/test.db"
    return str(request.getfixturevalue("mysql_url"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database without tables, once of each kind."""
    databases = Databases({"default": database_url})
    await databases.open()
    try:
        yield databases.database()
    finally:
        await databases.close()
        if database_url.startswith("mysql"):
            await drop_all_tables(database_url)


async def drop_all_tables(url: str) -> None:
    async with mysql_connection(url) as connection:
        metadata = MetaData()
        await connection.run_sync(metadata.reflect)
        await connection.run_sync(metadata.drop_all)


class MariaDbServer:
    """A MariaDB of one test, on its own port and folder, to be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"mysql+asyncmy://root@127.0.0.1:{self.port}/betterai"

    def install(self) -> None:
        command = ("mariadb-install-db", "--no-defaults", f"--datadir={self._folder}/data", "--user=root")
        options = ("--auth-root-authentication-method=normal", "--skip-test-db")
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def start(self) -> None:
        """Start, and return when it answers; the database `betterai` is there."""
        files = (f"--datadir={self._folder}/data", f"--socket={self._folder}/s", f"--pid-file={self._folder}/pid")
        address = ("--bind-address=127.0.0.1", f"--port={self.port}", "--user=root")
        small = ("--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=1")
        self._spawn(_mariadbd(), "--no-defaults", *files, *address, *small)
        server = make_url(self.url).set(database="")
        async with asyncio.timeout(60):
            while True:
                try:
                    return await on_server(server, "CREATE DATABASE IF NOT EXISTS betterai CHARACTER SET utf8mb4")
                except (OperationalError, OSError):
                    await asyncio.sleep(0.1)

    def freeze(self) -> None:
        """Let the server hang: connections stand, nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            raise RuntimeError("the server is not started")
        self._process.send_signal(number)

    def _spawn(self, *command: str) -> None:
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        """End the process at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
async def mariadb_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MariaDbServer]:
    """A started MariaDB that belongs to the test."""
    if not shutil.which("mariadb-install-db") or not shutil.which(_mariadbd()):
        unavailable("mariadbd and mariadb-install-db are not installed")
    server = MariaDbServer(tmp_path_factory.mktemp("mariadb"))
    server.install()
    try:
        await server.start()
        yield server
    finally:
        server.kill()


def _mariadbd() -> str:
    return shutil.which("mariadbd") or "/usr/sbin/mariadbd"


def _apart(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end in a thread and event loop of its own, apart from the test's loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
