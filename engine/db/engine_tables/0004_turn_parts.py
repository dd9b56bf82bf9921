"""The output of running turns, a row for each checkpoint."""

from __future__ import annotations

from sqlalchemy import Column, Integer

from engine.api.columns import Json, Key
from engine.api.revisions import create_table_if_missing, drop_table_if_there

revision = "engine_0004"
down_revision = "engine_0003"


def upgrade() -> None:
    create_table_if_missing(
        "turn_parts",
        Column("stream", Key(40), primary_key=True),
        Column("part", Integer, primary_key=True, autoincrement=False),
        Column("said", Json, nullable=False),
    )


def downgrade() -> None:
    drop_table_if_there("turn_parts")
