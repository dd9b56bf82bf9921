"""What principals and keys may spend in a day and in a month, and that they spend no more.

Every call to a model puts aside the most that it can cost before it is made; what is spent and what is put aside together
never pass a budget. Days and months are those of UTC.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Literal, NamedTuple, TypeAlias

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from engine.api.data import Database, Write
from engine.api.errors import BudgetExceeded, DatabaseUnavailable, EngineError, InvalidRequest
from engine.api.events import Cost, Usage
from engine.api.identity import Principal
from engine.db.refusals import reason
from engine.db.schema import budgets, turns
from engine.log import get_logger
from engine.providers.metering import amount

log = get_logger(__name__)

Period: TypeAlias = Literal["day", "month"]
Unit: TypeAlias = Literal["cost", "tokens"]

REMEMBERED_SECONDS = 10.0
"""For how long budgets are not read again: so soon another one takes effect."""

READ_WITHIN = 0.05
"""Seconds for which a turn waits for budgets that are read again; then the old ones hold for it."""


class Budget(NamedTuple):
    """The most that a subject (`principal:ann`, `key:bai_…`) spends in a period: dollars, or input and output tokens."""

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


@dataclass(slots=True)
class _Open:
    """A turn that runs: what it has used, and what its call has put aside."""

    subjects: tuple[str, ...]
    begun: datetime
    used: Spend = field(default_factory=Spend)
    aside: Spend = field(default_factory=Spend)


def utc_now() -> datetime:
    """The time by which days and months are told."""
    return datetime.now(UTC)


class Budgets:
    """The budgets of one database, and the spending of the turns of this process.

    Implements what `engine.providers` asks before and after each call.
    """

    def __init__(self, database: Database, *, now: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._now = now
        self._limits: dict[str, list[Budget]] = {}
        self._read_at: datetime | None = None
        self._spent: dict[tuple[str, datetime], Spend] = {}
        self._held: dict[str, Spend] = {}
        self._open: dict[str, _Open] = {}
        self._loading = asyncio.Lock()
        self._reading: asyncio.Task[None] | None = None

    # A turn

    async def admit(self, principal: Principal, stream: str) -> None:
        """Open the account of a turn; raises `BudgetExceeded` where nothing is left."""
        await self._refresh()
        subjects = (principal.subject, *([principal.key_subject] if principal.key_subject else ()))
        opened = _Open(subjects, self._now())
        for budget in self._of(subjects):
            await self._load(budget.subject, _begin(budget.period, opened.begun))
        self._check(opened, Spend(Decimal(0), 1), "nothing is left for another turn")
        self._open[stream] = opened

    def applies(self, stream: str) -> bool:
        """Whether a budget bounds this turn."""
        opened = self._open.get(stream)
        return opened is not None and bool(self._of(opened.subjects))

    def reserve(self, stream: str, tokens: int, cost: Decimal) -> None:
        """Put aside the most that a call can use; raises `BudgetExceeded` where that is more than is left."""
        opened = self._open.get(stream)
        if opened is None or not self._of(opened.subjects):
            return
        wanted = Spend(cost, tokens)
        self._check(opened, wanted, "this call may use more than is left")
        self._hold(opened, wanted)
        values = {
            "reserved_cost": amount(opened.used.cost + cost),
            "reserved_tokens": opened.used.tokens + tokens,
        }
        # If the process dies, the turn's row tells what it may have cost.
        kept = self._database.submit([Write(turns, "update", values, {"stream": stream})])
        kept.add_done_callback(_note_unkept)

    def spend(self, stream: str, cost: Decimal) -> None:
        """Something is bought beside the calls; raises `BudgetExceeded` where that is more than is left."""
        opened = self._open.get(stream)
        if opened is None or not self._of(opened.subjects):
            return
        bought = Spend(cost, 0)
        wanted = Spend(cost + opened.aside.cost, opened.aside.tokens)
        self._check(opened, wanted, "this may cost more than is left")
        opened.used.add(bought)
        for subject in opened.subjects:
            self._held.setdefault(subject, Spend()).add(bought)

    def settle(self, stream: str, usage: Usage, cost: Cost | None) -> None:
        """The call is over: all calls of the turn have used so much, and nothing is put aside any more."""
        if (opened := self._open.get(stream)) is not None:
            self._use(opened, _spend(usage, cost))

    def end(self, stream: str, usage: Usage | None, cost: Cost | None) -> None:
        """The turn is over, and its end says what it used; for a turn that was not begun, nothing."""
        opened = self._open.get(stream)
        if opened is None:
            return
        total = _spend(usage or Usage(), cost)
        self._use(opened, Spend())
        del self._open[stream]
        for subject in opened.subjects:
            for period in ("day", "month"):
                spent = self._spent.get((subject, _begin(period, opened.begun)))
                if spent is not None:
                    spent.add(total)

    # Accounts

    def _of(self, subjects: Iterable[str]) -> list[Budget]:
        return [budget for subject in subjects for budget in self._limits.get(subject, ())]

    def _check(self, opened: _Open, wanted: Spend, words: str) -> None:
        for budget in self._of(opened.subjects):
            begin = _begin(budget.period, self._now())
            spent = self._spent.get((budget.subject, begin), Spend()).of(budget.unit)
            held = self._held.get(budget.subject, Spend()).of(budget.unit) - opened.aside.of(budget.unit)
            left = budget.amount - spent - held
            if left < wanted.of(budget.unit) or left <= 0:
                frees = _end(budget.period, begin)
                told = f"{amount(max(left, Decimal(0)))} of {amount(budget.amount)}"
                unit = "dollars" if budget.unit == "cost" else "tokens"
                raise BudgetExceeded(
                    f"the budget of {budget.subject} has {told} {unit} left for this {budget.period}; {words}; "
                    f"it is whole again at {frees:%Y-%m-%d %H:%M} UTC",
                    retry_after=(frees - self._now()).total_seconds(),
                )

    def _hold(self, opened: _Open, aside: Spend) -> None:
        for subject in opened.subjects:
            held = self._held.setdefault(subject, Spend())
            held.add(opened.aside, -1)
            held.add(aside)
        opened.aside = aside

    def _use(self, opened: _Open, used: Spend) -> None:
        self._hold(opened, Spend())
        for subject in opened.subjects:
            held = self._held.setdefault(subject, Spend())
            held.add(opened.used, -1)
            held.add(used)
            if not held.cost and not held.tokens:
                del self._held[subject]
        opened.used = used

    async def _refresh(self) -> None:
        """Read the budgets again where they are no longer fresh; a slow database holds nobody up for long."""
        if self._read_at is not None and (self._now() - self._read_at).total_seconds() < REMEMBERED_SECONDS:
            return
        first = self._read_at is None
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="budgets")
        await asyncio.wait((self._reading,), timeout=None if first else READ_WITHIN)

    async def _read(self) -> None:
        now = self._now()
        try:
            found = await all_budgets(self._database)
        except (SQLAlchemyError, OSError, EngineError) as error:
            # Turns go on while a database is away, and so do the budgets that are known.
            log.warning("budgets_unreadable", reason=reason(error))
        else:
            self._limits = {}
            for budget in found:
                self._limits.setdefault(budget.subject, []).append(budget)
            oldest = _begin("month", now) - timedelta(days=1)
            self._spent = {key: spent for key, spent in self._spent.items() if key[1] >= oldest}
        self._read_at = now

    async def close(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _load(self, subject: str, begin: datetime) -> None:
        """Sum up what the rows say of a period, once; turns of this process that run are counted from memory."""
        async with self._loading:
            if (subject, begin) in self._spent:
                return
            mine = list(self._open)
            ended = Spend()
            # In its place before the rows are read: what ends meanwhile is counted here, and not among the rows.
            self._spent[subject, begin] = ended
            try:
                ended.add(await _spent_since(self._database, subject, begin, mine))
            except (SQLAlchemyError, OSError) as error:
                del self._spent[subject, begin]
                log.warning("spending_unreadable", subject=subject, reason=reason(error))
                raise DatabaseUnavailable(
                    f"what {subject} has spent cannot be read at the moment; try again", retry_after=1.0
                ) from None
            except BaseException:
                del self._spent[subject, begin]
                raise


async def _spent_since(database: Database, subject: str, begin: datetime, without: Sequence[str]) -> Spend:
    kind, _, name = subject.partition(":")
    whose = turns.c.principal if kind == "principal" else turns.c.api_key
    tokens = func.coalesce(func.sum(turns.c.input_tokens), 0) + func.coalesce(func.sum(turns.c.output_tokens), 0)
    statement = (
        select(turns.c.cost, func.count().label("turns"), tokens.label("tokens"))
        .where(whose == name, turns.c.created_at >= begin, turns.c.status != "running")
        .where(turns.c.stream.not_in(without))
        .group_by(turns.c.cost)
    )
    async with database.read() as connection:
        rows = (await connection.execute(statement)).all()
    return Spend(sum((Decimal(row[0] or 0) * row[1] for row in rows), Decimal(0)), sum(int(row[2]) for row in rows))


# The table


async def all_budgets(database: Database) -> list[Budget]:
    """Every budget, by subject."""
    statement = select(budgets).order_by(budgets.c.subject, budgets.c.period, budgets.c.unit)
    async with database.read() as connection:
        rows = (await connection.execute(statement)).all()
    return [Budget(row.subject, row.period, row.unit, Decimal(row.amount)) for row in rows]


async def set_budget(database: Database, budget: Budget) -> None:
    """Put a budget in the place of the one before; raises `InvalidRequest`."""
    kind, _, name = budget.subject.partition(":")
    if kind not in ("principal", "key") or not name or len(budget.subject) > 80:
        raise InvalidRequest("a budget belongs to principal:NAME or key:ID", field="subject")
    if not budget.amount.is_finite() or budget.amount < 0:
        raise InvalidRequest("a budget is an amount from 0 on", field="amount")
    values = {**budget._asdict(), "amount": amount(budget.amount)}
    await database.submit([_removal(budget.subject, budget.period, budget.unit), Write(budgets, "insert", values)])


async def remove_budget(database: Database, subject: str, period: Period, unit: Unit) -> None:
    """Take a budget away; one that is not there is none."""
    await database.submit([_removal(subject, period, unit)])


def _removal(subject: str, period: Period, unit: Unit) -> Write:
    return Write(budgets, "delete", {}, {"subject": subject, "period": period, "unit": unit})


def _note_unkept(kept: asyncio.Future[None]) -> None:
    if not kept.cancelled() and (error := kept.exception()) is not None:
        log.warning("reservation_not_written", error=str(error))


def _spend(usage: Usage, cost: Cost | None) -> Spend:
    return Spend(Decimal(cost.amount) if cost is not None else Decimal(0), usage.input_tokens + usage.output_tokens)


def _begin(period: Period | str, at: datetime) -> datetime:
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return day if period == "day" else day.replace(day=1)


def _end(period: Period, begin: datetime) -> datetime:
    return begin + timedelta(days=1) if period == "day" else _begin("month", begin + timedelta(days=32))
