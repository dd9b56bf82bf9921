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
from engine.api.errors import BudgetExceeded, InvalidRequest, NotFound
from engine.api.events import Cost, Usage
from engine.api.identity import Principal
from engine.auth.keys import ApiKeys
from engine.db.databases import Database
from engine.db.schema import metadata, turns
from engine.sessions.budget_rows import (
    Budget,
    all_budgets,
    begin_of,
    check_subject,
    end_of,
    remove_budget,
    set_budget,
    set_budgets,
    standings,
)
from engine.sessions.budgets import Budgets

ANN = Principal("ann", key="bai_one")
NOW = datetime(2026, 11, 26, 15, 30, tzinfo=UTC)


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def monotonic(self) -> float:
        return self.now.timestamp()


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
    return Budgets(rows, now=clock, clock=clock.monotonic)


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
    await purse.reserve("s_1", 10**9, Decimal(10**6))
    assert not purse.applies("s_1")


@pytest.mark.parametrize(("tokens", "cost"), [(-1, "0"), (0, "-0.1"), (0, "NaN")])
async def test_less_than_nothing_is_never_put_aside(rows: Database, purse: Budgets, tokens: int, cost: str) -> None:
    await set_budget(rows, Budget("principal:ann", "day", "cost", Decimal("1")))
    await purse.admit(ANN, "s_1")
    with pytest.raises((ValueError, ArithmeticError)):
        await purse.reserve("s_1", tokens, Decimal(cost))
    if not tokens:
        with pytest.raises((ValueError, ArithmeticError)):
            await purse.buy("s_1", Decimal(cost))
    assert purse.room("s_1") == (None, Decimal(1))


async def test_what_is_put_aside_counts_until_the_call_is_over(rows: Database, purse: Budgets) -> None:
    await set_budget(rows, Budget("principal:ann", "day", "cost", Decimal("1")))
    await purse.admit(ANN, "s_1")
    await purse.admit(ANN, "s_2")
    await purse.reserve("s_1", 100, Decimal("0.7"))
    with pytest.raises(BudgetExceeded, match=r"principal:ann has 0.3 of 1 dollars left for this day"):
        await purse.reserve("s_2", 100, Decimal("0.4"))
    purse.settle("s_1", Usage(input_tokens=10), dollars("0.2"))
    await purse.reserve("s_2", 100, Decimal("0.8"))
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
        await purse.reserve("s_1", 1, Decimal("0.36"))
    await purse.reserve("s_1", 1, Decimal("0.35"))
    purse.end("s_1", Usage(input_tokens=1), dollars("0.35"))
    with pytest.raises(BudgetExceeded, match=r"key:bai_one has 0 of 1 dollars"):
        await purse.admit(ANN, "s_2")


async def test_tokens_are_bounded_too(rows: Database, purse: Budgets) -> None:
    await set_budget(rows, Budget("principal:ann", "day", "tokens", Decimal(100)))
    await ended_row(rows, "s_a", "1", NOW)
    await purse.admit(ANN, "s_1")
    with pytest.raises(BudgetExceeded, match="has 85 of 100 tokens left"):
        await purse.reserve("s_1", 86, Decimal(0))
    await purse.reserve("s_1", 85, Decimal(0))


async def test_on_the_first_of_a_month_a_turn_counts_once_in_both_periods(
    rows: Database, purse: Budgets, clock: Clock
) -> None:
    clock.now = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
    for period in ("day", "month"):
        await set_budget(rows, Budget("principal:ann", period, "tokens", Decimal(1000)))
    await purse.admit(ANN, "s_1")
    purse.end("s_1", Usage(input_tokens=33, output_tokens=20), None)
    await purse.admit(ANN, "s_2")
    assert purse.room("s_2") == (947, None)


async def test_a_clock_that_is_set_back_does_not_keep_budgets_from_being_read_again(
    rows: Database, clock: Clock
) -> None:
    seconds = 0.0
    purse = Budgets(rows, now=clock, clock=lambda: seconds)
    await set_budget(rows, Budget("principal:ann", "day", "cost", Decimal("5")))
    await purse.admit(ANN, "s_1")
    clock.now -= timedelta(hours=1)
    seconds += 11
    await set_budget(rows, Budget("principal:ann", "day", "cost", Decimal("0")))
    with pytest.raises(BudgetExceeded):
        await purse.admit(ANN, "s_2")


