"""On SQLite the words of messages are indexed in batches: for each message alone that costs more than its other rows."""

from __future__ import annotations

from alembic import op

revision = "chat_0002"
down_revision: str | None = "chat_0001"

_DROP_WORDS = "INSERT INTO chat_texts_words (chat_texts_words, rowid, text) VALUES ('delete', old.number, old.text);"
_ADD_WORDS = "INSERT INTO chat_texts_words (rowid, text) VALUES (new.number, new.text);"
_LAST = "(SELECT coalesce(max(number), 0) FROM chat_texts)"
_WAS_INDEXED = "WHEN old.number <= (SELECT upto FROM chat_texts_indexed)"

# `upto` is the last row that is indexed. To move it on indexes the rows between; what the trigger of an insert does for every
# 64th row, a search does for the rest.
_STATEMENTS = (
    "DROP TRIGGER IF EXISTS chat_texts_added",
    "DROP TRIGGER IF EXISTS chat_texts_removed",
    "DROP TRIGGER IF EXISTS chat_texts_changed",
    "CREATE TABLE IF NOT EXISTS chat_texts_indexed (id INTEGER PRIMARY KEY, upto INTEGER NOT NULL)",
    f"INSERT OR IGNORE INTO chat_texts_indexed (id, upto) VALUES (1, {_LAST})",
    "CREATE TRIGGER IF NOT EXISTS chat_texts_indexing AFTER UPDATE OF upto ON chat_texts_indexed BEGIN "
    "INSERT INTO chat_texts_words (rowid, text) "
    "SELECT number, text FROM chat_texts WHERE number > old.upto AND number <= new.upto; END",
    "CREATE TRIGGER IF NOT EXISTS chat_texts_added AFTER INSERT ON chat_texts WHEN new.number % 64 = 0 BEGIN "
    "UPDATE chat_texts_indexed SET upto = new.number; END",
    # SQLite gives the number of a last row that is gone to the next one, which is not indexed yet.
    f"CREATE TRIGGER IF NOT EXISTS chat_texts_removed AFTER DELETE ON chat_texts {_WAS_INDEXED} BEGIN {_DROP_WORDS} "
    f"UPDATE chat_texts_indexed SET upto = {_LAST} WHERE upto > {_LAST}; END",
    f"CREATE TRIGGER IF NOT EXISTS chat_texts_changed AFTER UPDATE OF text ON chat_texts {_WAS_INDEXED} BEGIN "
    f"{_DROP_WORDS} {_ADD_WORDS} END",
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        for statement in _STATEMENTS:
            op.execute(statement)
