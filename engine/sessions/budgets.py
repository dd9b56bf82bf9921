"""What principals and keys may spend in a day and in a month, and that they spend no more.

Every call to a model puts aside the most that it can cost before it is made; what is spent and what is put aside together
never pass a budget, on however many servers of one database. Days and months are those of UTC.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from engine.api.data import Database, Write
from engine.api.errors import BudgetExceeded, DatabaseUnavailable, EngineError
from engine.api.events import Cost, Usage
from engine.api.identity import Principal
from engine.db.refusals import reason
from engine.db.schema import turns
from engine.log import get_logger
from engine.providers.pricing import amount
from engine.sessions.budget_rows import (
    Budget,
    Period,
    Spend,
    Spent,
    all_budgets,
    begin_of,
    end_of,
    spent_by_others,
)

log = get_logger(__name__)

PERIODS: tuple[Period, ...] = ("day", "month")

REMEMBERED_SECONDS = 10.0
"""For how long budgets are not read again: so soon another one takes effect."""

READ_WITHIN = 0.05
"""Seconds for which a turn waits for budgets that are read again; then the old ones hold for it."""

KEPT_WITHIN = 2.0
"""Seconds for which a call waits until the turn's row says what it may cost; then it is made all the same."""

READING_SHARE = 20
"""Sums are read again after so many times the time that their last reading took: a long month costs little, too."""

Key = tuple[str, Period, datetime]
"""A subject, and a period by its kind and its begin: on the first of a month both kinds begin at once."""


@dataclass(slots=True)
class _Open:
    """A turn that runs: what it has used, what its call has put aside, and what it is about to buy beside its calls."""

    subjects: tuple[str, ...]
    begun: datetime
    used: Spend = field(default_factory=Spend)
    aside: Spend = field(default_factory=Spend)
    buying: Spend = field(default_factory=Spend)
    over: bool = False

    @property
    def most(self) -> Spend:
        """All that it may have spent by the end of what it does now."""
        each = self.used, self.aside, self.buying
        return Spend(sum((one.cost for one in each), Decimal(0)), sum(one.tokens for one in each))


@dataclass(slots=True)
class _Others:
    """What rows of other processes say of a period, when that was read, and for how long it is taken."""

    spent: Spent
    until: float


def utc_now() -> datetime:
    """The time by which days and months are told."""
    return datetime.now(UTC)


