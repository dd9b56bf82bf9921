"""What stored responses were asked."""

from __future__ import annotations

from sqlalchemy import Column

from engine.api.columns import Json, Key, UtcDateTime
from engine.api.revisions import create_index_if_missing, create_table_if_missing

revision = "openai_api_0001"
down_revision: str | None = None


def upgrade() -> None:
    create_table_if_missing(
        "openai_api_responses",
        Column("stream", Key(), primary_key=True),
        Column("principal", Key(64), nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("asked", Json, nullable=False),
        Column("input", Json, nullable=False),
    )
    create_index_if_missing("ix_openai_api_responses_principal", "openai_api_responses", ["principal"])
