"""Objects: whose they are and what they are."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column

from engine.api.columns import Key, UtcDateTime
from engine.api.revisions import create_index_if_missing, create_table_if_missing

revision = "storage_0001"
down_revision: str | None = None


def upgrade() -> None:
    create_table_if_missing(
        "storage_objects",
        Column("id", Key(), primary_key=True),
        Column("principal", Key(64), nullable=False),
        Column("store", Key(64), nullable=False),
        Column("name", Key(200), nullable=False),
        Column("content_type", Key(100), nullable=False),
        Column("size", BigInteger, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("expires_at", UtcDateTime),
        Column("origin", Key(64)),
    )
    create_index_if_missing("ix_storage_objects_principal", "storage_objects", ["principal", "id"])
    create_index_if_missing("ix_storage_objects_expires_at", "storage_objects", ["expires_at"])
    create_index_if_missing("ix_storage_objects_origin", "storage_objects", ["origin"])
