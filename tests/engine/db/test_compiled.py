"""A statement for the driver, and the statements that SQLAlchemy has to run itself."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import JSON, Column, DateTime, Integer, MetaData, String, Table, insert, update
from sqlalchemy.dialects import sqlite

from engine.db.compiled import CompiledStatement, compile_for

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("at", DateTime()),
    Column("data", JSON()),
    Column("count", Integer, default=3),
)
stamped = Table(
    "stamped",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("at", DateTime(), default=lambda: datetime.now(UTC)),
    Column("changed", Integer, onupdate=1),
)


def compiled(names: list[str]) -> CompiledStatement:
    found = compile_for(sqlite.dialect(), insert(things), names)
    assert found is not None
    return found


def test_values_are_converted_by_the_types_of_their_columns() -> None:
    row: dict[str, Any] = {"id": "a", "at": datetime(2026, 1, 2, 3, 4, 5), "data": {"x": [1]}, "count": 1}
    assert compiled(list(row)).values([row]) == [["a", "2026-01-02 03:04:05.000000", '{"x": [1]}', 1]]


def test_a_default_stands_in_for_what_a_row_does_not_give() -> None:
    assert sorted(map(str, compiled(["id"]).values([{"id": "a"}])[0])) == ["3", "a"]


def test_a_value_that_its_type_does_not_take_is_refused() -> None:
    with pytest.raises(TypeError, match="datetime"):
        compiled(["id", "at"]).values([{"id": "a", "at": "soon"}])


def test_what_must_be_computed_for_each_row_is_left_to_sqlalchemy() -> None:
    assert compile_for(sqlite.dialect(), insert(stamped), ["id"]) is None
    assert compile_for(sqlite.dialect(), update(stamped), ["id"]) is None
