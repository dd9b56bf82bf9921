"""Operations for revision files that may run again after they stopped half-way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alembic import op
from sqlalchemy import Column, inspect
from sqlalchemy.schema import SchemaItem


def create_table_if_missing(name: str, *items: SchemaItem, **options: Any) -> None:
    """Create a table with its columns, constraints and indexes, unless it is there."""
    if not inspect(op.get_bind()).has_table(name):
        op.create_table(name, *items, **options)


def drop_table_if_there(name: str) -> None:
    if inspect(op.get_bind()).has_table(name):
        op.drop_table(name)


def add_column_if_missing(table: str, column: Column[Any]) -> None:
    if column.name not in _columns(table):
        op.add_column(table, column)


def drop_column_if_there(table: str, column: str) -> None:
    if column in _columns(table):
        with op.batch_alter_table(table) as batch:
            batch.drop_column(column)


def create_index_if_missing(name: str, table: str, columns: Sequence[str], *, unique: bool = False) -> None:
    if name not in _indexes(table):
        op.create_index(name, table, list(columns), unique=unique)


def drop_index_if_there(name: str, table: str) -> None:
    if name in _indexes(table):
        op.drop_index(name, table)


def _columns(table: str) -> set[str]:
    return {found["name"] for found in inspect(op.get_bind()).get_columns(table)}


def _indexes(table: str) -> set[str | None]:
    return {found["name"] for found in inspect(op.get_bind()).get_indexes(table)}
