"""A history on real databases: one set of tables for a module, a principal of its own for each test."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.api.identity import Principal
from engine.db.databases import Database, Databases
from engine.db.history import Migrations
from engine.db.migrations import upgrade
from engine.db.schema import ENGINE_HISTORY
from plugins.chat.history.store import History
from plugins.chat.history.tables import TABLES
from tests.databases import mysql_url
from tests.plugins.chat.history.kit import Talk, TickingClock

__all__ = ("mysql_url",)

CHAT_HISTORY = Migrations("chat", TABLES.metadata, TABLES.migrations)


async def _upgrade(url: str) -> None:
    databases = Databases({"default": url})
    await databases.open()
    try:
        await upgrade(databases.database(), [ENGINE_HISTORY, CHAT_HISTORY])
    finally:
        await databases.close()


def upgraded(url: str) -> str:
    """The address of a database, once it has the tables."""
    # In a thread and event loop of its own, apart from those of the tests.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _upgrade(url)).result()
    return url


@pytest.fixture(scope="module", params=["sqlite", "mariadb"])
def migrated_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a database with the tables of the engine and the history, once of each kind."""
    if request.param == "sqlite":
        url = f"sqlite+aiosqlite:///{tmp_path_factory.mktemp('history')}/test.db"
    else:
        url = str(request.getfixturevalue("mysql_url"))
    return upgraded(url)


@pytest.fixture
async def database(migrated_url: str) -> AsyncIterator[Database]:
    """The open database."""
    databases = Databases({"default": migrated_url})
    await databases.open()
    yield databases.database()
    await databases.close()


@pytest.fixture
def history(database: Database) -> History:
    return History(database, TickingClock())


@pytest.fixture
def me() -> Principal:
    """Somebody who has said nothing yet."""
    return Principal(f"user:{secrets.token_hex(6)}")


@pytest.fixture
def stranger() -> Principal:
    return Principal(f"user:{secrets.token_hex(6)}")


@pytest.fixture
def talk(database: Database, history: History, me: Principal) -> Talk:
    return Talk(database, history, me)
