"""One row for every turn, and API keys as digests."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, UniqueConstraint

from engine.api.columns import Json, Key, UtcDateTime
from engine.api.revisions import create_table_if_missing

revision = "engine_0001"
down_revision: str | None = None


def upgrade() -> None:
    create_table_if_missing(
        "turns",
        Column("stream", Key(40), primary_key=True),
        Column("principal", Key(64), nullable=False),
        Column("api_key", Key(64)),
        Column("command", Key(64), nullable=False),
        Column("key", Key(200)),
        Column("body_hash", Key(64)),
        Column("owner", Key(64), nullable=False),
        Column("lease_until", UtcDateTime, nullable=False),
        Column("status", Key(16), nullable=False),
        Column("model", String(200)),
        Column("n", BigInteger, nullable=False),
        Column("keep", Boolean, nullable=False),
        Column("detail", Json),
        Column("said", Json),
        Column("ended", Json),
        Column("input_tokens", Integer),
        Column("output_tokens", Integer),
        Column("cost", Key(40)),
        Column("currency", Key(3)),
        Column("created_at", UtcDateTime, nullable=False),
        Column("ended_at", UtcDateTime),
        UniqueConstraint("principal", "key", name="uq_turns_principal_key"),
        Index("ix_turns_principal_created", "principal", "created_at"),
        Index("ix_turns_status_lease", "status", "lease_until"),
    )
    create_table_if_missing(
        "api_keys",
        Column("id", Key(40), primary_key=True),
        Column("principal", Key(64), nullable=False),
        Column("name", String(200), nullable=False),
        Column("digest", Key(64), nullable=False, unique=True),
        Column("scopes", Json, nullable=False),
        Column("created_at", UtcDateTime, nullable=False),
        Column("revoked_at", UtcDateTime),
        Index("ix_api_keys_principal", "principal"),
    )
