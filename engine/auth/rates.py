"""How much a principal and a key may ask for in a minute: requests, and tokens of models.

Counted by the `limits` library, in the memory of this process or in a Redis that several processes share. Requests are
counted in a window that slides, before they are served; tokens in a minute that begins with the first of them, when a turn
has ended and they are known. A turn that runs is never stopped, so the last one of a minute may pass the bound.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from engine.api.errors import LimitExceeded
from engine.api.identity import KeyLimits, Principal
from engine.api.packages import load_packages
from engine.log import get_logger

if TYPE_CHECKING:
    from limits import RateLimitItemPerMinute
    from limits.aio.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

log = get_logger(__name__)

Unit: TypeAlias = Literal["requests", "tokens"]

MINUTE = 60

ANSWERS_WITHIN = 0.5
"""Seconds that a Redis has for one question."""

LEFT_ALONE = 10.0
"""Seconds for which a Redis that failed is not asked, and this process counts for itself."""

# A moment behind the one in which the next request is taken, so that who comes then is not a hair too early.
_A_HAIR = 0.001


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much a minute has, how much is left of it now, and in how many seconds all is there again."""

    unit: Unit
    limit: int
    remaining: int
    reset: float

    def headers(self) -> dict[str, str]:
        """As OpenAI tells it, and as its clients read it."""
        return {
            f"x-ratelimit-limit-{self.unit}": str(self.limit),
            f"x-ratelimit-remaining-{self.unit}": str(self.remaining),
            f"x-ratelimit-reset-{self.unit}": f"{self.reset:.3f}s",
        }


class Verdict(NamedTuple):
    """Whether a request is taken, and what is left: of each unit, where that is the least."""

    refusal: LimitExceeded | None = None
    allowances: Sequence[Allowance] = ()

    def headers(self) -> dict[str, str]:
        """What is told with the answer; a refusal tells it, too."""
        told: dict[str, str] = {}
        for allowance in self.allowances:
            told |= allowance.headers()
        return told


FREE = Verdict()


_MODULES = ("limits.aio", "limits.storage", "limits.aio.storage", "limits.aio.strategies")


class _Bound(NamedTuple):
    subject: str
    unit: Unit
    limit: int


class _Counters(NamedTuple):
    """The library's two ways to count over one store, and its word for a bound of a minute.

    `failure` is what it raises when the store is away.
    """

    requests: SlidingWindowCounterRateLimiter
    tokens: FixedWindowRateLimiter
    item: type[RateLimitItemPerMinute]
    failure: type[Exception]

    async def close(self) -> None:
        bridge = getattr(self.requests.storage, "bridge", None)
        if bridge is not None:
            await bridge.get_connection().aclose()


