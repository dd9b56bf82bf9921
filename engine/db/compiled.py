"""Statements as a driver takes them: text, and the values of each row in their order.

SQLAlchemy looks up, compiles and converts anew with every call, which for a transaction of a few rows is most of its cost.
Here that is done once for each shape of row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Delete, Dialect, Insert, Update
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.schema import ScalarElementColumnDefault

Convert: TypeAlias = Callable[[Any], Any]


class CompiledStatement:
    """One statement for many rows of one shape. `defaults` are values of columns that the rows do not give."""

    __slots__ = ("_converts", "_defaults", "sql")

    def __init__(self, sql: str, converts: Sequence[tuple[str, Convert | None]], defaults: Mapping[str, Any]) -> None:
        self.sql = sql
        self._converts = converts
        self._defaults = defaults

    def values(self, rows: Iterable[Mapping[str, Any]]) -> list[list[Any]]:
        """The parameters of each row; raises what the type of a column says to a value that it does not take."""
        converts = self._converts
        if self._defaults:
            rows = [{**self._defaults, **row} for row in rows]
        return [[row[name] if convert is None else convert(row[name]) for name, convert in converts] for row in rows]


def compile_for(
    dialect: Dialect, statement: Insert | Update | Delete, names: Sequence[str]
) -> CompiledStatement | None:
    """The statement for rows that give `names`; None where SQLAlchemy has more to do for a row than to convert its values."""
    compiled = statement.compile(dialect=dialect, column_keys=list(names), for_executemany=True)
    assert isinstance(compiled, SQLCompiler)
    defaults: dict[str, Any] = {}
    for column in compiled.insert_prefetch:
        if not isinstance(column.default, ScalarElementColumnDefault):
            return None
        defaults[column.key] = column.default.arg
    if compiled.update_prefetch or compiled.positiontup is None:
        return None
    if compiled.literal_execute_params or compiled.post_compile_params:
        return None
    return CompiledStatement(
        compiled.string,
        [
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in compiled.positiontup
        ],
        defaults,
    )
