"""What turns used and cost, summed up from their rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import msgspec
from sqlalchemy import ColumnElement, String, cast, func, select

from engine.api.data import Database
from engine.api.events import Cost
from engine.db.schema import turns
from engine.providers.pricing import amount

GroupBy: TypeAlias = Literal["day", "model", "key", "principal", "command", "status"]

_COLUMNS: dict[str, ColumnElement[Any]] = {
    "day": cast(func.date(turns.c.created_at), String),
    "model": turns.c.model,
    "key": turns.c.api_key,
    "principal": turns.c.principal,
    "command": turns.c.command,
    "status": turns.c.status,
}

_WITHOUT_MODEL = {"failed": "(refused)", "running": "(running)"}
"""What a turn without a model is listed as, by its status."""


class UsageRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The turns of one group: only what was grouped by is set. A turn whose price is not known adds nothing to `cost`."""

    day: str | None = None
    model: str | None = None
    key: str | None = None
    principal: str | None = None
    command: str | None = None
    status: str | None = None
    turns: int
    input_tokens: int
    output_tokens: int
    cost: Cost


async def usage(
    database: Database,
    *,
    by: Sequence[GroupBy],
    principal: str | None = None,
    since: date | None = None,
    until: date | None = None,
    say_without_model: bool = False,
) -> list[UsageRow]:
    """One row for each group, in the order of the groups; without `principal` of everybody.

    `say_without_model` has turns that no model served under `(refused)`, `(running)` or `(no model)`, else under None.
    `since` and `until` are days in UTC, both included. Costs are summed in decimal: databases would do it in floats.
    """
    columns: list[GroupBy] = list(dict.fromkeys([*by, "status"])) if say_without_model and "model" in by else list(by)
    groups = [_COLUMNS[name].label(name) for name in columns]
    statement = select(
        *groups,
        turns.c.cost.label("each"),
        func.count().label("turns"),
        func.coalesce(func.sum(turns.c.input_tokens), 0).label("input_tokens"),
        func.coalesce(func.sum(turns.c.output_tokens), 0).label("output_tokens"),
    ).group_by(*(_COLUMNS[name] for name in columns), turns.c.cost)
    if principal is not None:
        statement = statement.where(turns.c.principal == principal)
    if since is not None:
        statement = statement.where(turns.c.created_at >= _midnight(since))
    if until is not None:
        statement = statement.where(turns.c.created_at < _midnight(until + timedelta(days=1)))
    async with database.read() as connection:
        found = (await connection.execute(statement)).mappings().all()
    sums: dict[tuple[Any, ...], _Sum] = {}
    for row in found:
        group = {name: row[name] for name in by}
        if say_without_model and "model" in by and not row["model"]:
            group["model"] = _WITHOUT_MODEL.get(row["status"], "(no model)")
        sums.setdefault(tuple(group.values()), _Sum()).add(row)
    ordered = sorted(sums.items(), key=lambda item: [str(value or "") for value in item[0]])
    return [total.row(dict(zip(by, group, strict=True))) for group, total in ordered]


class _Sum:
    def __init__(self) -> None:
        self.turns = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost = Decimal(0)

    def add(self, row: Any) -> None:
        self.turns += row["turns"]
        self.input_tokens += int(row["input_tokens"])
        self.output_tokens += int(row["output_tokens"])
        self.cost += Decimal(row["each"] or 0) * row["turns"]

    def row(self, group: dict[str, Any]) -> UsageRow:
        return UsageRow(
            **group,
            turns=self.turns,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cost=Cost(amount=amount(self.cost)),
        )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
