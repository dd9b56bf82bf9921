"""The engine's resilience around a call for embeddings: deadline, retries, breaker, usage and cost."""

import asyncio
import random
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import Protocol, cast

from msgspec import structs

from engine.api.embedding import Embedded, EmbeddingRequest
from engine.api.errors import (
    EngineError,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
)
from engine.api.events import Cost, Usage
from engine.api.identity import Principal
from engine.api.providers import EmbeddingProvider, Price, Target
from engine.log import get_logger
from engine.providers.breaker import Breaker
from engine.providers.course import FIRST_PAUSE, LONGEST_PAUSE, LONGEST_RETRY_AFTER
from engine.providers.estimating import about, most_of_text, weight
from engine.providers.explaining import explained, wrong_delta
from engine.providers.failing import note_failure
from engine.providers.policy import ResiliencePolicy
from engine.providers.pricing import amount, cost_of
from engine.providers.wording import refuse_unjudged
from engine.stats import Stats
from engine.tracing import Tracing
from engine.wire.counts import checked

log = get_logger(__name__)

EMBED = "embed"
"""The name of these calls where turns are counted by their command."""


_UNBILLED = (ProviderRefused, ProviderRateLimited, ProviderUnavailable)


class Account(Protocol):
    """What one call may use, and what it has used."""

    @property
    def bounded(self) -> bool:
        """Whether a budget bounds the call, so that what was put aside counts where its vendor tells no usage."""
        ...

    async def reserve(self, tokens: int, cost: Decimal) -> None:
        """Put aside the most that the call can use; raises `BudgetExceeded`."""
        ...

    def used(self, model: str, usage: Usage, cost: Cost | None) -> None:
        """The call has used so much: it was answered, or cut off once it had gone out."""
        ...


class Accounts(Protocol):
    """Asked before a call whether its principal may spend more, and told afterwards what it did."""

    def open(self, principal: Principal, command: str, model: str) -> AbstractAsyncContextManager[Account]:
        """Around one call; raises what refuses it."""
        ...


class Embedder:
    """Implements `engine.api.EmbeddingModel`. Never falls back: vectors of two models cannot be compared."""

    def __init__(
        self,
        target: Target,
        policy: ResiliencePolicy,
        breaker: Breaker,
        accounts: Accounts | None = None,
        stats: Stats | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.target = target
        self._policy = policy
        self._breaker = breaker
        self._accounts = accounts
        self._stats = stats or Stats()
        self._tracing = tracing or Tracing()

    async def embed(self, request: EmbeddingRequest, principal: Principal) -> Embedded:
        """The vectors; raises the vendor's failure once no attempt is left."""
        refuse_unjudged("embedding", request.provider_options)
        asked = structs.replace(request, model=self.target.model)
        if self._accounts is None:
            return await self._try(asked)
        async with self._accounts.open(principal, EMBED, self.target.name) as account:
            return await self._try(asked, account)

    async def _try(self, asked: EmbeddingRequest, account: Account | None = None) -> Embedded:
        """The first attempt that is answered; each that may be billed is counted, and put aside before it is made."""
        lost, most = Usage(), _most(asked)
        for attempt in range(self._policy.retries + 1):
            if account is not None and (attempt == 0 or lost.input_tokens):
                await self._reserve(account, lost.input_tokens + most)
            try:
                with self._tracing.call("embeddings", self.target.provider.name, self.target.name):
                    answered = self._told(await self._once(asked), _estimate(asked, most, account))
                if account is not None:
                    self._used(account, lost + (answered.usage or Usage()))
                return answered
            except BaseException as error:
                if account is not None and _may_be_billed(error):
                    lost = lost + _estimate(asked, most, account)
                    self._used(account, lost)
                if not isinstance(error, EngineError):
                    raise
                note_failure(self._stats, self.target, error)
                pause = self._pause(error, attempt)
                if pause is None:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt has no pause")

    async def _reserve(self, account: Account, tokens: int) -> None:
        price = self._price
        await account.reserve(tokens, cost_of(Usage(input_tokens=tokens), price) if price is not None else Decimal(0))

    def _used(self, account: Account, usage: Usage) -> None:
        cost = Cost(amount=amount(cost_of(usage, self._price))) if self._price is not None else None
        account.used(self.target.name, usage, cost)

    async def _once(self, request: EmbeddingRequest) -> Embedded:
        breaker, name = self._breaker, self.target.name
        if not breaker.enter():
            wait = round(breaker.wait(), 3)
            raise ProviderUnavailable(f"{name} failed again and again and is left alone", retry_after=wait)
        verdict = breaker.release
        try:
            async with asyncio.timeout(self._policy.first_event):
                answered = await cast("EmbeddingProvider", self.target.provider).embed(request)
            if not isinstance(answered, Embedded):
                raise wrong_delta(answered, "an Embedded", self.target.provider.embed)
            verdict = breaker.succeed
        except TimeoutError:
            verdict = breaker.fail
            raise ProviderTimeout(f"{name} did not answer within {self._policy.first_event:g} s") from None
        except BaseException as raised:
            error = explained(raised, self.target.provider, name, self._stats)
            if error is None:
                raise
            if isinstance(error, ProviderUnavailable):
                verdict = breaker.fail
            raise error from None
        finally:
            verdict()
        if len(answered.vectors) != len(request.inputs):
            raise ProviderError(f"{name} gave {len(answered.vectors)} vectors for {len(request.inputs)} inputs")
        return answered

    def _pause(self, error: EngineError, attempt: int) -> float | None:
        """How long to wait before the next attempt, None where there is none."""
        if not error.retryable or isinstance(error, ProviderTimeout) or attempt >= self._policy.retries:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= LONGEST_RETRY_AFTER else None
        longest = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
        return random.uniform(longest / 2, longest)

    def _told(self, answered: Embedded, untold: Usage) -> Embedded:
        """The answer with its usage, which is `untold` where the vendor tells none that can be true."""
        found = checked(answered.usage) if answered.usage is not None else None
        if found is not None and not found.known:
            log.warning("provider_counts_are_nonsense", provider=self.target.provider.name, model=self.target.name)
        usage = found.usage if found is not None and found.known and found.usage.input_tokens else untold
        cost = Cost(amount=amount(cost_of(usage, self._price))) if self._price is not None else None
        return structs.replace(answered, usage=usage, cost=cost, model=self.target.name)

    @property
    def _price(self) -> Price | None:
        return self.target.info.price if self.target.info is not None else None


def _may_be_billed(error: BaseException) -> bool:
    """Whether a call that failed so may have been answered: one that the vendor refused, or that never got there, was not."""
    if isinstance(error, ProviderError) and error.begun:
        return True
    return isinstance(error, asyncio.CancelledError | ProviderError) and not isinstance(error, _UNBILLED)


def _estimate(request: EmbeddingRequest, most: int, account: Account | None) -> Usage:
    """What counts for a call whose vendor tells no usage: what a budget put aside, or else an estimate."""
    if account is not None and account.bounded:
        return Usage(input_tokens=most, estimated=True)
    words = sum(weight(each) for each in request.inputs if isinstance(each, str))
    tokens = sum(len(each) for each in request.inputs if not isinstance(each, str))
    return Usage(input_tokens=about(words) + tokens, estimated=True)


def _most(request: EmbeddingRequest) -> int:
    """The most tokens that the inputs can have, and one around each."""
    each = (most_of_text(each) if isinstance(each, str) else len(each) for each in request.inputs)
    return sum(each) + len(request.inputs)
