"""Stored objects on real databases, with a folder for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.db.databases import Database
from engine.db.migrations import upgrade
from plugins.storage.objects import Objects
from tests.databases import database, database_url, mysql_url
from tests.plugins.storage.kit import HISTORY, Clock, store_in

__all__ = ("database", "database_url", "mysql_url")


@pytest.fixture
async def tables(database: Database) -> Database:
    """The database with the plugin's tables."""
    await upgrade(database, [HISTORY])
    return database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(folder: Path, tables: Database, clock: Clock) -> Objects:
    store = store_in(folder, tables, clock)
    await store.shelf.open()
    return store
