"""Conversations as trees of messages, their full-text index, and saved prompts."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, Text, inspect
from sqlalchemy.dialects import mysql

from engine.api.columns import Json, Key, LongText, UtcDateTime
from engine.api.revisions import create_index_if_missing, create_table_if_missing

revision = "chat_0001"
down_revision: str | None = None

_INDEXES = (
    ("ix_chat_conversations_principal_updated", "chat_conversations", ("principal", "updated_at")),
    ("ix_chat_messages_conversation", "chat_messages", ("conversation",)),
    ("ix_chat_texts_message", "chat_texts", ("message",)),
    ("ix_chat_texts_conversation", "chat_texts", ("conversation",)),
    ("ix_chat_texts_principal", "chat_texts", ("principal",)),
    ("ix_chat_prompts_principal_updated", "chat_prompts", ("principal", "updated_at")),
)

_ADD_WORDS = "INSERT INTO chat_texts_words (rowid, text) VALUES (new.number, new.text);"
_DROP_WORDS = "INSERT INTO chat_texts_words (chat_texts_words, rowid, text) VALUES ('delete', old.number, old.text);"

# https://www.sqlite.org/fts5.html, section 4.4.3: an index over another table, and the triggers that keep it true.
_SQLITE_WORDS = (
    "CREATE VIRTUAL TABLE IF NOT EXISTS chat_texts_words USING fts5("
    "text, content='chat_texts', content_rowid='number', tokenize='unicode61 remove_diacritics 2')",
    f"CREATE TRIGGER IF NOT EXISTS chat_texts_added AFTER INSERT ON chat_texts BEGIN {_ADD_WORDS} END",
    f"CREATE TRIGGER IF NOT EXISTS chat_texts_removed AFTER DELETE ON chat_texts BEGIN {_DROP_WORDS} END",
    "CREATE TRIGGER IF NOT EXISTS chat_texts_changed AFTER UPDATE OF text ON chat_texts "
    f"BEGIN {_DROP_WORDS} {_ADD_WORDS} END",
)


def upgrade() -> None:
    _create_tables()
    for name, table, columns in _INDEXES:
        create_index_if_missing(name, table, columns)
    _create_words()


def _create_tables() -> None:
    create_table_if_missing(
        "chat_conversations",
        Column("id", Key(40), primary_key=True),
        Column("principal", Key(64), nullable=False),
        Column("title", LongText, nullable=False),
        Column("titled_by", Key(16), nullable=False),
        Column("model", LongText),
        Column("tags", Json, nullable=False),
        Column("favourite", Boolean, nullable=False),
        Column("leaf", Key(40)),
        Column("created_at", UtcDateTime, nullable=False),
        Column("updated_at", UtcDateTime, nullable=False),
    )
    create_table_if_missing(
        "chat_messages",
        Column("id", Key(40), primary_key=True),
        Column("conversation", Key(40), nullable=False),
        Column("parent", Key(40)),
        Column("principal", Key(64), nullable=False),
        Column("role", Key(16), nullable=False),
        Column("content", Json, nullable=False),
        Column("tool_calls", Json),
        Column("tool_call_id", LongText),
        Column("name", LongText),
        Column("model", LongText),
        Column("status", Key(16), nullable=False),
        Column("finish_reason", Key(20)),
        Column("error", Json),
        Column("usage", Json),
        Column("cost", Json),
        Column("stream", Key(40)),
        Column("thinking", LongText),
        Column("reasoning", Json),
        Column("citations", Json),
        Column("metadata", Json),
        Column("created_at", UtcDateTime, nullable=False),
    )
    create_table_if_missing(
        "chat_texts",
        Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("message", Key(40), nullable=False),
        Column("conversation", Key(40), nullable=False),
        Column("principal", Key(64), nullable=False),
        Column(
            "text",
            Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_unicode_ci"), "mysql"),
            nullable=False,
        ),
    )
    create_table_if_missing(
        "chat_prompts",
        Column("id", Key(40), primary_key=True),
        Column("principal", Key(64), nullable=False),
        Column("title", LongText, nullable=False),
        Column("text", LongText, nullable=False),
        Column("tags", Json, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("updated_at", UtcDateTime, nullable=False),
    )


def _create_words() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        for statement in _SQLITE_WORDS:
            op.execute(statement)
    elif "chat_texts_words" not in {found["name"] for found in inspect(connection).get_indexes("chat_texts")}:
        op.execute("CREATE FULLTEXT INDEX chat_texts_words ON chat_texts (text)")