async def test_a_budget_that_is_lowered_holds_for_the_next_call_of_a_running_turn(
    rows: Database, purse: Budgets, clock: Clock
) -> None:
    await set_budget(rows, Budget("principal:ann", "day", "tokens", Decimal(1000)))
    await purse.admit(ANN, "s_1")
    await purse.reserve("s_1", 100, Decimal(0))
    await set_budget(rows, Budget("principal:ann", "day", "tokens", Decimal(50)))
    clock.now += timedelta(seconds=11)
    with pytest.raises(BudgetExceeded):
        await purse.reserve("s_1", 100, Decimal(0))


async def test_two_servers_of_one_database_share_a_budget(rows: Database, clock: Clock) -> None:
    one, two = (Budgets(rows, name, shared=True, now=clock, clock=clock.monotonic) for name in ("one", "two"))
    await set_budget(rows, Budget("principal:ann", "day", "tokens", Decimal(100)))
    await ended_row(rows, "s_1", None, NOW, status="running", owner="one", input_tokens=0, output_tokens=0)
    await ended_row(rows, "s_2", None, NOW, status="running", owner="two", input_tokens=0, output_tokens=0)
    await one.admit(ANN, "s_1")
    await two.admit(ANN, "s_2")
    await one.reserve("s_1", 70, Decimal(0))
    with pytest.raises(BudgetExceeded, match="has 30 of 100 tokens left"):
        await two.reserve("s_2", 70, Decimal(0))
    await two.reserve("s_2", 30, Decimal(0))
    [standing] = await standings(rows, NOW)
    assert (standing.held, standing.left) == (Decimal(100), Decimal(0))


async def test_a_new_day_begins_at_midnight_and_a_turn_counts_where_it_began(
    rows: Database, purse: Budgets, clock: Clock
) -> None:
    await set_budget(rows, Budget("principal:ann", "day", "cost", Decimal("1")))
    await purse.admit(ANN, "s_1")
    await purse.reserve("s_1", 1, Decimal("1"))
    clock.now += timedelta(hours=9)
    purse.end("s_1", Usage(), dollars("1"))
    await purse.admit(ANN, "s_2")
    await purse.reserve("s_2", 1, Decimal("1"))


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
    await purse.reserve("s_1", 120, Decimal("0.25"))
    purse.settle("s_1", Usage(input_tokens=20, output_tokens=10), dollars("0.1"))
    await purse.reserve("s_1", 100, Decimal("0.3"))
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
    begin = begin_of(period, at)
    assert begin <= at < end_of(period, begin)
    assert begin_of(period, end_of(period, begin)) == end_of(period, begin)


@pytest.mark.parametrize("form", ["abcd2345efgh", "of ann", "bai_{id}", "{key}", "{id}x", "'"])
async def test_a_key_that_does_not_exist_cannot_have_a_budget(rows: Database, form: str) -> None:
    key, info = await ApiKeys(rows, b"s" * 32).create("ann", "of ann")
    with pytest.raises(NotFound, match="no API key has this id") as refused:
        await check_subject(rows, f"key:{form.format(id=info.id, key=key)}")
    assert key not in str(refused.value)
    assert await check_subject(rows, f"key:{info.id}") is None


async def test_a_budget_of_a_revoked_key_is_doubtful(rows: Database) -> None:
    keys = ApiKeys(rows, b"s" * 32)
    _, info = await keys.create("ann", "of ann")
    await keys.revoke(info.id)
    assert await check_subject(rows, f"key:{info.id}") == f"key {info.id} is revoked"


async def test_a_principal_is_known_by_its_keys_or_its_turns(rows: Database) -> None:
    await ApiKeys(rows, b"s" * 32).create("bob", "of bob")
    await ended_row(rows, "s_1", "0.5", NOW)
    doubts = [await check_subject(rows, f"principal:{name}") for name in ("bob", "ann", "local", "carl")]
    assert doubts == [None, None, None, "the principal 'carl' has neither keys nor turns"]
    with pytest.raises(InvalidRequest, match="without spaces"):
        await check_subject(rows, "principal:carl smith")


async def test_of_several_budgets_with_one_wrong_none_is_set(rows: Database) -> None:
    with pytest.raises(InvalidRequest, match="an amount from 0 on"):
        await set_budgets(
            rows,
            [
                Budget("principal:ann", "day", "cost", Decimal(5)),
                Budget("principal:ann", "month", "cost", Decimal(-1)),
            ],
        )
    assert await all_budgets(rows) == []
