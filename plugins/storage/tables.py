"""The table of the objects: whose they are and what they are; what is in them lies on a shelf."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, Column, Index, MetaData, Table

from engine.api import Key, Tables, UtcDateTime

metadata = MetaData()

objects = Table(
    "storage_objects",
    metadata,
    Column("id", Key(), primary_key=True),
    Column("principal", Key(64), nullable=False),
    Column("store", Key(64), nullable=False),
    Column("name", Key(200), nullable=False),
    Column("content_type", Key(100), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("origin", Key(64)),
    Index("ix_storage_objects_principal", "principal", "id"),
    Index("ix_storage_objects_expires_at", "expires_at"),
    Index("ix_storage_objects_origin", "origin"),
)

accounts = Table(
    "storage_accounts",
    metadata,
    Column("principal", Key(64), primary_key=True),
    Column("store", Key(64), primary_key=True),
)
"""A row for each principal that keeps something: the lock under which its objects are added up and one more is added."""

TABLES = Tables(metadata, Path(__file__).parent / "migrations")
