"""A whole plugin in one file: a chat provider that says what it was told, made with the public door alone."""

from collections.abc import AsyncIterator, Iterable
from typing import ClassVar

from pydantic import BaseModel, Field

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


class EchoSettings(BaseModel):
    """Operator's `[plugins.echo]` table."""

    shout: bool = Field(default=False, description="Answer in capitals.")


class EchoProvider:
    """Says again what the user said last, a word at a time."""

    role: ClassVar[ProviderRole] = "chat"
    name = "echo"
    unavailable = None

    def __init__(self, settings: EchoSettings) -> None:
        self._settings = settings

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatDeltas]:
        text = request.messages[-1].text
        for word in (text.upper() if self._settings.shout else text).split(" "):
            yield TextDelta(f"{word} ")
        yield Usage(input_tokens=len(text.split()), output_tokens=len(text.split()))
        yield Finish("stop")


class Echo(Plugin):
    """Echoes."""

    name = "echo"
    Settings = EchoSettings

    @hookimpl
    def register_models(self, context: PluginContext) -> Iterable[ModelInfo]:
        return [ModelInfo(id="echo-1", provider="echo", context=4096)]

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        return [EchoProvider(context.settings(EchoSettings))]
