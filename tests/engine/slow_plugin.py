"""A plugin that keeps something open, and whose answers end only when they are let."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from pydantic import BaseModel

from engine.api import (
    ChatDeltas,
    ChatRequest,
    Finish,
    ModelInfo,
    Plugin,
    PluginContext,
    Provider,
    ProviderRole,
    TextDelta,
    Usage,
    hookimpl,
)


class SlowSettings(BaseModel):
    """What the operator says of the slow plugin."""

    word: str = "tick"


class SlowProvider:
    """Says a word, and the rest only when it is let."""

    role: ClassVar[ProviderRole] = "chat"
    name = "slow"
    unavailable = None

    def __init__(self, word: str) -> None:
        self.word = word
        self.go = asyncio.Event()

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatDeltas]:
        yield TextDelta(f"{self.word} ")
        await self.go.wait()
        yield TextDelta("tock")
        yield Usage(input_tokens=1, output_tokens=2)
        yield Finish("stop")


class Slow(Plugin):
    """Brings a provider and keeps something open."""

    name = "slow"
    Settings = SlowSettings
    made: ClassVar[list[Slow]] = []

    def __init__(self) -> None:
        self.open = False
        self.provider: SlowProvider | None = None

    @hookimpl
    def register_models(self, context: PluginContext) -> Iterable[ModelInfo]:
        return [ModelInfo(id="slow-1", provider="slow", context=4096)]

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        self.provider = SlowProvider(context.settings(SlowSettings).word)
        self.made.append(self)
        return [self.provider]

    @hookimpl
    def register_lifespan(self, context: PluginContext) -> Any:
        @asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            self.open = True
            yield
            self.open = False

        return [lifespan()]
