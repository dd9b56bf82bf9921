"""The turn that runs in a conversation, for all servers of one database."""

from __future__ import annotations

from sqlalchemy import Column

from engine.api.columns import Key, UtcDateTime
from engine.api.revisions import add_column_if_missing, drop_column_if_there

revision = "chat_0003"
down_revision = "chat_0002"


def upgrade() -> None:
    add_column_if_missing("chat_conversations", Column("running_stream", Key(40)))
    add_column_if_missing("chat_conversations", Column("taken_at", UtcDateTime))


def downgrade() -> None:
    drop_column_if_there("chat_conversations", "taken_at")
    drop_column_if_there("chat_conversations", "running_stream")
