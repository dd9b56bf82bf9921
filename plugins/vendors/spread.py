"""Several keys of one vendor: calls go to the key that has least to do, and pass over those that the vendor holds back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, cast

import structlog

from engine.api import (
    ChatDeltas,
    ChatProvider,
    ChatRequest,
    Embedded,
    EmbeddingProvider,
    EmbeddingRequest,
    EngineError,
    Provider,
    ProviderRateLimited,
    ProviderRefused,
    ProviderRole,
    PushedAnswer,
)

log = structlog.get_logger(__name__)

REST = 10.0
"""Seconds that a key is passed over after a 429 that names no time."""

REFUSED_REST = 60.0
"""The same after a refusal that waiting does not cure: a wrong key, or an account that is used up."""

P = TypeVar("P", bound=Provider)
T = TypeVar("T")


@dataclass(slots=True)
class Member(Generic[P]):
    """The provider that asks with one key. `number` counts from 1, in the order of the settings."""

    number: int
    provider: P
    calls: int = 0
    rests_until: float = 0.0


class KeyRing(Generic[P]):
    """The providers of one vendor, one for each key."""

    def __init__(self, name: str, providers: Sequence[P]) -> None:
        self._name = name
        self.members = [Member(number, provider) for number, provider in enumerate(providers, 1)]
        self._turn = 0

    async def ask(self, call: Callable[[P], Awaitable[T]], answered: Callable[[], bool] = lambda: False) -> T:
        """Call one member after another until one is not held back; raises the last one's error.

        Once `answered` is true, nobody else is asked.
        """
        left = list(self.members)
        while True:
            member = self._next(left)
            left.remove(member)
            member.calls += 1
            try:
                return await call(member.provider)
            except (ProviderRateLimited, ProviderRefused) as error:
                self._rest(member, error)
                if answered() or not left:
                    raise
            finally:
                member.calls -= 1

    def _next(self, among: Sequence[Member[P]]) -> Member[P]:
        """Of those that do not rest the one with the fewest calls, in turn; where all rest, the first to wake."""
        now = asyncio.get_running_loop().time()
        self._turn += 1
        size = len(self.members)
        return min(
            among,
            key=lambda each: (max(0.0, each.rests_until - now), each.calls, (each.number - self._turn) % size),
        )

    def _rest(self, member: Member[P], error: EngineError) -> None:
        seconds = error.retry_after or (REST if error.retryable else REFUSED_REST)
        member.rests_until = asyncio.get_running_loop().time() + seconds
        log.warning("vendor_key_rests", provider=self._name, key=member.number, seconds=seconds, error=error.code)


def chat_over(providers: Sequence[ChatProvider]) -> ChatProvider:
    """One chat provider of those that each ask with another key."""
    return providers[0] if len(providers) == 1 else SpreadChat(providers)


def embeddings_over(providers: Sequence[EmbeddingProvider]) -> EmbeddingProvider:
    """One embedding provider of those that each ask with another key."""
    return providers[0] if len(providers) == 1 else SpreadEmbeddings(providers)


class SpreadChat:
    """A chat provider over several keys; whatever else is asked of it, the one of the first key answers."""

    role: ClassVar[ProviderRole] = "chat"

    def __init__(self, providers: Sequence[ChatProvider]) -> None:
        self.name = providers[0].name
        self._first = providers[0]
        self._ring = KeyRing(self.name, providers)

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._first.unavailable

    def __getattr__(self, name: str) -> Any:
        # What only some vendors have: their dialect, whether the address is their own, how they count tokens.
        return getattr(self._first, name)

    def stream(self, request: ChatRequest) -> PushedAnswer:
        """Ask with one key, and with the next where the vendor holds that one back."""
        return _SpreadAnswer(self._ring, request)


class _SpreadAnswer:
    def __init__(self, ring: KeyRing[ChatProvider], request: ChatRequest) -> None:
        self._ring = ring
        self._request = request

    async def push(self, take: Callable[[ChatDeltas], object]) -> None:
        spoke = False

        def passed(deltas: ChatDeltas) -> None:
            nonlocal spoke
            spoke = True
            take(deltas)

        def ask(provider: ChatProvider) -> Awaitable[None]:
            # All of ours push; a generator would have to be closed here.
            return cast("PushedAnswer", provider.stream(self._request)).push(passed)

        await self._ring.ask(ask, lambda: spoke)


class SpreadEmbeddings:
    """An embedding provider over several keys."""

    role: ClassVar[ProviderRole] = "embedding"

    def __init__(self, providers: Sequence[EmbeddingProvider]) -> None:
        self.name = providers[0].name
        self._first = providers[0]
        self._ring = KeyRing(self.name, providers)

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._first.unavailable

    def __getattr__(self, name: str) -> Any:
        # As above.
        return getattr(self._first, name)

    async def embed(self, request: EmbeddingRequest) -> Embedded:
        """A vector for each input, with one key, and with the next where the vendor holds that one back."""
        return await self._ring.ask(lambda provider: provider.embed(request))