class Budgets:
    """The budgets of one database, and the spending of the turns of this process, which is their `owner`.

    Implements what `engine.providers` asks before and after each call. Turns of this process are counted in memory alone, and
    those of others from their rows alone, so that none counts twice.
    """

    def __init__(
        self,
        database: Database,
        owner: str = "",
        *,
        shared: bool = False,
        now: Callable[[], datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._owner = owner
        self._shared = shared
        self._now = now
        self._clock = clock
        self._limits: dict[str, list[Budget]] = {}
        self._read_at: float | None = None
        self._own: dict[Key, Spend] = {}
        self._others: dict[Key, _Others] = {}
        self._held: dict[str, Spend] = {}
        self._open: dict[str, _Open] = {}
        self._reading: asyncio.Task[None] | None = None
        self._summing: dict[Key, asyncio.Task[None]] = {}

    # A turn

    async def admit(self, principal: Principal, stream: str) -> None:
        """Open the account of a turn; raises `BudgetExceeded` where nothing is left."""
        await self._refresh()
        subjects = (principal.subject, *([principal.key_subject] if principal.key_subject else ()))
        opened = _Open(subjects, self._now())
        await self._judge(opened, Spend(Decimal(0), 1), Spend(), "nothing is left for another turn")
        self._open[stream] = opened

    def applies(self, stream: str) -> bool:
        """Whether a budget bounds this turn."""
        opened = self._open.get(stream)
        return opened is not None and bool(self._of(opened.subjects))

    def room(self, stream: str) -> tuple[int | None, Decimal | None]:
        """Tokens and dollars that the turn's next call may put aside; None where nothing bounds them."""
        opened = self._open.get(stream)
        left: dict[str, Decimal] = {}
        for budget in self._of(opened.subjects) if opened is not None else ():
            each = max(Decimal(0), self._left(budget) + (opened.aside.of(budget.unit) if opened else 0))
            left[budget.unit] = min(each, left.get(budget.unit, each))
        return int(left["tokens"]) if "tokens" in left else None, left.get("cost")

    async def reserve(self, stream: str, tokens: int, cost: Decimal) -> None:
        """Put aside the most that a call can use; raises `BudgetExceeded` where that is more than is left.

        When it returns, the turn's row says so, and other servers of the database count it.
        """
        _check_amount(tokens, cost)
        await self._refresh()
        opened = self._open.get(stream)
        if opened is None or not self._of(opened.subjects):
            return
        words = "this call may use more than is left"
        before, aside = opened.aside, Spend(cost, tokens)
        await self._judge(opened, aside, before, words)
        self._hold(opened, aside)
        try:
            await self._confirm(stream, opened, aside, words)
        except BudgetExceeded:
            if opened.aside is aside:
                self._hold(opened, before)
            raise

    async def buy(self, stream: str, cost: Decimal) -> None:
        """Put aside what something beside the calls costs; raises `BudgetExceeded` where that is more than is left."""
        _check_amount(0, cost)
        opened = self._open.get(stream)
        if opened is None or not self._of(opened.subjects):
            return
        words = "this may cost more than is left"
        price = Spend(cost, 0)
        await self._judge(opened, price, Spend(), words)
        self._buying(opened, cost)
        try:
            await self._confirm(stream, opened, price, words)
        except BaseException:
            self._buying(opened, -cost)
            raise

    def bought(self, stream: str, price: Decimal, usage: Usage, cost: Cost | None) -> None:
        """It is bought at this price, and the turn has used so much by now."""
        if (opened := self._open.get(stream)) is not None:
            self._buying(opened, -min(price, opened.buying.cost))
            self._count(opened, spend_of(usage, cost))

    def used(self, stream: str, usage: Usage, cost: Cost | None) -> None:
        """The turn has used so much by now; what its call has put aside stays."""
        if (opened := self._open.get(stream)) is not None:
            self._count(opened, spend_of(usage, cost))

    def settle(self, stream: str, usage: Usage, cost: Cost | None) -> None:
        """The call is over: all calls of the turn have used so much, and nothing is put aside any more."""
        if (opened := self._open.get(stream)) is not None:
            self._hold(opened, Spend())
            self._count(opened, spend_of(usage, cost))

    def end(self, stream: str, usage: Usage | None, cost: Cost | None) -> None:
        """The turn is over, and its end says what it used; for a turn that was not begun, nothing."""
        opened = self._open.get(stream)
        if opened is None:
            return
        self._hold(opened, Spend())
        self._buying(opened, -opened.buying.cost)
        self._count(opened, Spend())
        opened.over = True
        del self._open[stream]
        total = spend_of(usage or Usage(), cost)
        if not total.cost and not total.tokens:
            return
        for subject in opened.subjects:
            for period in PERIODS:
                self._own.setdefault((subject, period, begin_of(period, opened.begun)), Spend()).add(total)

    # Accounts

    def _of(self, subjects: Iterable[str]) -> list[Budget]:
        return [budget for subject in subjects for budget in self._limits.get(subject, ())]

    async def _judge(self, opened: _Open, wanted: Spend, freed: Spend, words: str) -> None:
        """Raise where a budget has less left than is wanted, also when what others had put aside is looked at again."""
        await self._sum(opened)
        try:
            self._check(opened, wanted, freed, words)
        except BudgetExceeded:
            if not self._others_hold(opened):
                raise
            # Their calls may be over since their rows were read.
            await self._sum(opened, anew=True)
            self._check(opened, wanted, freed, words)

    def _others_hold(self, opened: _Open) -> bool:
        """Whether other processes had put something of the turn's budgets aside when their rows were read."""
        now = self._now()
        keys = ((budget.subject, budget.period, begin_of(budget.period, now)) for budget in self._of(opened.subjects))
        held = (self._others[key].spent.held for key in keys if key in self._others)
        return any(each.tokens or each.cost for each in held)

    async def _confirm(self, stream: str, opened: _Open, wanted: Spend, words: str) -> None:
        """Have the row say what is put aside; where other servers may have done so at the same moment, look once more.

        Whoever looks after both wrote sees both.
        """
        if await self._keep(stream, opened) and self._shared:
            await self._sum(opened, anew=True)
            self._check(opened, wanted, wanted, words)

    async def _keep(self, stream: str, opened: _Open) -> bool:
        """Have the turn's row say what it may cost: if the process dies, nothing else does. False where it was too slow."""
        most = opened.most
        values = {"reserved_cost": amount(most.cost), "reserved_tokens": most.tokens}
        kept = self._database.submit([Write(turns, "update", values, {"stream": stream})])
        kept.add_done_callback(_note_unkept)
        done, _ = await asyncio.wait((kept,), timeout=KEPT_WITHIN)
        # Turns go on while a database is away, within the budgets that are known.
        return bool(done) and not kept.cancelled() and kept.exception() is None

    def _left(self, budget: Budget) -> Decimal:
        """What a budget has left beside all that is put aside."""
        key: Key = (budget.subject, budget.period, begin_of(budget.period, self._now()))
        others = self._others.get(key)
        elsewhere = (others.spent.spent.of(budget.unit) + others.spent.held.of(budget.unit)) if others else Decimal(0)
        own = self._own.get(key, Spend()).of(budget.unit) + self._held.get(budget.subject, Spend()).of(budget.unit)
        return budget.amount - own - elsewhere

    def _check(self, opened: _Open, wanted: Spend, freed: Spend, words: str) -> None:
        """Raise where a budget has less left than is wanted, once what is freed for it is put back."""
        for budget in self._of(opened.subjects):
            left = self._left(budget) + freed.of(budget.unit)
            if left < wanted.of(budget.unit) or left <= 0:
                self._refuse(budget, max(left, Decimal(0)), words)

    def _refuse(self, budget: Budget, left: Decimal, words: str) -> None:
        now = self._now()
        frees = end_of(budget.period, begin_of(budget.period, now))
        told = f"{amount(left)} of {amount(budget.amount)}"
        unit = "dollars" if budget.unit == "cost" else "tokens"
        raise BudgetExceeded(
            f"the budget of {budget.subject} has {told} {unit} left for this {budget.period}; {words}; "
            f"it is whole again at {frees:%Y-%m-%d %H:%M} UTC",
            retry_after=(frees - now).total_seconds(),
            limit=float(budget.amount),
            remaining=float(left),
        )

    def _hold(self, opened: _Open, aside: Spend) -> None:
        self._shift(opened, opened.aside, aside)
        opened.aside = aside

    def _count(self, opened: _Open, used: Spend) -> None:
        self._shift(opened, opened.used, used)
        opened.used = used

    def _buying(self, opened: _Open, more: Decimal) -> None:
        if not opened.over:
            after = Spend(opened.buying.cost + more, 0)
            self._shift(opened, opened.buying, after)
            opened.buying = after

    def _shift(self, opened: _Open, before: Spend, after: Spend) -> None:
        if opened.over:
            return
        for subject in opened.subjects:
            held = self._held.setdefault(subject, Spend())
            held.add(before, -1)
            held.add(after)
            if not held.cost and not held.tokens:
                del self._held[subject]

    # What is read

    async def _refresh(self) -> None:
        """Read the budgets again where they are no longer fresh; a slow database holds nobody up for long."""
        if self._read_at is not None and self._clock() - self._read_at < REMEMBERED_SECONDS:
            return
        first = self._read_at is None
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(), name="budgets")
        await asyncio.wait((self._reading,), timeout=None if first else READ_WITHIN)

    async def _read(self) -> None:
        at = self._clock()
        try:
            found = await all_budgets(self._database)
        except EngineError as error:
            # Turns go on while a database is away, and so do the budgets that are known.
            log.warning("budgets_unreadable", reason=reason(error))
        else:
            self._limits = {}
            for budget in found:
                self._limits.setdefault(budget.subject, []).append(budget)
            self._drop_past()
        self._read_at = at

    def _drop_past(self) -> None:
        """Forget the sums of periods that are over and that no running turn began in."""
        oldest = min([self._now(), *(opened.begun for opened in self._open.values())])
        over = [key for key in (*self._own, *self._others) if end_of(key[1], key[2]) <= oldest]
        for key in over:
            self._own.pop(key, None)
            self._others.pop(key, None)

    async def _sum(self, opened: _Open, *, anew: bool = False) -> None:
        """Know what other processes have spent of the budgets of a turn, from their rows; `anew` reads in any case."""
        now = self._now()
        for budget in self._of(opened.subjects):
            key: Key = (budget.subject, budget.period, begin_of(budget.period, now))
            known = self._others.get(key)
            if known is not None and not anew and self._clock() < known.until:
                continue
            reading = self._summing.get(key)
            if reading is None or anew:
                reading = self._summing[key] = asyncio.create_task(self._sum_one(key), name=f"spending of {key[0]}")
                reading.add_done_callback(_looked_at)
            await self._await_sum(key, reading, known)

    async def _await_sum(self, key: Key, reading: asyncio.Task[None], known: _Others | None) -> None:
        await asyncio.wait((reading,), timeout=None if known is None else READ_WITHIN)
        if key not in self._others:
            raise DatabaseUnavailable(
                f"what {key[0]} has spent cannot be read at the moment; try again", retry_after=1.0
            )

    async def _sum_one(self, key: Key) -> None:
        subject, period, begin = key
        at = self._clock()
        try:
            spent = await spent_by_others(self._database, subject, begin, end_of(period, begin), self._owner)
        except EngineError as error:
            log.warning("spending_unreadable", subject=subject, reason=reason(error))
        else:
            took = self._clock() - at
            fresh = 0.0 if self._shared else REMEMBERED_SECONDS
            self._others[key] = _Others(spent, at + max(fresh, READING_SHARE * took))
        finally:
            if self._summing.get(key) is asyncio.current_task():
                del self._summing[key]

    async def close(self) -> None:
        """Read no more."""
        tasks = [*self._summing.values(), *([self._reading] if self._reading is not None else ())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _check_amount(tokens: int, cost: Decimal) -> None:
    """Raise for less than nothing: to put it aside would enlarge the budget."""
    if not (tokens >= 0 and cost >= 0):
        raise ValueError(f"a call puts aside {tokens} tokens and {cost} dollars; neither is below 0")


def spend_of(usage: Usage, cost: Cost | None) -> Spend:
    """What a terminal event says was spent."""
    return Spend(Decimal(cost.amount) if cost is not None else Decimal(0), usage.input_tokens + usage.output_tokens)


def _note_unkept(kept: asyncio.Future[None]) -> None:
    if not kept.cancelled() and (error := kept.exception()) is not None:
        log.warning("reservation_not_written", error=str(error))


def _looked_at(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("spending_read_crashed", exc_info=error)