class Rates:
    """The rates of one server. `each` bounds every principal; a key may have bounds of its own.

    While the Redis at `redis` is away, this process counts for itself.
    """

    def __init__(self, each: KeyLimits, redis: str | None = None) -> None:
        self.each = each
        self._address = redis
        self._memory: _Counters | None = None
        self._shared: _Counters | None = None
        self._again_at = 0.0
        self._away = False
        # What ended turns have used and no store knows yet.
        self._due: Counter[tuple[str, int]] = Counter()
        self._telling: asyncio.Task[None] | None = None

    async def admit(self, principal: Principal) -> Verdict:
        """Count one more request, unless a bound refuses it; a refused one is not counted."""
        bounds = self._bounds(principal)
        return await self._ask(self._judge, bounds) if bounds else FREE

    async def admit_turn(self, principal: Principal) -> None:
        """Pass where tokens are left; raises LimitExceeded, whose `retry_after` says when there are again."""
        bounds = [bound for bound in self._bounds(principal) if bound.unit == "tokens"]
        if bounds and (refusal := (await self._ask(self._look, bounds)).refusal) is not None:
            raise refusal

    def charge(self, principal: Principal, tokens: int) -> None:
        """Count the tokens that a turn has used."""
        due = {(bound.subject, bound.limit): tokens for bound in self._bounds(principal) if bound.unit == "tokens"}
        if not due or tokens <= 0:
            return
        self._due.update(due)
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(), name="rates")

    async def settle(self) -> None:
        """Wait until the store knows all that was charged."""
        if self._telling is not None:
            await asyncio.gather(self._telling, return_exceptions=True)

    async def close(self) -> None:
        """Tell the store what is still due, and leave it."""
        await self.settle()
        if self._shared is not None:
            await self._shared.close()

    async def reachable(self) -> bool:
        """Whether the Redis answers; True where there is none to be asked."""
        if self._address is None:
            return True
        try:
            counters = await self._counters()
            async with asyncio.timeout(2 * ANSWERS_WITHIN):
                # Within the time for which it is left alone the counters are those of this process.
                there = counters is not self._memory and bool(await counters.requests.storage.check())
            if there:
                self._found(counters)
            elif counters is self._shared:
                self._lose(ConnectionError())
            return there
        except Exception as error:
            self._lose(error)
            return False

    def _bounds(self, principal: Principal) -> list[_Bound]:
        found = []
        for subject, limits in ((principal.subject, self.each), (principal.key_subject, principal.limits)):
            if subject is not None and limits.tokens_per_minute is not None:
                found.append(_Bound(subject, "tokens", limits.tokens_per_minute))
            if subject is not None and limits.requests_per_minute is not None:
                found.append(_Bound(subject, "requests", limits.requests_per_minute))
        return found

    async def _ask(
        self, question: Callable[[_Counters, Sequence[_Bound]], Awaitable[Verdict]], bounds: Sequence[_Bound]
    ) -> Verdict:
        counters = await self._counters()
        try:
            verdict = await question(counters, bounds)
        except counters.failure as error:
            self._lose(error)
            return await question(await self._in_memory(), bounds)
        self._found(counters)
        return verdict

    async def _look(self, counters: _Counters, bounds: Sequence[_Bound]) -> Verdict:
        """What is left now, and the refusal of the first bound that leaves nothing."""
        standing = [await self._standing(counters, bound) for bound in bounds]
        refused = [_refusal(bound, wait) for bound, (_, wait) in zip(bounds, standing, strict=True) if wait]
        return Verdict(refused[0] if refused else None, _tightest(allowance for allowance, _ in standing))

    async def _judge(self, counters: _Counters, bounds: Sequence[_Bound]) -> Verdict:
        counted = [bound for bound in bounds if bound.unit == "requests"]
        # All are asked before one is counted: what a key's bound refuses takes nothing from its principal.
        refusal = (await self._look(counters, counted)).refusal
        for bound in counted if refusal is None else ():
            if not await counters.requests.hit(counters.item(bound.limit), bound.subject):
                # Another request was quicker between the question and the count.
                refusal = _refusal(bound, (await self._standing(counters, bound))[1] or _A_HAIR)
                break
        return Verdict(refusal, (await self._look(counters, bounds)).allowances)

    async def _standing(self, counters: _Counters, bound: _Bound) -> tuple[Allowance, float]:
        """What is left of a bound, and in how many seconds one more fits; 0 for now."""
        if bound.unit == "requests":
            storage: Any = counters.requests.storage
            item = counters.item(bound.limit)
            window = await storage.get_sliding_window(item.key_for(bound.subject), item.get_expiry())
            return _of_window(bound.limit, *window)
        stats = await counters.tokens.get_window_stats(counters.item(bound.limit), bound.subject)
        due = self._due[bound.subject, bound.limit]
        remaining = max(0, stats.remaining - due)
        reset = max(0.0, stats.reset_time - time.time()) if remaining < bound.limit else 0.0
        return Allowance("tokens", bound.limit, remaining, reset), 0.0 if remaining else (reset or _A_HAIR)

    async def _tell(self) -> None:
        while self._due:
            (subject, limit), tokens = self._due.popitem()
            counters = await self._counters()
            try:
                await counters.tokens.hit(counters.item(limit), subject, cost=tokens)
            except counters.failure as error:
                self._lose(error)
                counters = await self._in_memory()
                await counters.tokens.hit(counters.item(limit), subject, cost=tokens)

    # Stores

    async def _counters(self) -> _Counters:
        if self._address is None or time.monotonic() < self._again_at:
            return await self._in_memory()
        await load_packages("limits", *_MODULES, "redis.asyncio", extra="redis")
        if self._shared is None:
            self._shared = _open(
                f"async+{self._address}",
                implementation="redispy",
                key_prefix="betterai",
                socket_timeout=ANSWERS_WITHIN,
                socket_connect_timeout=ANSWERS_WITHIN,
            )
        return self._shared

    async def _in_memory(self) -> _Counters:
        await load_packages("limits", *_MODULES, extra="redis")
        if self._memory is None:
            self._memory = _open("async+memory://")
        return self._memory

    def _lose(self, error: Exception) -> None:
        self._again_at = time.monotonic() + LEFT_ALONE
        cause = getattr(error, "storage_error", error)
        if not self._away:
            log.warning("rates_store_away", error=type(cause).__name__, counted="in this process", seconds=LEFT_ALONE)
        self._away = True

    def _found(self, counters: _Counters) -> None:
        if self._away and counters is self._shared:
            self._away = False
            log.info("rates_store_back")


def _open(address: str, **options: Any) -> _Counters:
    # Loaded before: it costs a tenth of a second, and many servers have no such limit.
    from limits import RateLimitItemPerMinute, aio, errors, storage

    store: Any = storage.storage_from_string(address, wrap_exceptions=True, **options)
    ways = aio.strategies
    return _Counters(
        ways.SlidingWindowCounterRateLimiter(store),
        ways.FixedWindowRateLimiter(store),
        RateLimitItemPerMinute,
        errors.StorageError,
    )


def _of_window(limit: int, before: int, before_seconds: float, now: int, now_seconds: float) -> tuple[Allowance, float]:
    """What a sliding window leaves, and in how many seconds it leaves room for one more.

    It counts all of the minute that runs and, of the minute `before`, the share that still lies less than a minute back.
    `before_seconds` and `now_seconds` are how long either is still counted.
    """
    used = now + int(before * before_seconds / MINUTE)
    remaining = max(0, limit - used)
    # A count goes away before its time is over: once its share is less than one.
    count, seconds = (now, now_seconds) if now else (before, before_seconds)
    reset = max(0.0, seconds - MINUTE / count) if count else 0.0
    if remaining:
        wait = 0.0
    elif now < limit:
        wait = before_seconds - (limit - now) * MINUTE / before
    else:
        # Nothing comes free before this minute is the one before.
        wait = now_seconds - MINUTE + max(0.0, MINUTE - limit * MINUTE / now)
    return Allowance("requests", limit, remaining, reset), 0.0 if remaining else max(0.0, wait) + _A_HAIR


def _tightest(allowances: Iterable[Allowance]) -> tuple[Allowance, ...]:
    """Of each unit, where the least is left."""
    found: dict[Unit, Allowance] = {}
    for allowance in sorted(allowances, key=lambda each: -each.remaining):
        found[allowance.unit] = allowance
    return tuple(found.values())


def _refusal(bound: _Bound, wait: float) -> LimitExceeded:
    what = "request" if bound.unit == "requests" else "turn"
    return LimitExceeded(
        f"{bound.subject} may use {bound.limit} {bound.unit} a minute, of which 0 are left; "
        f"the next {what} is taken in {wait:.1f} s",
        retry_after=wait,
        limit=bound.limit,
        remaining=0,
    )
