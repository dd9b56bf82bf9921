"""The engine's resilience around a transcriber: deadline, breaker, usage and cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from decimal import Decimal
from functools import partial
from time import perf_counter
from typing import cast

from msgspec import structs

from engine.api.errors import (
    BudgetExceeded,
    InvalidRequest,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
)
from engine.api.events import Usage
from engine.api.providers import Target, TranscriptionProvider
from engine.api.streams import Writer
from engine.api.transcription import Segment, TranscriptionRequest
from engine.providers.breaker import Breaker
from engine.providers.explaining import explained, step, wrong_delta
from engine.providers.failing import note_failure
from engine.providers.metering import Ledgers
from engine.providers.policy import ResiliencePolicy
from engine.providers.wording import refuse_unjudged
from engine.stats import Stats
from engine.tracing import Tracing

BYTES_A_SAMPLE = 2

_MOST_AHEAD = 30
"""Seconds for which money is put aside at once."""

_UNBILLED = (ProviderRefused, ProviderRateLimited, InvalidRequest)


class Listener:
    """Implements `engine.api.TranscriptionModel`. Falls back nowhere: audio that is gone cannot be heard again."""

    def __init__(
        self,
        target: Target,
        policy: ResiliencePolicy,
        breaker: Breaker,
        ledgers: Ledgers,
        stats: Stats,
        tracing: Tracing,
    ) -> None:
        self.target = target
        self._policy = policy
        self._breaker = breaker
        self._ledgers = ledgers
        self._stats = stats
        self._tracing = tracing

    def check(self, request: TranscriptionRequest) -> None:
        """Raise what the provider has against a request, where it can tell before it is asked."""
        refuse_unjudged("transcription", request.provider_options)
        check = getattr(self.target.provider, "check", None)
        if check is not None:
            check(request)

    def live(
        self, request: TranscriptionRequest, audio: AsyncIterator[bytes], stream: Writer
    ) -> AsyncIterator[Segment]:
        """What is heard while it is spoken; silence may be as long as it likes."""
        asked = structs.replace(request, model=self.target.model)
        heard = self._heard(audio, request.rate, stream)
        provider = cast("TranscriptionProvider", self.target.provider)
        return self._listen(provider.live(asked, heard.pieces()), heard, stream, patient=True)

    def file(
        self, request: TranscriptionRequest, audio: AsyncIterator[bytes], stream: Writer
    ) -> AsyncIterator[Segment]:
        """What is heard in a recording."""
        asked = structs.replace(request, model=self.target.model)
        heard = self._heard(audio, request.rate, stream)
        provider = cast("TranscriptionProvider", self.target.provider)
        return self._listen(provider.file(asked, heard.pieces()), heard, stream, patient=False)

    def _heard(self, audio: AsyncIterator[bytes], rate: int, stream: Writer) -> _Heard:
        return _Heard(audio, rate, partial(self._ledgers.put_aside, stream), self._cost(1.0))

    async def _listen(
        self, segments: AsyncIterator[Segment], heard: _Heard, stream: Writer, *, patient: bool
    ) -> AsyncIterator[Segment]:
        name, begun, spoke, refused = self.target.name, perf_counter(), False, False
        if not self._breaker.enter():
            wait = round(self._breaker.wait(), 3)
            raise ProviderUnavailable(f"{name} failed again and again and is left alone", retry_after=wait)
        verdict = self._breaker.release
        try:
            with self._tracing.call("transcription", self.target.provider.name, name):
                async with aclosing(segments) as source:  # type: ignore[type-var]
                    while (segment := await self._next(source, heard, patient, spoke)) is not None:
                        if not isinstance(segment, Segment):
                            raise wrong_delta(segment, "a Segment", segments)
                        if not spoke:
                            spoke, verdict = True, self._breaker.succeed
                            stream.meter(model=name, waited=perf_counter() - begun)
                        yield segment
            verdict = self._breaker.succeed
            if heard.refusal is not None:
                raise heard.refusal
        except BaseException as raised:
            if heard.refusal is not None and isinstance(raised, Exception):
                # The vendor is not to blame, and a recording that is not paid for was not sent.
                refused = not patient
                raise heard.refusal from None
            error = explained(raised, self.target.provider, name, self._stats)
            if error is None:
                raise
            # A vendor that refuses a recording bills nothing; what it heard before it failed may be billed.
            refused = not spoke and isinstance(error, _UNBILLED)
            note_failure(self._stats, self.target, error)
            late = isinstance(error, ProviderTimeout) and not spoke
            if late or isinstance(error, ProviderUnavailable):
                verdict = self._breaker.fail
            raise error from None
        finally:
            verdict()
            stream.meter(model=name)
            self._spend(heard, 0.0 if refused else heard.seconds, stream)

    async def _next(self, source: AsyncIterator[Segment], heard: _Heard, patient: bool, spoke: bool) -> Segment | None:
        """The next segment. The deadline runs only while the vendor has all that there is."""
        within = self._policy.idle if spoke else self._policy.first_event
        waiting = asyncio.ensure_future(step(source))
        try:
            while True:
                bound = None if patient and not heard.over else within
                before = heard.seconds
                done, _ = await asyncio.wait(
                    (waiting, heard.ending), timeout=bound, return_when=asyncio.FIRST_COMPLETED
                )
                if waiting in done:
                    return waiting.result()
                if not done and heard.seconds == before:
                    raise self._silent(within)
                if heard.over:
                    try:
                        async with asyncio.timeout(within):
                            return await waiting
                    except TimeoutError:
                        raise self._silent(within) from None
        finally:
            if not waiting.done():
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)

    def _silent(self, within: float) -> ProviderTimeout:
        return ProviderTimeout(f"{self.target.name} was silent for {within:g} s")

    def _spend(self, heard: _Heard, seconds: float, stream: Writer) -> None:
        seconds = round(seconds, 3)
        self._ledgers.settle(stream, heard.aside, Usage(seconds=seconds), self._cost(seconds))

    def _cost(self, seconds: float) -> Decimal | None:
        price = self.target.info.price if self.target.info is not None else None
        minute = price.minute if price is not None else None
        return Decimal(str(seconds)) * minute / 60 if minute is not None else None


class _Heard:
    """Audio on its way to a vendor: how much of it there was, and what is put aside for it before it goes on."""

    def __init__(
        self,
        audio: AsyncIterator[bytes],
        rate: int,
        put_aside: Callable[[Decimal], Awaitable[None]],
        second: Decimal | None,
    ) -> None:
        self._audio = audio
        self._rate = rate
        self._put_aside = put_aside
        self._second = second
        self._bytes = 0
        self._paid = 0
        self.aside = Decimal(0)
        self.refusal: BudgetExceeded | None = None
        self.ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def seconds(self) -> float:
        return self._bytes / BYTES_A_SAMPLE / self._rate

    @property
    def over(self) -> bool:
        return self.ending.done()

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._audio:
                await self._pay(len(piece))
                self._bytes += len(piece)
                yield piece
        finally:
            if not self.ending.done():
                self.ending.set_result(None)

    async def _pay(self, size: int) -> None:
        """Put aside whole seconds before they are heard; more at a time, the longer it takes, for fewer rows."""
        due = -(-(self._bytes + size) // (BYTES_A_SAMPLE * self._rate)) - self._paid
        if due <= 0 or self._second is None:
            return
        more = max(due, min(self._paid // 4, _MOST_AHEAD))
        cost = self._second * more
        try:
            await self._put_aside(cost)
        except BudgetExceeded as refusal:
            self.refusal = refusal
            raise
        self.aside += cost
        self._paid += more
