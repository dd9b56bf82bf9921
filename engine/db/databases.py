"""The named databases of one engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.api.data import Write
from engine.api.errors import DatabaseUnavailable
from engine.db.errors import DatabaseUrlInvalid
from engine.db.link import Link
from engine.db.mysql import open_mysql, require_driver
from engine.db.presence import Presence
from engine.db.sqlite import open_sqlite
from engine.db.writer import DEADLINE_SECONDS, MAX_QUEUED_ROWS, Writer

T = TypeVar("T")

READ_SECONDS = 10.0
"""The longest that a read may take, the wait for a connection included."""

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "mysql": "mysql+asyncmy", "mariadb": "mysql+asyncmy"}


class Database:
    """One database: reads see committed rows, writes go through its group-commit writer."""

    def __init__(self, name: str, url: URL, *, max_queued_rows: int, exclusive: bool) -> None:
        self.name = name
        self.url = url
        self._max_queued_rows = max_queued_rows
        self._exclusive = exclusive
        self._link: Link | None = None
        self._writer: Writer | None = None
        self.reading = Presence(name, "reading")
        self.writing = Presence(name, "writing")

    @property
    def dialect(self) -> str:
        """`sqlite` or `mysql`, the latter for MariaDB too."""
        return self.url.get_backend_name()

    @property
    def embedded(self) -> bool:
        """Whether it is a file of this process rather than a server's."""
        return self.dialect == "sqlite"

    @property
    def file(self) -> Path | None:
        """The file of an embedded database."""
        return Path(self.url.database) if self.embedded and self.url.database else None

    def require_driver(self) -> None:
        """Raise `DriverMissing` where the library is missing that the address needs."""
        if self.dialect == "mysql":
            require_driver(self.url, setting=f"databases.{self.name}")

    @property
    def is_open(self) -> bool:
        return self._link is not None

    @property
    def writer(self) -> Writer:
        """The one way to write rows."""
        if self._writer is None:
            raise RuntimeError(f"database {self.name!r} is not open")
        return self._writer

    def submit(
        self, writes: Sequence[Write], *, deadline: float = DEADLINE_SECONDS, linger: float = 0.0
    ) -> asyncio.Future[None]:
        """Queue rows as one transaction and return at once; see `Writer.submit`."""
        return self.writer.submit(writes, deadline=deadline, linger=linger)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for SELECTs, given back at the end of the block; each statement sees what is committed by then.

        Raises DatabaseUnavailable, here and out of the block, where the database is away, or takes more than `READ_SECONDS`.
        """
        link, scope = self._opened(), asyncio.timeout(READ_SECONDS)
        try:
            async with scope, link.read() as connection:
                yield connection
        except Exception as error:
            if (told := self._unreadable(link, error, late=scope.expired())) is None:
                raise
            raise told from None
        self.reading.worked()

    async def look(self, work: Callable[[Connection], T]) -> T:
        """Read with blocking code that needs no other connection; for reads of several statements that a turn waits for.

        Raises DatabaseUnavailable as `read` does.
        """
        link, scope = self._opened(), asyncio.timeout(READ_SECONDS)
        try:
            async with scope:
                found = await link.look(work)
        except Exception as error:
            if (told := self._unreadable(link, error, late=scope.expired())) is None:
                raise
            raise told from None
        self.reading.worked()
        return found

    def _unreadable(self, link: Link, error: Exception, *, late: bool) -> DatabaseUnavailable | None:
        """What a reader is told of an error that may pass; None for every other."""
        if isinstance(error, PoolTimeout) or (late and isinstance(error, TimeoutError)):
            self.reading.failed(error)
            return DatabaseUnavailable("the database does not answer in time; try again", retry_after=1.0)
        if link.passing(error, reading=True):
            self.reading.failed(error)
            return DatabaseUnavailable("the database cannot be read at the moment; try again", retry_after=1.0)
        return None

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run blocking code with the writing connection, in turn with the writer: for migrations and commands."""
        return await self._opened().run(work)

    async def open(self) -> None:
        """Connect, and take the process lock of an embedded database.

        Raises DatabaseInUse or DatabaseNotReady; opening twice changes nothing.
        """
        if self._link is not None:
            return
        setting = f"databases.{self.name}"
        if self.embedded:
            path = Path(self.url.database or "")
            self._link = await open_sqlite(path, setting=setting, exclusive=self._exclusive)
        else:
            self._link = await open_mysql(self.url, setting=setting)
        self._writer = Writer(self._link, max_queued_rows=self._max_queued_rows, presence=self.writing)

    async def close(self) -> None:
        """Commit what is queued, for a few seconds at most, and disconnect."""
        link, writer = self._link, self._writer
        self._link = self._writer = None
        if link is None or writer is None:
            return
        try:
            await writer.close()
        finally:
            await link.close()

    def _opened(self) -> Link:
        if self._link is None:
            raise RuntimeError(f"database {self.name!r} is not open")
        return self._link


class Databases:
    """All databases by name; names with the same address share one `Database`.

    `exclusive=False` opens embedded files beside a process that has them: for commands that read or add a row.
    """

    def __init__(
        self, urls: Mapping[str, str], *, max_queued_rows: int = MAX_QUEUED_ROWS, exclusive: bool = True
    ) -> None:
        self._by_name: dict[str, Database] = {}
        by_url: dict[URL, Database] = {}
        for name, address in urls.items():
            url = _parse(name, address)
            if url not in by_url:
                by_url[url] = Database(name, url, max_queued_rows=max_queued_rows, exclusive=exclusive)
            self._by_name[name] = by_url[url]

    def __iter__(self) -> Iterator[Database]:
        """Each database once."""
        return iter(dict.fromkeys(self._by_name.values()))

    def database(self, name: str = "default") -> Database:
        """The database of this name, the default one where the operator gave it no address of its own."""
        return self._by_name.get(name) or self._by_name["default"]

    async def open(self, *names: str) -> None:
        """Open the named databases, all of them when none is named; those of a failed call are closed again."""
        wanted = [self.database(name) for name in names] or list(self)
        async with AsyncExitStack() as opened:
            for database in wanted:
                if not database.is_open:
                    await database.open()
                    opened.push_async_callback(database.close)
            opened.pop_all()

    async def close(self) -> None:
        """Close all databases; each is tried, then the first error is raised."""
        results = await asyncio.gather(*(database.close() for database in self), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result


def _parse(name: str, address: str) -> URL:
    setting = f"databases.{name}"
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        raise DatabaseUrlInvalid(f"{setting} is no database address; {_EXAMPLES}", field=setting) from None
    backend, _, driver = url.drivername.partition("+")
    if backend not in _DRIVERS or driver not in {"", _DRIVERS[backend].partition("+")[2]}:
        raise DatabaseUrlInvalid(
            f"{setting} names the driver {url.drivername!r}, which is not supported; {_EXAMPLES}", field=setting
        )
    url = url.set(drivername=_DRIVERS[backend])
    if not url.database or url.database == ":memory:":
        raise DatabaseUrlInvalid(f"{setting} names no file or database; {_EXAMPLES}", field=setting)
    if backend != "sqlite":
        return url
    if url.query:
        raise DatabaseUrlInvalid(f"{setting}: an SQLite address takes no parameters after '?'.", field=setting)
    return url.set(database=str(Path(url.database).expanduser().resolve()))


_EXAMPLES = (
    "use sqlite+aiosqlite:///var/betterai.db (an absolute path takes four slashes) "
    "or mysql+asyncmy://user:password@host:3306/name."
)
