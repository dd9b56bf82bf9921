"""The engine's own tables: turns, API keys and what must follow a write."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, UniqueConstraint

from engine.api.columns import Json, Key, UtcDateTime
from engine.db.history import Migrations

metadata = MetaData()

turns = Table(
    "turns",
    metadata,
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
    Column("reserved_cost", Key(40)),
    Column("reserved_tokens", BigInteger),
    UniqueConstraint("principal", "key", name="uq_turns_principal_key"),
    Index("ix_turns_principal_created", "principal", "created_at"),
    Index("ix_turns_status_lease", "status", "lease_until"),
)
"""One row for every turn. `said` is its whole output once it has ended, until then that stands in `turn_parts`; `ended` is
the terminal event.
`reserved_cost` and `reserved_tokens` are the most that it may have used where a budget bounds it, for the case that its
process dies."""

turn_parts = Table(
    "turn_parts",
    metadata,
    Column("stream", Key(40), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("said", Json, nullable=False),
)
"""The output of running turns, one row for each checkpoint that found some: a checkpoint appends, so that its cost does not
grow with the length of the answer. Rows of turns that have ended are removed."""

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Key(40), primary_key=True),
    Column("principal", Key(64), nullable=False),
    Column("name", String(200), nullable=False),
    Column("digest", Key(64), nullable=False, unique=True),
    Column("scopes", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
    Column("limits", Json),
    Column("secret_mark", Key(16)),
    Index("ix_api_keys_principal", "principal"),
)
"""Keys as HMAC-SHA-256 digests; the secret itself is shown once and stored nowhere. `id` is its public prefix. `secret_mark`
tells by which `auth.secret` a key was made; rows of earlier versions have none."""

budgets = Table(
    "budgets",
    metadata,
    Column("subject", Key(80), primary_key=True),
    Column("period", Key(8), primary_key=True),
    Column("unit", Key(8), primary_key=True),
    Column("amount", Key(40), nullable=False),
)
"""The most that a principal or a key spends in a day or a month, as a decimal in dollars or as tokens."""

ENGINE_HISTORY = Migrations("engine", metadata, Path(__file__).parent / "engine_tables")
