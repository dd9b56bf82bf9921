"""Column types that mean the same on SQLite and MySQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Column, ColumnElement, DateTime, Dialect, String, Text, TypeDecorator, func, literal
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class UtcDateTime(TypeDecorator[datetime]):
    """An instant, kept as UTC with microseconds; takes aware values only and returns aware ones."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name == "mysql" else DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored; use datetime.now(UTC)")
        return (value if value.tzinfo is UTC else value.astimezone(UTC)).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


class LongText(TypeDecorator[str]):
    """Text without a practical bound (MySQL's TEXT ends at 64 KiB)."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(
            mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin") if dialect.name == "mysql" else Text()
        )


class Json(TypeDecorator[Any]):
    """Any JSON value as compact text; `None` is SQL NULL. Takes what msgspec encodes, returns dicts, lists and scalars."""

    impl = LongText
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else _encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else _decode(value)


class Key(TypeDecorator[str]):
    """Bounded text compared byte by byte: for ids and unique keys (MySQL's default takes "a" and "A" for one key)."""

    impl = String
    cache_ok = True

    def __init__(self, length: int = 64) -> None:
        super().__init__(length)
        self._length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(
            mysql.VARCHAR(self._length, charset="utf8mb4", collation="utf8mb4_bin")
            if dialect.name == "mysql"
            else String(self._length)
        )


_MERGE = {"sqlite": "json_patch", "mysql": "json_merge_patch"}


def merged(column: Column[Any], given: Mapping[str, Any], dialect: str) -> ColumnElement[Any]:
    """What to write into a `Json` column so that its object gets the members given; one that is None is taken away.

    The database merges, so that of two writers at once neither undoes what the other wrote under another name.
    """
    there = func.coalesce(column, literal("{}", LongText()))
    merge = getattr(func, _MERGE[dialect])
    return merge(there, literal(_encode(given).decode(), LongText()))  # type: ignore[no-any-return]
