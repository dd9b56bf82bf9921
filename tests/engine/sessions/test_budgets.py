"""Budgets on real databases: what is spent and what is put aside together never pass one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, select

from engine.api.data import Write
from engine.api.errors import BudgetExceeded, InvalidRequest
from engine.api.events import Cost, Usage
from engine.api.identity import Principal
from engine.db.databases import Database
from engine.db.schema import metadata, turns
from engine.sessions.budgets import Budget, Budgets, Spend, _begin, _end, all_budgets, remove_budget, set_budget

ANN = Principal("ann", key="bai_one")
NOW = datetime(2026, 11, 26, 15, 30, tzinfo=UTC)


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
async def rows(database: Database) -> AsyncIterator[Database]:
    def create(connection: Connection) -> None:
        with connection.begin():
            metadata.create_all(connection)

    await database.run(create)
    yield database


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def purse(rows: Database, clock: Clock) -> Budgets:
    return Budgets(rows, now=clock)


def dollars(amount: str) -> Cost:
    return Cost(amount=amount)


async def ended_row(database: Database, stream: str, cost: str | None, at: datetime, **more: Any) -> None:
    row = {
        "stream": stream,
        "principal": "ann",
        "api_key": "bai_one",
        "command": "chat.send",
        "owner": "earlier",
        "lease_until": at,
        "status": "completed",
        "n": 3,
        "keep": True,
        "created_at": at,
        "cost": cost,
        "input_tokens": 10,
        "output_tokens": 5,
    }
    await database.submit([Write(turns, "insert", {**row, **more})])


async def test_without_a_budget_nothing_is_bounded(purse: Budgets) -> None:
    await purse.admit(ANN, "s_1")
    purse.reserve("s_1", 10**9, Decimal(10**6))
    assert not purse.applies("s_1")


async def test_what_is_put_aside_counts_until_the_call_is_over(rows: Database, purse: Budgets) -> None:
    await set_budget(rows, Budget("principal:ann", "day", "cost", Decimal("1")))
    await purse.admit(ANN, "s_1")
    await purse.admit(ANN, "s_2")
    purse.reserve("s_1", 100, Decimal("0.7"))
    with pytest.raises(BudgetExceeded, match=r"principal:ann has 0.3 of 1 dollars left for this day"):
        purse.reserve("s_2", 100, Decimal("0.4"))
    purse.settle("s_1", Usage(input_tokens=10), dollars("0.2"))
    purse.reserve("s_2", 100, Decimal("0.8"))
    with pytest.raises(BudgetExceeded) as refused:
        await purse.admit(ANN, "s_3")
    assert refused.value.retry_after == timedelta(hours=8, minutes=30).total_seconds()
    assert "whole again at 2026-11-27 00:00 UTC" in refused.value.message


async def test_what_earlier_turns_spent_is_read_from_their_rows(rows: Database, purse: Budgets) -> None:
    await set_budget(rows, Budget("key:bai_one", "day", "cost", Decimal("1")))
    await set_budget(rows, Budget("principal:ann", "month", "cost", Decimal("2")))
    await ended_row(rows, "s_a", "0.55", NOW - timedelta(hours=1))
    await ended_row(rows, "s_b", "0.1", NOW - timedelta(hours=2))
    await ended_row(rows, "s_c", "0.9", NOW - timedelta(days=2))
    await ended_row(rows, "s_d", None, NOW - timedelta(hours=1))
    await ended_row(rows, "s_e", "50", NOW - timedelta(days=40))
    await ended_row(rows, "s_f", "50", NOW, principal="bob", api_key="bai_two")
    await purse.admit(ANN, "s_1")
    with pytest.raises(BudgetExceeded, match=r"key:bai_one has 0.35 of 1 dollars"):
        purse.reserve("s_1", 1, Decimal("0.36"))
    purse.reserve("s_1", 1, Decimal("0.35"))
    purse.end("s_1", Usage(input_tokens=1), dollars("0.35"))
    with pytest.raises(BudgetExceeded, match=r"key:bai_one has 0 of 1 dollars"):
        await purse.admit(ANN, "s_2")


async def test_tokens_are_bounded_too(rows: Database, purse: Budgets) -> None:
    await set_budget(rows, Budget("principal:ann", "day", "tokens", Decimal(100)))
    await ended_row(rows, "s_a", "1", NOW)
    await purse.admit(ANN, "s_1")
    with pytest.raises(BudgetExceeded, match="has 85 of 100 tokens left"):
        purse.reserve("s_1", 86, Decimal(0))
    purse.reserve("s_1", 85, Decimal(0))


async def test_a_new_day_begins_at_midnight_and_a_turn_counts_where_it_began(
    rows: Database, purse: Budgets, clock: Clock
) -> None:
    await set_budget(rows, Budget("principal:ann", "day", "cost", Decimal("1")))
    await purse.admit(ANN, "s_1")
    purse.reserve("s_1", 1, Decimal("1"))
    clock.now += timedelta(hours=9)
    purse.end("s_1", Usage(), dollars("1"))
    await purse.admit(ANN, "s_2")
    purse.reserve("s_2", 1, Decimal("1"))


async def test_a_budget_that_is_changed_or_removed_holds_soon(rows: Database, purse: Budgets, clock: Clock) -> None:
    await set_budget(rows, Budget("principal:ann", "day", "cost", Decimal("0")))
    with pytest.raises(BudgetExceeded):
        await purse.admit(ANN, "s_1")
    await set_budget(rows, Budget("principal:ann", "day", "cost", Decimal("0.5")))
    assert [budget.amount for budget in await all_budgets(rows)] == [Decimal("0.5")]
    clock.now += timedelta(seconds=11)
    await purse.admit(ANN, "s_1")
    await remove_budget(rows, "principal:ann", "day", "cost")
    clock.now += timedelta(seconds=11)
    await purse.admit(ANN, "s_2")
    assert not purse.applies("s_2")


async def test_the_row_tells_what_a_killed_turn_may_have_cost(rows: Database, purse: Budgets) -> None:
    await set_budget(rows, Budget("principal:ann", "day", "cost", Decimal("1")))
    await ended_row(rows, "s_1", None, NOW, status="running")
    await purse.admit(ANN, "s_1")
    purse.reserve("s_1", 120, Decimal("0.25"))
    purse.settle("s_1", Usage(input_tokens=20, output_tokens=10), dollars("0.1"))
    purse.reserve("s_1", 100, Decimal("0.3"))
    await rows.submit([])
    async with rows.read() as connection:
        row = (await connection.execute(select(turns))).mappings().one()
    assert (row["reserved_cost"], row["reserved_tokens"]) == ("0.4", 130)


@pytest.mark.parametrize(
    ("budget", "field"),
    [
        (Budget("ann", "day", "cost", Decimal(1)), "subject"),
        (Budget("principal:", "day", "cost", Decimal(1)), "subject"),
        (Budget("principal:ann", "day", "cost", Decimal(-1)), "amount"),
        (Budget("principal:ann", "day", "cost", Decimal("NaN")), "amount"),
    ],
)
async def test_a_budget_that_is_none_is_refused_by_its_field(rows: Database, budget: Budget, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await set_budget(rows, budget)
    assert refused.value.field == field


@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)), st.sampled_from(["day", "month"]))
def test_a_period_holds_its_moment_and_the_next_begins_where_it_ends(at: datetime, period: Any) -> None:
    begin = _begin(period, at)
    assert begin <= at < _end(period, begin)
    assert _begin(period, _end(period, begin)) == _end(period, begin)


STEPS = st.lists(
    st.tuples(st.sampled_from(["admit", "reserve", "settle", "end"]), st.integers(0, 4), st.integers(0, 40)),
    max_size=60,
)


@given(STEPS)
def test_spent_and_put_aside_never_pass_the_budget(steps: list[tuple[str, int, int]]) -> None:
    """In memory alone: turns 0 to 4 in any order, each using at most what it had put aside."""
    purse = Budgets(None, now=lambda: NOW)  # type: ignore[arg-type]  # no row is read or written here
    limit = Decimal(100)
    purse._limits = {"principal:ann": [Budget("principal:ann", "day", "tokens", limit)]}
    purse._spent = {("principal:ann", _begin("day", NOW)): Spend()}
    purse._read_at = NOW
    purse._database = _Nowhere()  # type: ignore[assignment]
    aside: dict[str, int] = {}
    used: dict[str, int] = {}
    spent = 0
    for step, turn, much in steps:
        id = f"s_{turn}"
        if step == "admit" and id not in used:
            try:
                _run(purse.admit(ANN, id))
            except BudgetExceeded:
                assert spent + sum(used.values()) + sum(aside.values()) >= limit
            else:
                aside[id] = used[id] = 0
        elif id not in used:
            continue
        elif step == "reserve":
            others = spent + sum(used.values()) + sum(aside.values()) - aside[id]
            try:
                purse.reserve(id, much, Decimal(0))
                aside[id] = much
            except BudgetExceeded:
                assert others + much > limit or others >= limit
        elif step == "settle":
            used[id] += min(much, aside[id])
            aside[id] = 0
            purse.settle(id, Usage(input_tokens=used[id]), None)
        else:
            purse.end(id, Usage(input_tokens=used[id]), None)
            spent += used.pop(id)
            del aside[id]
        assert spent + sum(used.values()) + sum(aside.values()) <= limit


class _Nowhere:
    def submit(self, writes: list[Write]) -> Unwaited:
        """Written nowhere."""
        return Unwaited()


class Unwaited:
    def add_done_callback(self, callback: Any) -> None:
        """Never done."""


def _run(work: Any) -> None:
    """Run what never waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waited")
