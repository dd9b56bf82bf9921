"""Answers of chat providers, taken as the engine takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import cast

from msgspec import Struct

from engine.api.chat import ChatDelta, ChatDeltas, ChatRequest
from engine.api.events import StatusChanged
from engine.api.providers import ChatProvider, PushedAnswer
from engine.providers.call import ANSWERING


async def batches_of(provider: ChatProvider, request: ChatRequest) -> AsyncGenerator[Sequence[ChatDelta], None]:
    """What each read brought, whether the provider is iterated or pushes its answer. Leaving early ends the call.

    That the answer has begun (`answering`) is left out, as clients do not see it.
    """
    answer = provider.stream(request)
    pulled = answer if isinstance(answer, AsyncIterator) else _pull(answer)
    async with aclosing(cast("AsyncGenerator[ChatDeltas, None]", pulled)):
        async for deltas in pulled:
            if isinstance(deltas, StatusChanged) and deltas.stage == ANSWERING:
                continue
            yield (deltas,) if isinstance(deltas, Struct) else deltas


async def deltas_of(provider: ChatProvider, request: ChatRequest) -> list[ChatDelta]:
    """The whole answer."""
    async with aclosing(batches_of(provider, request)) as batches:
        return [delta async for batch in batches for delta in batch]


async def _pull(answer: PushedAnswer) -> AsyncGenerator[ChatDeltas, None]:
    pushed: asyncio.Queue[ChatDeltas | None] = asyncio.Queue()
    pushing = asyncio.create_task(answer.push(pushed.put_nowait))
    pushing.add_done_callback(lambda _: pushed.put_nowait(None))
    try:
        while (deltas := await pushed.get()) is not None:
            yield deltas
        await pushing
    finally:
        pushing.cancel()
        await asyncio.wait({pushing})
