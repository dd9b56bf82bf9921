"""Budgets, and what a running turn has put aside of them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column

from engine.api.columns import Key
from engine.api.revisions import (
    add_column_if_missing,
    create_table_if_missing,
    drop_column_if_there,
    drop_table_if_there,
)

revision = "engine_0002"
down_revision = "engine_0001"


def upgrade() -> None:
    create_table_if_missing(
        "budgets",
        Column("subject", Key(80), primary_key=True),
        Column("period", Key(8), primary_key=True),
        Column("unit", Key(8), primary_key=True),
        Column("amount", Key(40), nullable=False),
    )
    add_column_if_missing("turns", Column("reserved_cost", Key(40)))
    add_column_if_missing("turns", Column("reserved_tokens", BigInteger))


def downgrade() -> None:
    drop_column_if_there("turns", "reserved_tokens")
    drop_column_if_there("turns", "reserved_cost")
    drop_table_if_there("budgets")
