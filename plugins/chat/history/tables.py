"""The tables of the history, and the folder of their migrations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, Table, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

from engine.api.columns import Json, Key, LongText, UtcDateTime
from engine.api.data import Tables

# SQLite gives out row numbers by itself for INTEGER only.
ROW_NUMBER: TypeEngine[Any] = BigInteger().with_variant(Integer, "sqlite")

# MySQL's full-text search follows the collation: a binary one would tell "Tea" from "tea".
SEARCHED: TypeEngine[Any] = Text().with_variant(
    mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_unicode_ci"), "mysql"
)

metadata = MetaData()

conversations = Table(
    "chat_conversations",
    metadata,
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
    Column("running_stream", Key(40)),
    Column("taken_at", UtcDateTime),
    Index("ix_chat_conversations_principal_updated", "principal", "updated_at"),
)
"""`leaf` is the last message of the branch that is shown. `titled_by` is `first_words`, `model` or `user`.

`running_stream` is the stream whose turn has taken the conversation, at `taken_at`: where several servers may have the
database.
"""

messages = Table(
    "chat_messages",
    metadata,
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
    Index("ix_chat_messages_conversation", "conversation"),
)
"""A conversation's messages form a tree by `parent`, which is NULL at a root. `content` holds parts of `engine.api.chat`.

`thinking` is the reasoning that was shown, `reasoning` what its vendor wants back. Usage and cost of a whole turn stand with
its last message.
"""

texts = Table(
    "chat_texts",
    metadata,
    Column("number", ROW_NUMBER, primary_key=True, autoincrement=True),
    Column("message", Key(40), nullable=False),
    Column("conversation", Key(40), nullable=False),
    Column("principal", Key(64), nullable=False),
    Column("text", SEARCHED, nullable=False),
    Index("ix_chat_texts_message", "message"),
    Index("ix_chat_texts_conversation", "conversation"),
    Index("ix_chat_texts_principal", "principal"),
)
"""The words of users and models, one row for each message that has some: what full-text search looks through.

On SQLite the virtual table `chat_texts_words` indexes it, kept up by triggers; on MySQL the FULLTEXT index of this name does.
"""

indexed = Table("chat_texts_indexed", MetaData(), Column("id", Integer, primary_key=True), Column("upto", Integer))
"""SQLite's only: its one row tells the last row of `texts` that is indexed, and to move it on indexes those between."""

prompts = Table(
    "chat_prompts",
    metadata,
    Column("id", Key(40), primary_key=True),
    Column("principal", Key(64), nullable=False),
    Column("title", LongText, nullable=False),
    Column("text", LongText, nullable=False),
    Column("tags", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_chat_prompts_principal_updated", "principal", "updated_at"),
)

TABLES = Tables(metadata, Path(__file__).parent / "migrations")
