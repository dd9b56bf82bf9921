"""Budgets and spending as the database has them: what the program lists and every server counts from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypeAlias

from sqlalchemy import Connection, func, select

from engine.api.data import Database, Write
from engine.api.errors import InvalidRequest, NotFound
from engine.api.identity import LOCAL
from engine.auth.key_text import PREFIX, is_key
from engine.auth.keys import check_principal
from engine.db.schema import api_keys, budgets, turns
from engine.providers.pricing import amount

Period: TypeAlias = Literal["day", "month"]
Unit: TypeAlias = Literal["cost", "tokens"]


class Budget(NamedTuple):
    """The most that a subject (`principal:ann`, `key:` and an id) spends in a period: dollars, or input and output tokens."""

    subject: str
    period: Period
    unit: Unit
    amount: Decimal


@dataclass(slots=True)
class Spend:
    """Dollars and tokens."""

    cost: Decimal = Decimal(0)
    tokens: int = 0

    def add(self, other: Spend, sign: int = 1) -> None:
        """Count another spend in, or with -1 out again."""
        self.cost += sign * other.cost
        self.tokens += sign * other.tokens

    def of(self, unit: Unit) -> Decimal:
        """One of the two."""
        return self.cost if unit == "cost" else Decimal(self.tokens)


class Spent(NamedTuple):
    """What turns that ended have spent, and what those that run have put aside."""

    spent: Spend
    held: Spend


class Standing(NamedTuple):
    """A budget, and what the rows say of its period that runs."""

    budget: Budget
    spent: Decimal
    held: Decimal
    frees: datetime

    @property
    def left(self) -> Decimal:
        """What another call may put aside."""
        return max(Decimal(0), self.budget.amount - self.spent - self.held)


async def spent_by_others(database: Database, subject: str, begin: datetime, end: datetime, owner: str) -> Spent:
    """What the turns of a period spent and put aside, without those of one owner."""
    kind, _, name = subject.partition(":")
    whose = turns.c.principal if kind == "principal" else turns.c.api_key
    mine = (whose == name, turns.c.created_at >= begin, turns.c.created_at < end, turns.c.owner != owner)
    tokens = func.coalesce(func.sum(turns.c.input_tokens), 0) + func.coalesce(func.sum(turns.c.output_tokens), 0)
    ended = (
        select(turns.c.cost, func.count().label("turns"), tokens.label("tokens"))
        .where(*mine, turns.c.status != "running")
        .group_by(turns.c.cost)
    )
    running = select(turns.c.reserved_cost, turns.c.reserved_tokens).where(*mine, turns.c.status == "running")

    def look(connection: Connection) -> tuple[Any, Any]:
        return connection.execute(ended).all(), connection.execute(running).all()

    over, open_ = await database.look(look)
    return Spent(
        Spend(sum((Decimal(row[0] or 0) * row[1] for row in over), Decimal(0)), sum(int(row[2]) for row in over)),
        Spend(sum((Decimal(row[0] or 0) for row in open_), Decimal(0)), sum(int(row[1] or 0) for row in open_)),
    )


async def standings(database: Database, now: datetime, subjects: Collection[str] | None = None) -> list[Standing]:
    """The budgets of some subjects, or every one, with what is spent of each and left, from the rows of all servers."""
    found: list[Standing] = []
    for budget in await all_budgets(database):
        if subjects is not None and budget.subject not in subjects:
            continue
        begin = begin_of(budget.period, now)
        end = end_of(budget.period, begin)
        spent, held = await spent_by_others(database, budget.subject, begin, end, "")
        found.append(Standing(budget, spent.of(budget.unit), held.of(budget.unit), end))
    return found


async def all_budgets(database: Database) -> list[Budget]:
    """Every budget, by subject."""
    statement = select(budgets).order_by(budgets.c.subject, budgets.c.period, budgets.c.unit)
    async with database.read() as connection:
        rows = (await connection.execute(statement)).all()
    return [Budget(row.subject, row.period, row.unit, Decimal(row.amount)) for row in rows]


async def set_budget(database: Database, budget: Budget) -> None:
    """Put a budget in the place of the one before; raises `InvalidRequest`."""
    await set_budgets(database, [budget])


async def set_budgets(database: Database, wanted: Sequence[Budget]) -> None:
    """As above for several budgets: all or, with `InvalidRequest` for one of them, none."""
    for budget in wanted:
        check_budget(budget)
    writes: list[Write] = []
    for budget in wanted:
        writes.append(_removal(budget.subject, budget.period, budget.unit))
        writes.append(Write(budgets, "insert", {**budget._asdict(), "amount": amount(budget.amount)}))
    await database.submit(writes)


def check_budget(budget: Budget) -> None:
    """Raises `InvalidRequest` for a budget that cannot be one."""
    kind, _, name = budget.subject.partition(":")
    if kind not in ("principal", "key") or not name or len(budget.subject) > 80:
        raise InvalidRequest("a budget belongs to principal:NAME or key:ID", field="subject")
    if not budget.amount.is_finite() or budget.amount < 0:
        raise InvalidRequest("a budget is an amount from 0 on", field="amount")


async def check_subject(database: Database, subject: str) -> str | None:
    """What is doubtful about a subject: a revoked key, or a principal that has done nothing yet; else None.

    Raises `NotFound` for a key that does not exist, and `InvalidRequest` for a name that no principal can have.
    """
    kind, _, name = subject.partition(":")
    return await (_check_key(database, name) if kind == "key" else _check_principal(database, name))


async def _check_key(database: Database, id: str) -> str | None:
    async with database.read() as connection:
        row = (await connection.execute(select(api_keys.c.revoked_at).where(api_keys.c.id == id))).first()
    if row is None:
        # Does not repeat the id: somebody may have put in the whole key.
        hint = f"; the id of a key is what stands between {PREFIX}_ and the next _" if is_key(id) else ""
        raise NotFound(f"no API key has this id; `betterai keys list` shows the ids{hint}", field="subject")
    return f"key {id} is revoked" if row.revoked_at is not None else None


async def _check_principal(database: Database, name: str) -> str | None:
    check_principal(name)
    if name == LOCAL.id:
        return None
    async with database.read() as connection:
        for table in (api_keys, turns):
            if (await connection.execute(select(table.c.principal).where(table.c.principal == name).limit(1))).first():
                return None
    return f"the principal {name!r} has neither keys nor turns"


async def remove_budget(database: Database, subject: str, period: Period, unit: Unit) -> None:
    """Take a budget away; one that is not there is none."""
    await database.submit([_removal(subject, period, unit)])


def _removal(subject: str, period: Period, unit: Unit) -> Write:
    return Write(budgets, "delete", {}, {"subject": subject, "period": period, "unit": unit})


def begin_of(period: Period, at: datetime) -> datetime:
    """When the day or month of a moment began."""
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return day if period == "day" else day.replace(day=1)


def end_of(period: Period, begin: datetime) -> datetime:
    """When a period that began then is over."""
    return begin + timedelta(days=1) if period == "day" else begin_of("month", begin + timedelta(days=32))
