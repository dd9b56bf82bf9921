"""A row for each owner of objects, as a lock for their quota."""

from __future__ import annotations

from sqlalchemy import Column

from engine.api.columns import Key
from engine.api.revisions import create_table_if_missing, drop_table_if_there

revision = "storage_0002"
down_revision = "storage_0001"


def upgrade() -> None:
    create_table_if_missing(
        "storage_accounts",
        Column("principal", Key(64), primary_key=True),
        Column("store", Key(64), primary_key=True),
    )


def downgrade() -> None:
    drop_table_if_there("storage_accounts")
