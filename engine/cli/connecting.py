"""Whether what a configuration names answers: its databases, its Redis, its receiver of traces. Nothing is written."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from engine.api.errors import EngineError
from engine.api.identity import KeyLimits
from engine.auth.rates import Rates
from engine.config import CoreSettings
from engine.db.databases import Database, Databases
from engine.db.history import Migrations
from engine.db.migrations import require_upgraded
from engine.loader.tables import histories
from engine.main import Engine

ANSWERS_WITHIN = 10.0
"""Seconds that each has to answer."""


async def unanswered(engine: Engine) -> list[str]:
    """What does not answer or cannot be used as it is, a sentence each; all are asked at once."""
    core = engine.core
    databases = Databases({"default": core.databases.default, **core.databases.named}, exclusive=False)
    try:
        found = await asyncio.gather(*(_within(*each) for each in _asked(engine, core, databases)))
    finally:
        await databases.close()
    return [problem for problem in found if problem is not None]


def _asked(engine: Engine, core: CoreSettings, databases: Databases) -> Iterator[tuple[str, Awaitable[str | None]]]:
    owned = {database.name: known for database, known in histories(engine.loader, engine.databases).items()}
    for database in databases:
        setting = f"databases.{database.name}"
        if database.file is not None:
            yield setting, asyncio.to_thread(_read_file, setting, database.file)
        else:
            yield setting, _opened(database, owned.get(database.name, ()), core.databases.auto_upgrade)
    if core.limits.redis is not None:
        yield "limits.redis", _redis(core.limits.redis.get_secret_value())
    if core.tracing.endpoint is not None:
        yield "tracing.endpoint", _reached(core.tracing.endpoint)


async def _within(setting: str, asked: Awaitable[str | None]) -> str | None:
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            return await asked
    except TimeoutError:
        return f"{setting}: no answer within {ANSWERS_WITHIN:g} s"


def _read_file(setting: str, file: Path) -> str | None:
    """A file that is not there yet is made by the start."""
    if not file.exists():
        return None
    try:
        with closing(
            sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=ANSWERS_WITHIN / 2)
        ) as link:
            link.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        return f"{setting}: {file} cannot be read: {error}"
    return None


async def _opened(database: Database, owned: Sequence[Migrations], auto_upgrade: bool | None) -> str | None:
    try:
        await database.open()
        if not auto_upgrade and owned:
            await require_upgraded(database, owned)
    except EngineError as error:
        return (
            error.message if error.message.startswith("databases.") else f"databases.{database.name}: {error.message}"
        )
    return None


async def _redis(address: str) -> str | None:
    rates = Rates(KeyLimits(requests_per_minute=1), address)
    try:
        return None if await rates.reachable() else "limits.redis: the Redis does not answer"
    finally:
        await rates.close()


async def _reached(endpoint: str) -> str | None:
    parts = urlsplit(endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        _, writer = await asyncio.open_connection(parts.hostname, port)
    except OSError:
        return f"tracing.endpoint: nothing answers at {parts.hostname}:{port}"
    writer.close()
    return None
