"""By which secret an API key was made, as far as to tell whether it was this one."""

from __future__ import annotations

from sqlalchemy import Column

from engine.api.columns import Key
from engine.api.revisions import add_column_if_missing, drop_column_if_there

revision = "engine_0005"
down_revision = "engine_0004"


def upgrade() -> None:
    add_column_if_missing("api_keys", Column("secret_mark", Key(16)))


def downgrade() -> None:
    drop_column_if_there("api_keys", "secret_mark")
