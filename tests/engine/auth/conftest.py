"""A database with the engine's tables, once of each kind, and a clock of the test's own."""

from __future__ import annotations

import pytest

from engine.db.databases import Database
from engine.db.migrations import upgrade
from engine.db.schema import ENGINE_HISTORY
from tests.databases import database, database_url, mysql_url
from tests.engine.auth.clock import Clock

__all__ = ("database", "database_url", "mysql_url")


@pytest.fixture
async def tables(database: Database) -> Database:
    await upgrade(database, [ENGINE_HISTORY])
    return database


@pytest.fixture
def clock() -> Clock:
    return Clock()
