"""What plugin `local` adds: one chat provider that needs no key and no network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from engine.api.hooks import hookimpl
from engine.api.plugin import HealthCheck, Plugin, PluginContext
from engine.api.providers import ModelInfo, Provider
from plugins.local.chat import LocalChat, model_info
from plugins.local.settings import LocalSettings
from plugins.vendors.transport import vendor_http


class Local(Plugin):
    """A small language model in a process of its own."""

    name = "local"
    Settings = LocalSettings

    _chat: LocalChat

    @hookimpl
    def register_models(self, context: PluginContext) -> Iterable[ModelInfo]:
        return [model_info(context.settings(LocalSettings))]

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        self._chat = LocalChat(context.settings(LocalSettings), context.shared(vendor_http))
        return [self._chat]

    @hookimpl
    def register_health_checks(self, context: PluginContext) -> Iterable[HealthCheck]:
        return [HealthCheck("model", self._chat.health)]

    @hookimpl
    def register_lifespan(self, context: PluginContext) -> Iterable[AbstractAsyncContextManager[None]]:
        return [self._running()]

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        self._chat.start()
        try:
            yield
        finally:
            await self._chat.server.aclose()
