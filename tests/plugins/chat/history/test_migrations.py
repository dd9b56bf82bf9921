"""The migrations build exactly the tables that the code describes, and the full-text index beside them."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from engine.db.databases import Database
from engine.db.migrations import pending, upgrade
from plugins.chat.history.tables import metadata
from tests.plugins.chat.history.conftest import CHAT_HISTORY


def _differences(connection: Connection) -> list[str]:
    def is_described(name: str | None, kind: str, parents: Any) -> bool:
        """Leave out the engine's tables, and the index of words that only one dialect can describe."""
        if kind == "table":
            return (name or "").startswith("chat_") and not (name or "").startswith("chat_texts_words")
        return name != "chat_texts_words"

    options = {"compare_type": True, "compare_server_default": True, "include_name": is_described}
    context = MigrationContext.configure(connection, opts=options)
    return [str(difference) for difference in compare_metadata(context, metadata)]


async def test_the_migrations_build_exactly_the_described_tables(database: Database) -> None:
    assert await database.run(_differences) == []


async def test_an_upgraded_database_has_nothing_left_to_run(database: Database) -> None:
    assert await pending(database, [CHAT_HISTORY]) == []


async def test_a_revision_that_stopped_half_way_can_run_again(database: Database) -> None:
    def forget(connection: Connection) -> None:
        connection.execute(text("DELETE FROM alembic_chat"))
        connection.execute(text("DROP TABLE chat_prompts"))
        connection.commit()

    await database.run(forget)
    assert [item.owner for item in await upgrade(database, [CHAT_HISTORY])] == ["chat"]
    assert await database.run(_differences) == []


async def test_the_words_are_indexed(database: Database) -> None:
    def indexes(connection: Connection) -> set[str | None]:
        if database.dialect == "sqlite":
            found = connection.execute(text("SELECT name FROM sqlite_master WHERE name = 'chat_texts_words'"))
            return set(found.scalars())
        return {found["name"] for found in inspect(connection).get_indexes("chat_texts")}

    assert "chat_texts_words" in await database.run(indexes)
