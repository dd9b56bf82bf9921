"""The table of the entries."""

from __future__ import annotations

from pathlib import Path

from engine.api import Key, LongText, Tables, UtcDateTime
from sqlalchemy import Column, MetaData, Table

metadata = MetaData()

entries = Table(
    "guestbook_entries",
    metadata,
    Column("id", Key(), primary_key=True),
    Column("principal", Key(), nullable=False),
    Column("text", LongText(), nullable=False),
    Column("written_at", UtcDateTime(), nullable=False),
)

TABLES = Tables(metadata, Path(__file__).parent / "migrations")
