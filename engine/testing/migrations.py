"""Checks that an owner's migrations build exactly the tables that its code describes."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from engine.db.databases import Database
from engine.db.history import Migrations
from engine.db.migrations import upgrade


async def migration_differences(database: Database, history: Migrations) -> list[str]:
    """Upgrade an empty database and name each way in which it differs from the metadata; empty when they agree."""
    await upgrade(database, [history])
    return await database.run(lambda connection: _differences(connection, history))


def _differences(connection: Connection, history: Migrations) -> list[str]:
    def is_ours(name: str | None, kind: str, parents: Any) -> bool:
        return kind != "table" or not (name or "").startswith("alembic_")

    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True, "include_name": is_ours}
    )
    return [str(difference) for difference in compare_metadata(context, history.metadata)]
