"""The engine's resilience around a realtime model: breaker, explained failures, usage and cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Any, cast
from weakref import WeakKeyDictionary

from msgspec import structs

from engine.api.errors import BudgetExceeded, ProviderTimeout, ProviderUnavailable, UnsupportedParameter
from engine.api.events import Cost, Usage
from engine.api.providers import RealtimeProvider, Target
from engine.api.realtime import RealtimeInput, RealtimeRequest, RealtimeStage
from engine.api.streams import Writer
from engine.log import get_logger
from engine.providers.breaker import Breaker
from engine.providers.explaining import explained
from engine.providers.failing import note_failure
from engine.providers.metering import Ledgers
from engine.providers.pricing import amount, cost_of
from engine.providers.talking import Overheard, Talking
from engine.providers.wording import refuse_unjudged
from engine.stats import Stats
from engine.tracing import Tracing
from engine.wire.counts import checked

log = get_logger(__name__)


class Converser:
    """Implements `engine.api.RealtimeModel`. Falls back nowhere: another model would be another person in mid-sentence."""

    def __init__(self, target: Target, breaker: Breaker, ledgers: Ledgers, stats: Stats, tracing: Tracing) -> None:
        self.target = target
        self._breaker = breaker
        self._ledgers = ledgers
        self._stats = stats
        self._tracing = tracing
        self._talking: WeakKeyDictionary[Writer, Talking] = WeakKeyDictionary()

    def check(self, request: RealtimeRequest) -> None:
        """Raise what the provider has against a request, where it can tell before it is asked."""
        refuse_unjudged("realtime", request.provider_options)
        if request.max_output_tokens is not None and not getattr(self.target.provider, "bounds_answers", False):
            raise UnsupportedParameter(
                f"{self.target.name} takes no bound for its answers; leave it out", field="max_output_tokens"
            )
        check: Any = getattr(self.target.provider, "check", None)
        if check is not None:
            check(request)

    async def converse(
        self, request: RealtimeRequest, intake: AsyncIterator[RealtimeInput], stage: RealtimeStage
    ) -> None:
        """Hold one conversation; see `engine.api.RealtimeProvider`."""
        provider, name = cast("RealtimeProvider", self.target.provider), self.target.name
        if not self._breaker.enter():
            wait = round(self._breaker.wait(), 3)
            raise ProviderUnavailable(f"{name} failed again and again and is left alone", retry_after=wait)
        verdict, begun = self._breaker.release, perf_counter()
        try:
            with self._tracing.call("realtime", provider.name, name):
                await self._converse(provider, structs.replace(request, model=self.target.model), intake, stage)
            verdict = self._breaker.succeed
        except BaseException as raised:
            error = explained(raised, provider, name, self._stats)
            if error is None:
                raise
            if isinstance(error, BudgetExceeded):
                raise
            note_failure(self._stats, self.target, error)
            if isinstance(error, ProviderUnavailable | ProviderTimeout):
                verdict = self._breaker.fail
            raise error from None
        finally:
            verdict()
            stage.stream.meter(model=name, waited=perf_counter() - begun)

    async def _converse(
        self,
        provider: RealtimeProvider,
        request: RealtimeRequest,
        intake: AsyncIterator[RealtimeInput],
        stage: RealtimeStage,
    ) -> None:
        """Hold the conversation for as long as budgets pay for its next answer.

        Of a cascade each part is judged where it is called.
        """
        if not getattr(provider, "answers_by_itself", True):
            return await provider.converse(request, intake, stage)
        talking = self._talking[stage.stream] = Talking(self.target, request, self._ledgers, stage.stream)
        heard = talking.intake(intake)
        judging: asyncio.Task[None] | None = None
        try:
            request = await talking.begin(request)
            judging = asyncio.create_task(talking.judge(), name=f"budget of {stage.stream.id}")
            held = asyncio.ensure_future(
                provider.converse(request, heard, cast("RealtimeStage", Overheard(stage, talking)))
            )
            await self._until_over(held, talking)
        finally:
            if judging is not None:
                judging.cancel()
                await asyncio.gather(judging, return_exceptions=True)
            if (usage := talking.unsaid()) is not None:
                self.spend(usage, stage.stream)

    async def _until_over(self, held: asyncio.Future[None], talking: Talking) -> None:
        try:
            await asyncio.wait((held, talking.refused), return_when=asyncio.FIRST_COMPLETED)
            if held.done():
                return held.result()
        finally:
            if not held.done():
                held.cancel()
                await asyncio.gather(held, return_exceptions=True)
        raise talking.refused.result()

    def spend(self, usage: Usage, stream: Writer) -> Cost | None:
        """Count what an answer used, and tell it on the stream's meter."""
        price = self.target.info.price if self.target.info is not None else None
        found = checked(usage)
        if not found.known:
            log.warning("provider_counts_are_nonsense", provider=self.target.provider.name, model=self.target.name)
        usage = found.usage
        cost = cost_of(usage, price) if price is not None else None
        self._ledgers.count(stream, usage, cost)
        if (talking := self._talking.get(stream)) is not None:
            talking.used(usage)
        return None if cost is None else Cost(amount=amount(cost))
