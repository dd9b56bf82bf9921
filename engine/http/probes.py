"""How what the server stands on is: asked for `/health/ready`, with a deadline, and at most once in a moment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from sqlalchemy import Connection, text

from engine.api.errors import EngineError
from engine.auth.rates import Rates
from engine.db.databases import Database
from engine.loader.health import CheckLine
from engine.log import get_logger
from engine.wire.hiding import without_places

log = get_logger(__name__)

ANSWERS_WITHIN = 5.0
"""Seconds that a database or a Redis has to answer: on a busy machine a second is no sign that it is away."""

REMEMBERED = 2.0
"""Seconds for which an answer stands: however often it is asked for, nothing is asked more often."""

FAILED_LATELY = 10.0
"""Seconds for which rows that were not written speak against a database that answers."""

BEHIND = 5.0
"""Seconds after which rows that wait make a writer one that is behind."""

LEAST_SPACE = 1 << 20
"""Bytes that a disk must have free for a database of this machine to be written."""


class Probes:
    """The databases that are open, and the Redis of the rates."""

    def __init__(self, databases: Iterable[Database], rates: Rates | None) -> None:
        self._databases = databases
        self._rates = rates
        self._lines: Sequence[CheckLine] = ()
        self._asked_at: float | None = None
        self._asking: asyncio.Task[Sequence[CheckLine]] | None = None

    async def lines(self) -> Sequence[CheckLine]:
        """A line for each that is not as it should be, as they were at most `REMEMBERED` seconds ago."""
        now = asyncio.get_running_loop().time()
        if self._asked_at is not None and now - self._asked_at < REMEMBERED:
            return self._lines
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="probes")
        return await asyncio.shield(self._asking)

    async def close(self) -> None:
        """Ask no more: the databases are about to be closed."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self) -> Sequence[CheckLine]:
        asked = [_database(database) for database in self._databases if database.is_open]
        if self._rates is not None:
            asked.append(_redis(self._rates))
        found = await asyncio.gather(*asked)
        self._lines = [line for line in found if line is not None]
        self._asked_at = asyncio.get_running_loop().time()
        return self._lines


async def _database(database: Database) -> CheckLine | None:
    name = f"database.{database.name}"
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            await (database.run(_begins) if database.embedded else _reads(database))
        if database.embedded and _is_full(Path(database.url.database or "")):
            return CheckLine(name=name, state="failed", detail="the disk of the database is full")
    except (TimeoutError, EngineError):
        return CheckLine(name=name, state="failed", detail="the database does not answer")
    except Exception as error:
        log.debug("database_probe_failed", database=database.name, error=type(error).__name__)
        return CheckLine(name=name, state="failed", detail="the database cannot be used")
    failed = database.writing.failed_for
    if failed is not None and failed < FAILED_LATELY:
        return CheckLine(name=name, state="failed", detail="the database cannot be written")
    if database.writer.behind > BEHIND:
        rows = database.writer.queued_rows
        return CheckLine(name=name, state="degraded", detail=f"{rows} rows wait to be written")
    return None


def _begins(connection: Connection) -> None:
    """Take the right to write, which a file that another program has locked does not give; nothing is written."""
    with connection.begin() as transaction:
        connection.execute(text("SELECT count(*) FROM sqlite_master"))
        transaction.rollback()


async def _reads(database: Database) -> None:
    async with database.read() as connection:
        await connection.execute(text("SELECT 1"))


def _is_full(path: Path) -> bool:
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return True
    return disk.f_bavail * disk.f_frsize < LEAST_SPACE


async def _redis(rates: Rates) -> CheckLine | None:
    if await rates.reachable():
        return None
    return CheckLine(name="redis", state="degraded", detail="Redis does not answer; each process counts for itself")


def for_anybody(line: CheckLine) -> CheckLine:
    """The line without paths, addresses and names of variables: the page is open to anybody."""
    return CheckLine(name=line.name, state=line.state, detail=without_places(line.detail))
