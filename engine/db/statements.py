"""Turns rows to write into few statements, each run once for many rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

from sqlalchemy import (
    ClauseElement,
    ColumnElement,
    Delete,
    Insert,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    Update,
    bindparam,
    delete,
    insert,
    update,
)
from sqlalchemy.dialects import mysql, sqlite

from engine.api.data import Write
from engine.api.errors import EngineError
from engine.db.compiled import CompiledStatement, compile_for

Shape: TypeAlias = tuple[Table, str, tuple[str, ...], tuple[str, ...], frozenset[str], bool]

# A column may be set and compared in one UPDATE, so what is compared has its own parameter names.
_WHERE = "where_"

_NONE: frozenset[str] = frozenset()
_SQLITE = sqlite.dialect()


@dataclass(slots=True)
class Step:
    """One statement and the parameters of each row it is run for."""

    table: Table
    kind: str
    statement: Insert | Update | Delete
    compiled: CompiledStatement | None = None
    """The same for the driver, where that is of use."""

    rows: list[Mapping[str, Any]] = field(default_factory=list)
    shape: Shape | None = None
    touched: set[Any] | None = field(default_factory=set)
    """Primary keys of its rows; None when it cannot be told which rows it touches."""

    must: list[EngineError] = field(default_factory=list)
    """What to raise where fewer rows are found than were named."""


class Statements:
    """Builds each statement once; one instance serves one dialect."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._built: dict[Shape, tuple[Insert | Update | Delete, CompiledStatement | None]] = {}

    def plan(self, groups: Sequence[Sequence[Write]]) -> list[Step]:
        """The steps that do what the groups say, in an order that nobody can tell from theirs.

        Rows of one shape join one step as long as that moves none past a step that may touch the same row, past an
        earlier row of its own group, or past a delete, which may cascade into other tables.
        """
        steps: list[Step] = []
        for group in groups:
            earliest = 0
            for write in group:
                shape, row = _shape(write), _row(write)
                place = _place(steps, write, shape, row, earliest)
                if place is None:
                    place = len(steps)
                    statement, compiled = self._statement(write, shape)
                    steps.append(Step(write.table, write.kind, statement, compiled, [], shape))
                step = steps[place]
                step.rows.append(_parameters(write, shape))
                if write.must is not None:
                    step.must.append(write.must)
                if row is None:
                    step.touched = None
                elif step.touched is not None:
                    step.touched.add(row)
                earliest = place
        return steps

    def _statement(
        self, write: Write, shape: Shape | None
    ) -> tuple[Insert | Update | Delete, CompiledStatement | None]:
        if shape is None:
            return self._build(write), None
        built = self._built.get(shape)
        if built is None:
            statement = self._build(write)
            compiled = compile_for(_SQLITE, statement, list(write.values)) if self._dialect == "sqlite" else None
            built = self._built[shape] = statement, compiled
        return built

    def _build(self, write: Write) -> Insert | Update | Delete:
        # The rows name the plain columns; only expressions stand in the statement. Core would drop unknown columns.
        for name in (*write.values, *write.where):
            if name not in write.table.c:
                raise ValueError(f"table {write.table.name} has no column {name}")
        expressions = {name: value for name, value in write.values.items() if isinstance(value, ClauseElement)}
        match write.kind:
            case "insert":
                return insert(write.table).inline().values(expressions)
            case "update":
                return update(write.table).where(*_conditions(write)).values(expressions)
            case "delete":
                return delete(write.table).where(*_conditions(write))
            case "upsert":
                return self._upsert(write, expressions)

    def _upsert(self, write: Write, expressions: Mapping[str, ClauseElement]) -> Insert:
        keys = list(write.where)
        others = [name for name in write.values if name not in write.where]
        if not keys:
            raise ValueError(f"an upsert into {write.table.name} names no key columns in `where`")
        if self._dialect == "mysql":
            replacing = mysql.insert(write.table).values(expressions)
            return replacing.on_duplicate_key_update({name: replacing.inserted[name] for name in others or keys})
        inserting = sqlite.insert(write.table).values(expressions)
        if not others:
            return inserting.on_conflict_do_nothing(index_elements=keys)
        return inserting.on_conflict_do_update(
            index_elements=keys, set_={name: inserting.excluded[name] for name in others}
        )


def _shape(write: Write) -> Shape | None:
    """What rows of one statement share; None when a value is an SQL expression and the statement serves this row only."""
    for value in write.values.values():
        if isinstance(value, ClauseElement):
            return None
    where = write.where
    empty = frozenset(name for name, value in where.items() if value is None) if None in where.values() else _NONE
    return (write.table, write.kind, tuple(write.values), tuple(where), empty, write.must is not None)


def _row(write: Write) -> Any:
    """The primary key of the row that a write touches, or None where that cannot be told.

    A write that names no whole primary key, or changes a unique column, may touch any row.
    """
    table = write.table
    given = write.where if write.kind in ("update", "delete") else write.values
    key = tuple(given.get(column.name) for column in table.primary_key.columns)
    if not key or any(value is None or isinstance(value, ClauseElement) for value in key):
        return None
    if write.kind != "insert" and any(name in _unique_columns(table) for name in write.values):
        return None
    return key


@cache
def _unique_columns(table: Table) -> frozenset[str]:
    constraints = [c for c in table.constraints if isinstance(c, UniqueConstraint | PrimaryKeyConstraint)]
    indexes = [index for index in table.indexes if index.unique]
    return frozenset(column.name for each in (*constraints, *indexes) for column in each.columns)


def _place(steps: Sequence[Step], write: Write, shape: Shape | None, row: Any, earliest: int) -> int | None:
    if shape is None:
        return None
    for place in range(len(steps) - 1, earliest - 1, -1):
        step = steps[place]
        if step.shape == shape:
            return place
        if "delete" in (step.kind, write.kind):
            return None
        if step.table is write.table and (row is None or step.touched is None or row in step.touched):
            return None
    return None


def _conditions(write: Write) -> list[ColumnElement[bool]]:
    if not write.where:
        raise ValueError(f"{write.kind} on {write.table.name} chooses no rows: `where` is empty")
    columns = write.table.c
    return [
        columns[name].is_(None) if value is None else columns[name] == bindparam(_WHERE + name)
        for name, value in write.where.items()
    ]


def _parameters(write: Write, shape: Shape | None) -> Mapping[str, Any]:
    row = write.values
    if shape is None:
        row = {name: value for name, value in row.items() if not isinstance(value, ClauseElement)}
    if write.kind in ("insert", "upsert"):
        return row
    return {**row, **{_WHERE + name: value for name, value in write.where.items() if value is not None}}
