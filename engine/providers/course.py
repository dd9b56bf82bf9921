"""Which target is called next: retries of one, then the next of the chain."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import cast

from engine.api.chat import ChatRequest
from engine.api.errors import (
    EngineError,
    ModelNotFound,
    ModelRetired,
    ModelUnavailable,
    ProviderError,
    ProviderUnavailable,
)
from engine.api.providers import ChatProvider, Target
from engine.api.streams import Writer
from engine.log import get_logger
from engine.providers.breaker import Breaker
from engine.providers.call import Call
from engine.providers.checks import unsupported
from engine.providers.metering import Ledger
from engine.providers.obstacle import obstacle
from engine.providers.policy import ResiliencePolicy
from engine.stats import Stats

log = get_logger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 8.0
LONGEST_RETRY_AFTER = 10.0
"""A vendor that asks for more patience than this is not waited for."""

_FALLS_BACK = (ProviderError, ModelNotFound, ModelRetired, ModelUnavailable)


class Course:
    """The way of one request along a chain. Every step after the first is told on the writer."""

    def __init__(
        self,
        targets: Sequence[Target],
        policy: ResiliencePolicy,
        breakers: Mapping[str, Breaker],
        request: ChatRequest,
        writer: Writer,
        ledger: Ledger,
        stats: Stats,
    ) -> None:
        self._targets = targets
        self._policy = policy
        self._breakers = breakers
        self._request = request
        self._writer = writer
        self._ledger = ledger
        self._stats = stats
        self._at = 0
        self._retries = 0

    def first(self) -> Call:
        """The call to the first target that serves; raises the primary's error where none does."""
        primary = self._targets[0]
        # What the primary cannot do is the caller's mistake, not a failure to be hidden by another model.
        if refusal := unsupported(primary, self._request):
            raise refusal
        if obstacle := self._obstacle(primary):
            return self._fall_back(primary, obstacle)
        return self._call(primary)

    async def after(self, call: Call, error: EngineError) -> Call:
        """The call that follows a failed one; raises its error where nothing is left to try."""
        pause = self._pause(call, error)
        if pause is not None and self._enter(call.target):
            self._retries += 1
            log.info(
                "call_retried", model=call.target.name, code=error.code, retry=self._retries, seconds=round(pause, 3)
            )
            try:
                self._writer.status("retry", f"{call.target.name}: {error.message}; trying again in {pause:.1f} s")
                await asyncio.sleep(pause)
            except BaseException:
                self._breakers[call.target.provider.name].release()
                raise
            return self._call(call.target)
        if isinstance(error, _FALLS_BACK):
            return self._fall_back(call.target, error)
        raise error

    def _pause(self, call: Call, error: EngineError) -> float | None:
        """How long to wait before the same target is tried again, None where it is not.

        A deadline that has passed is not waited for a second time.
        """
        if not error.retryable or call.expired or self._retries >= self._policy.retries:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= LONGEST_RETRY_AFTER else None
        longest = min(FIRST_PAUSE * 2**self._retries, LONGEST_PAUSE)
        return random.uniform(longest / 2, longest)

    def _fall_back(self, failed: Target, error: EngineError) -> Call:
        """The next target that may serve; raises `error` where there is none."""
        for at in range(self._at + 1, len(self._targets)):
            target = self._targets[at]
            if unsupported(target, self._request) is None and self._obstacle(target) is None:
                self._at, self._retries = at, 0
                log.warning("call_fell_back", failed=failed.name, answers=target.name, code=error.code)
                self._writer.status("fallback", f"{target.name} answers instead of {failed.name}: {error.message}")
                return self._call(target)
        raise error

    def _obstacle(self, target: Target) -> EngineError | None:
        """Why the target cannot be called now; where there is no reason, leave to call it was taken."""
        reason = obstacle(target.provider)
        if reason is not None:
            return ModelUnavailable(f"{target.name} cannot be used: {reason}", field="model")
        if self._enter(target):
            return None
        breaker = self._breakers[target.provider.name]
        wait = breaker.wait()
        return ProviderUnavailable(
            f"{target.provider.name} failed {breaker.failures} times in a row and is left alone for {wait:.0f} s",
            retry_after=round(wait, 3),
        )

    def _enter(self, target: Target) -> bool:
        return self._breakers[target.provider.name].enter()

    def _call(self, target: Target) -> Call:
        provider = cast("ChatProvider", target.provider)
        breaker = self._breakers[provider.name]
        return Call(target, provider, self._request, self._writer, self._ledger, self._policy, breaker, self._stats)
