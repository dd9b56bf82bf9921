"""The engine's resilience around a call for embeddings: deadline, retries, breaker, usage and cost."""

import asyncio
import random
from typing import cast

from msgspec import structs

from engine.api.embedding import Embedded, EmbeddingRequest
from engine.api.errors import EngineError, ProviderError, ProviderTimeout, ProviderUnavailable
from engine.api.events import Cost, Usage
from engine.api.providers import EmbeddingProvider, Target
from engine.log import get_logger
from engine.providers.breaker import Breaker
from engine.providers.course import FIRST_PAUSE, LONGEST_PAUSE, LONGEST_RETRY_AFTER
from engine.providers.metering import CHARACTERS_A_TOKEN, amount, cost_of
from engine.providers.policy import ResiliencePolicy

log = get_logger(__name__)


class Embedder:
    """Implements `engine.api.EmbeddingModel`. Never falls back: vectors of two models cannot be compared."""

    def __init__(self, target: Target, policy: ResiliencePolicy, breaker: Breaker) -> None:
        self.target = target
        self._policy = policy
        self._breaker = breaker

    async def embed(self, request: EmbeddingRequest) -> Embedded:
        """The vectors; raises the vendor's failure once no attempt is left."""
        asked = structs.replace(request, model=self.target.model)
        for attempt in range(self._policy.retries + 1):
            try:
                return self._told(await self._once(asked), asked)
            except EngineError as error:
                pause = self._pause(error, attempt)
                if pause is None:
                    raise
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt has no pause")

    async def _once(self, request: EmbeddingRequest) -> Embedded:
        breaker, name = self._breaker, self.target.name
        if not breaker.enter():
            wait = round(breaker.wait(), 3)
            raise ProviderUnavailable(f"{name} failed again and again and is left alone", retry_after=wait)
        verdict = breaker.release
        try:
            async with asyncio.timeout(self._policy.first_event):
                answered = await cast("EmbeddingProvider", self.target.provider).embed(request)
            verdict = breaker.succeed
        except TimeoutError:
            verdict = breaker.fail
            raise ProviderTimeout(f"{name} did not answer within {self._policy.first_event:g} s") from None
        except EngineError as error:
            if isinstance(error, ProviderUnavailable):
                verdict = breaker.fail
            raise
        except Exception as error:
            # The error's own text may hold a credential and is not told.
            log.exception("provider_crashed", provider=self.target.provider.name)
            raise ProviderError(f"the provider of {name} failed unexpectedly ({type(error).__name__})") from None
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

    def _told(self, answered: Embedded, request: EmbeddingRequest) -> Embedded:
        usage = answered.usage or _estimate(request)
        price = self.target.info.price if self.target.info is not None else None
        cost = Cost(amount=amount(cost_of(usage, price))) if price is not None else None
        return structs.replace(answered, usage=usage, cost=cost, model=self.target.name)


def _estimate(request: EmbeddingRequest) -> Usage:
    words = sum(len(each) for each in request.inputs if isinstance(each, str))
    tokens = sum(len(each) for each in request.inputs if not isinstance(each, str))
    return Usage(input_tokens=-(-words // CHARACTERS_A_TOKEN) + tokens, estimated=True)
