"""The engine's resilience around a voice: sentences in front, deadlines, retries, breaker, usage and cost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from functools import partial
from time import perf_counter
from typing import TypeVar, cast

from msgspec import structs

from engine.api.errors import (
    EngineError,
    ProviderError,
    ProviderTimeout,
    ProviderUnavailable,
    UnsupportedParameter,
)
from engine.api.events import Usage
from engine.api.providers import QuotaTeller, SpeechProvider, StreamingSpeechProvider, Target
from engine.api.speech import Quota, Sound, SpeechRequest, Voice
from engine.api.streams import Writer
from engine.providers.breaker import Breaker
from engine.providers.explaining import explained, step, wrong_delta
from engine.providers.failing import note_failure
from engine.providers.metering import Ledgers
from engine.providers.policy import ResiliencePolicy
from engine.providers.wording import refuse_unjudged
from engine.stats import Stats
from engine.tracing import Tracing
from engine.wire.apart import LONG, apart_if
from engine.wire.sentences import Sentences

T = TypeVar("T")

AHEAD = 16
"""Pieces of sound that are made before the first of them is taken: a voice is faster than its listener."""


class Speaker:
    """Implements `engine.api.SpeechModel`. Made for one name; falls back nowhere, since a voice is not to change."""

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

    async def voices(self) -> Sequence[Voice]:
        """The voices of its provider."""
        voices = await self._told(cast("SpeechProvider", self.target.provider).voices)
        if not all(isinstance(each, Voice) for each in voices):
            raise ProviderError(f"the provider of {self.target.name} listed something that is not a Voice")
        return voices

    async def quota(self) -> Quota:
        """What the account at its provider has used; see `engine.api.SpeechModel`."""
        provider = self.target.provider
        if not isinstance(provider, QuotaTeller):
            raise UnsupportedParameter(f"{provider.name} tells no quota of speech; name another model", field="model")
        return await self._told(provider.quota)

    async def _told(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What a provider tells of itself, within the time that a first event may take."""
        try:
            async with asyncio.timeout(self._policy.first_event):
                return await ask()
        except TimeoutError:
            raise self._silent(self._policy.first_event) from None
        except BaseException as raised:
            error = explained(raised, self.target.provider, self.target.name, self._stats)
            if error is None:
                raise
            raise error from None

    def check(self, request: SpeechRequest) -> None:
        """Raise what the provider has against a request, where it can tell before it is asked."""
        refuse_unjudged("speech", request.provider_options)
        check = getattr(self.target.provider, "check", None)
        if check is not None:
            check(request)

    async def speak(
        self, request: SpeechRequest, texts: AsyncIterator[str], stream: Writer, *, answers: bool = True
    ) -> AsyncIterator[Sound]:
        """The sound of all that `texts` brings; see `engine.api.SpeechModel`."""
        asked = structs.replace(request, model=self.target.model)
        made: asyncio.Queue[Sound | BaseException | None] = asyncio.Queue(AHEAD)
        making = asyncio.create_task(self._make(asked, texts, stream, made), name=f"voice of {stream.id}")
        try:
            begun = perf_counter()
            while (sound := await made.get()) is not None:
                if isinstance(sound, BaseException):
                    raise sound
                if answers:
                    stream.meter(model=self.target.name, waited=perf_counter() - begun)
                    answers = False
                yield sound
        finally:
            making.cancel()
            await asyncio.gather(making, return_exceptions=True)

    async def _make(
        self,
        request: SpeechRequest,
        texts: AsyncIterator[str],
        stream: Writer,
        made: asyncio.Queue[Sound | BaseException | None],
    ) -> None:
        try:
            provider = self.target.provider
            if isinstance(provider, StreamingSpeechProvider):
                given: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                counted = self._counted(texts, stream, given)
                await self._pass(provider.speak_stream(request, counted), made, given)
            else:
                async for sentence in sentences_of(texts):
                    await self._meter(sentence, stream)
                    await self._speak(request, sentence, made)
        except asyncio.CancelledError:
            raise
        except _Unheard as unheard:
            await made.put(unheard.error)
        except BaseException as error:
            await made.put(error)
        else:
            await made.put(None)

    async def _speak(
        self,
        request: SpeechRequest,
        sentence: str,
        made: asyncio.Queue[Sound | BaseException | None],
    ) -> None:
        """Speak one sentence; until its first sound a failure that passes is tried again."""
        provider = cast("SpeechProvider", self.target.provider)
        for left in range(self._policy.retries, -1, -1):
            try:
                await self._pass(provider.speak(request, sentence), made, text=sentence)
                break
            except _Unheard as unheard:
                error = unheard.error
                if not error.retryable or not left or isinstance(error, ProviderTimeout):
                    raise error from None
                await asyncio.sleep(min(error.retry_after or 0.2, 2.0))

    async def _pass(
        self,
        sounds: AsyncIterator[Sound],
        made: asyncio.Queue[Sound | BaseException | None],
        given: asyncio.Future[None] | None = None,
        *,
        text: str = "",
    ) -> None:
        """Pass on what is spoken, the first of it as the beginning of `text`.

        `given` is done once all the text is: until then a silence may be the text's.
        """
        name, heard = self.target.name, False
        if not self._breaker.enter():
            wait = round(self._breaker.wait(), 3)
            raise ProviderUnavailable(f"{name} failed again and again and is left alone", retry_after=wait)
        verdict = self._breaker.release
        try:
            with self._tracing.call("speech", self.target.provider.name, name):
                async with aclosing(sounds) as source:  # type: ignore[type-var]
                    while (sound := await self._next(source, given, heard)) is not None:
                        if not isinstance(sound, Sound):
                            raise wrong_delta(sound, "a Sound", sounds)
                        if not heard:
                            heard, verdict = True, self._breaker.succeed
                            sound = structs.replace(sound, text=sound.text or text)
                        await made.put(sound)
        except BaseException as raised:
            error = explained(raised, self.target.provider, name, self._stats)
            if error is None:
                raise
            note_failure(self._stats, self.target, error)
            late = isinstance(error, ProviderTimeout) and not heard
            if late or isinstance(error, ProviderUnavailable):
                verdict = self._breaker.fail
            if heard:
                raise error from None
            raise _Unheard(error) from None
        finally:
            verdict()

    async def _next(
        self, source: AsyncIterator[Sound], given: asyncio.Future[None] | None, heard: bool
    ) -> Sound | None:
        bound = self._policy.idle if heard else self._policy.first_event
        try:
            if given is None or given.done():
                async with asyncio.timeout(bound):
                    return await anext(source, None)
            waiting: asyncio.Future[Sound | None] = asyncio.ensure_future(step(source))
            try:
                await asyncio.wait((waiting, given), return_when=asyncio.FIRST_COMPLETED)
                async with asyncio.timeout(bound):
                    return await waiting
            finally:
                if not waiting.done():
                    waiting.cancel()
                    await asyncio.gather(waiting, return_exceptions=True)
        except TimeoutError:
            raise self._silent(bound) from None

    def _silent(self, bound: float) -> ProviderTimeout:
        return ProviderTimeout(f"{self.target.name} was silent for {bound:g} s")

    async def _counted(
        self, texts: AsyncIterator[str], stream: Writer, given: asyncio.Future[None]
    ) -> AsyncIterator[str]:
        try:
            async for text in texts:
                await self._meter(text, stream)
                yield text
        finally:
            if not given.done():
                given.set_result(None)

    async def _meter(self, text: str, stream: Writer) -> None:
        """Count what is about to be spoken: vendors charge for it, heard or not."""
        price = self.target.info.price if self.target.info is not None else None
        characters = price.characters if price is not None else None
        cost = (len(text) * characters).scaleb(-6) if characters is not None else None
        await self._ledgers.buy(stream, Usage(characters=len(text)), cost)


class _Unheard(Exception):
    """A sentence of which nothing was heard."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(error.message)
        self.error = error


async def sentences_of(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    """Whole sentences of a text that comes piece by piece."""
    sentences = Sentences()
    async for text in texts:
        for sentence in await apart_if(len(text) > LONG, partial(sentences.feed, text)):
            yield sentence
    for sentence in sentences.finish():
        yield sentence
