"""MySQL and MariaDB through asyncmy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from engine.db.errors import DatabaseNotReady, DriverMissing

T = TypeVar("T")

# MySQL names every primary key PRIMARY, and warns of each that a statement names otherwise, as Alembic's do.
logging.getLogger("asyncmy").addFilter(lambda record: "ignored for PRIMARY key" not in record.getMessage())

READERS = 10
POOL_SECONDS = 5.0
"""Seconds that a read waits for one of them."""
CONNECT_SECONDS = 5
RECYCLE_SECONDS = 1800

# Values that do not fit are errors, never cut to size; times are UTC whatever the server's own zone is.
_SESSION = (
    "SET time_zone = '+00:00', "
    "sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_ZERO_DATE,NO_ZERO_IN_DATE'"
)

# https://mariadb.com/kb/en/mariadb-error-code-reference/
_ACCESS_DENIED = frozenset({1044, 1045, 1698})
_UNKNOWN_DATABASE = 1049
_PASSING_CODES = _ACCESS_DENIED | {
    1020,  # record changed since it was read
    1021,  # disk full
    1028,  # disk full while sorting
    1030,  # storage engine error, full disk among them
    1037,  # out of memory
    1038,  # out of sort memory
    1040,  # too many connections
    1041,  # out of resources
    _UNKNOWN_DATABASE,
    1053,  # shutting down
    1114,  # table or tablespace full
    1129,  # host blocked
    1130,  # host not allowed
    1152,  # connection aborted
    1158,  # communication errors, up to 1161
    1159,
    1160,
    1161,
    1184,  # connection aborted
    1203,  # user has too many connections
    1205,  # lock wait ran out
    1213,  # deadlock
    1226,  # user's resources used up
    1290,  # server is read-only
    1317,  # query interrupted
    1836,  # server is read-only
    1927,  # connection killed
    1969,  # statement took too long
    4031,  # disconnected for inactivity
}


class MySqlLink:
    """Open connections to one schema of a server; made by `open_mysql`."""

    dialect = "mysql"

    def __init__(self, url: URL) -> None:
        self._writing = _engine(url, pool_size=1, max_overflow=0, isolation_level="READ COMMITTED")
        self._reading = _engine(
            url,
            pool_size=READERS,
            max_overflow=0,
            pool_timeout=POOL_SECONDS,
            # A read is one statement; without a transaction it saves two round trips.
            isolation_level="AUTOCOMMIT",
            skip_autocommit_rollback=True,
        )

    async def run(self, work: Callable[[Connection], T], *, limit: float | None = None) -> T:
        async with asyncio.timeout(limit), _connected(self._writing) as connection:
            return await connection.run_sync(work)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        async with _connected(self._reading) as connection:
            yield connection

    async def look(self, work: Callable[[Connection], T]) -> T:
        async with _connected(self._reading) as connection:
            return await connection.run_sync(work)

    def passing(self, error: Exception, *, reading: bool = False) -> bool:
        if isinstance(error, OSError):
            return True
        if not isinstance(error, DBAPIError):
            return False
        number = _number(error)
        # 2000 to 2999 are the client library's own: no connection, or one that was lost.
        return error.connection_invalidated or number in _PASSING_CODES or 2000 <= number < 3000

    async def close(self) -> None:
        await self._reading.dispose()
        await self._writing.dispose()


@asynccontextmanager
async def _connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection of the pool; whatever the driver raises while it connects is a server that cannot be reached."""
    async with AsyncExitStack() as stack:
        try:
            connection = await stack.enter_async_context(engine.connect())
        except (SQLAlchemyError, OSError):
            raise
        except Exception as error:
            # As where the server closes the connection before its greeting: asyncmy raises a bare RuntimeError then.
            raise ConnectionError(f"{type(error).__name__}: {error}") from error
        yield connection


def require_driver(url: URL, *, setting: str) -> None:
    """Raise `DriverMissing` where asyncmy is not installed."""
    if find_spec("asyncmy") is None:
        raise _no_driver(url, setting)


def _no_driver(url: URL, setting: str) -> DriverMissing:
    return DriverMissing(
        f"{setting}: {url.render_as_string(hide_password=True)} needs the driver asyncmy; "
        "install it with: pip install 'betterai-engine[mysql]'.",
        field=setting,
    )


async def open_mysql(url: URL, *, setting: str) -> MySqlLink:
    """Connect once, so that a wrong address or credential is told now and not at the first turn."""
    try:
        link = MySqlLink(url)
    except ModuleNotFoundError:
        raise _no_driver(url, setting) from None
    try:
        async with asyncio.timeout(2 * CONNECT_SECONDS):
            await link.run(lambda connection: connection.execute(text("SELECT 1")).close())
    except (DBAPIError, OSError) as error:
        await link.close()
        raise DatabaseNotReady(f"{setting}: {_why_not(error, url)}", field=setting) from None
    except BaseException:
        await link.close()
        raise
    return link


def _engine(url: URL, **options: Any) -> AsyncEngine:
    return create_async_engine(
        url.update_query_dict({"charset": "utf8mb4"}),
        connect_args={"init_command": _SESSION, "connect_timeout": CONNECT_SECONDS},
        pool_pre_ping=True,
        pool_recycle=RECYCLE_SECONDS,
        hide_parameters=True,
        **options,
    )


def _number(error: DBAPIError) -> int:
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0


def _why_not(error: DBAPIError | OSError, url: URL) -> str:
    server = f"{url.host or 'localhost'}:{url.port or 3306}"
    number = _number(error) if isinstance(error, DBAPIError) else 0
    if number == _UNKNOWN_DATABASE:
        create = f"CREATE DATABASE `{url.database}` CHARACTER SET utf8mb4"
        return f"the server {server} has no database {url.database}. Create it with: {create}"
    if number in _ACCESS_DENIED:
        who = f"user {url.username}" if url.username else "an address without a user"
        return f"the server {server} refuses {who} for database {url.database}. Check user, password and grants."
    if isinstance(error, OSError) or 2000 <= number < 3000:
        return f"no MySQL or MariaDB server answers at {server}. Start it, or correct host and port."
    return f"the server {server} answers with error {number}."
