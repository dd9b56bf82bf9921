"""The migrations build exactly the tables that the code describes, and the full-text index beside them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from engine.api.data import Write
from engine.db.databases import Database, Databases
from engine.db.migrations import pending, upgrade
from engine.db.schema import ENGINE_HISTORY
from plugins.chat.history.tables import metadata, texts
from tests.plugins.chat.history.conftest import CHAT_HISTORY


def _differences(connection: Connection) -> list[str]:
    def is_described(name: str | None, kind: str, parents: Any) -> bool:
        """Leave out the engine's tables, and the index of words, which each dialect has in its own way."""
        if kind == "table":
            return (name or "").startswith("chat_") and not (name or "").startswith("chat_texts_")
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


async def test_words_that_an_earlier_version_indexed_are_found_once_and_go_with_their_message(tmp_path: Path) -> None:
    databases = Databases({"default": f"sqlite:///{tmp_path}/old.db"})
    await databases.open()
    database = databases.database()

    def as_it_was(connection: Connection) -> None:
        words = import_module("plugins.chat.history.migrations.0001_conversations")
        for trigger in ("added", "removed", "changed", "indexing"):
            connection.execute(text(f"DROP TRIGGER chat_texts_{trigger}"))
        connection.execute(text("DROP TABLE chat_texts_indexed"))
        for statement in words._SQLITE_WORDS:
            connection.exec_driver_sql(statement)
        connection.execute(text("UPDATE alembic_chat SET version_num = 'chat_0001'"))
        connection.commit()

    def index(connection: Connection) -> list[int]:
        connection.exec_driver_sql(
            "INSERT INTO chat_texts_words (chat_texts_words, rank) VALUES ('integrity-check', 0)"
        )
        found = connection.exec_driver_sql("SELECT rowid FROM chat_texts_words WHERE chat_texts_words MATCH 'otter'")
        return list(found.scalars())

    def row(id: str) -> Write:
        return Write(texts, "insert", {"message": id, "conversation": "c", "principal": "p", "text": f"otter {id}"})

    await upgrade(database, [ENGINE_HISTORY, CHAT_HISTORY])
    await database.run(as_it_was)
    await database.submit([row("a"), row("b")])
    await upgrade(database, [CHAT_HISTORY])
    assert await database.run(index) == [1, 2]
    await database.submit([Write(texts, "delete", {}, {"message": "b"})])
    assert await database.run(index) == [1]
    await database.submit([row(f"m{n}") for n in range(100)])
    assert len(await database.run(index)) == 64
    await databases.close()
