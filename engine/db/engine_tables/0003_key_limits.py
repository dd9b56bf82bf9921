"""What one API key may do in a minute and hold open."""

from __future__ import annotations

from sqlalchemy import Column

from engine.api.columns import Json
from engine.api.revisions import add_column_if_missing, drop_column_if_there

revision = "engine_0003"
down_revision = "engine_0002"


def upgrade() -> None:
    add_column_if_missing("api_keys", Column("limits", Json))


def downgrade() -> None:
    drop_column_if_there("api_keys", "limits")
