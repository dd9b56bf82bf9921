"""Sums over the rows of turns mean the same on SQLite and MySQL."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from engine.api.data import Write
from engine.api.events import Cost
from engine.db.databases import Database
from engine.db.migrations import upgrade
from engine.db.schema import ENGINE_HISTORY, turns
from engine.sessions.usage import UsageRow, usage

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def turn(stream: str, **values: Any) -> Write:
    row = {
        "stream": stream,
        "principal": "ann",
        "command": "chat.send",
        "owner": "test",
        "lease_until": NOON,
        "status": "completed",
        "model": "v/m",
        "n": 3,
        "keep": False,
        "input_tokens": 5,
        "output_tokens": 2,
        "cost": "0.1",
        "currency": "USD",
        "created_at": NOON,
        **values,
    }
    return Write(turns, "insert", row)


@pytest.fixture
async def filled(database: Database) -> Database:
    await upgrade(database, [ENGINE_HISTORY])
    await database.submit(
        [
            *(turn(f"s_{number}") for number in range(10)),
            turn("s_late", created_at=datetime(2026, 11, 23, 23, 59, 59, 999999, tzinfo=UTC), cost="0.0000001"),
            turn("s_next", created_at=datetime(2026, 11, 24, tzinfo=UTC)),
            turn("s_runs", status="running", model=None, cost=None, input_tokens=None, output_tokens=None),
            turn("s_bob", principal="bob", model="v/other"),
        ]
    )
    return database


async def test_costs_are_summed_to_the_last_digit(filled: Database) -> None:
    day = date(2026, 11, 23)
    running, row = await usage(filled, by=["model"], principal="ann", since=day, until=day)
    assert (running.model, running.turns, running.cost) == (None, 1, Cost(amount="0"))
    assert row == UsageRow(model="v/m", turns=11, input_tokens=55, output_tokens=22, cost=Cost(amount="1.0000001"))


async def test_a_day_ends_at_midnight_of_utc(filled: Database) -> None:
    rows = await usage(filled, by=["day"], principal="ann")
    assert [(row.day, row.turns) for row in rows] == [("2026-11-23", 12), ("2026-11-24", 1)]


async def test_groups_of_everybody_come_in_their_order(filled: Database) -> None:
    rows = await usage(filled, by=["principal", "model"])
    assert [(row.principal, row.model, row.turns) for row in rows] == [
        ("ann", None, 1),
        ("ann", "v/m", 12),
        ("bob", "v/other", 1),
    ]


async def test_turns_that_no_model_served_are_named_where_that_is_asked_for(filled: Database) -> None:
    nothing: Any = {"model": None, "cost": "0", "input_tokens": 0, "output_tokens": 0}
    await filled.submit(
        [
            turn("s_refused", status="failed", **nothing),
            turn("s_refused_too", status="failed", **nothing),
            turn("s_stopped", status="cancelled", **nothing),
            turn("s_failed", status="failed"),
        ]
    )
    rows = await usage(filled, by=["principal", "model"], principal="ann", say_without_model=True)
    by_status = await usage(filled, by=["model", "status"], principal="ann", say_without_model=True)
    without_groups = await usage(filled, by=[], principal="ann", say_without_model=True)
    assert [(row.model, row.turns) for row in rows] == [
        ("(no model)", 1),
        ("(refused)", 2),
        ("(running)", 1),
        ("v/m", 13),
    ]
    assert [row.status for row in rows] == [None] * 4
    assert ("(refused)", "failed", 2) in [(row.model, row.status, row.turns) for row in by_status]
    assert [row.turns for row in without_groups] == [17]


async def test_without_groups_all_is_one_row(filled: Database) -> None:
    (row,) = await usage(filled, by=[], principal="bob")
    assert row == UsageRow(turns=1, input_tokens=5, output_tokens=2, cost=Cost(amount="0.1"))
