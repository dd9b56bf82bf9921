"""The store on this machine's disk does what every store must."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.api import ObjectStore
from engine.db.databases import Database
from engine.testing.migrations import migration_differences
from engine.testing.objects import ObjectStoreContract
from tests.plugins.storage.kit import HISTORY, store_in


class TestLocal(ObjectStoreContract):
    @pytest.fixture
    async def store(self, folder: Path, tables: Database) -> ObjectStore:
        store = store_in(folder, tables)
        await store.shelf.open()
        return store


async def test_the_migrations_build_exactly_the_described_tables(database: Database) -> None:
    assert await migration_differences(database, HISTORY) == []
