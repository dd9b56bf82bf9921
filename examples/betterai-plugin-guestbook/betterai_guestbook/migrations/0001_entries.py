"""The table of the entries."""

from __future__ import annotations

from engine.api.columns import Key, LongText, UtcDateTime
from engine.api.revisions import create_table_if_missing
from sqlalchemy import Column

revision = "guestbook_0001"
down_revision: str | None = None


def upgrade() -> None:
    create_table_if_missing(
        "guestbook_entries",
        Column("id", Key(), primary_key=True),
        Column("principal", Key(), nullable=False),
        Column("text", LongText(), nullable=False),
        Column("written_at", UtcDateTime(), nullable=False),
    )
