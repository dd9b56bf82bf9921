"""The engine's own history builds the tables that its code describes."""

from __future__ import annotations

from engine.db.databases import Database
from engine.db.migrations import pending, upgrade
from engine.db.schema import ENGINE_HISTORY
from engine.testing.migrations import migration_differences


async def test_the_migrations_build_exactly_the_described_tables(database: Database) -> None:
    assert await migration_differences(database, ENGINE_HISTORY) == []


async def test_an_upgraded_database_has_nothing_left_to_run(database: Database) -> None:
    await upgrade(database, [ENGINE_HISTORY])
    assert await pending(database, [ENGINE_HISTORY]) == []
