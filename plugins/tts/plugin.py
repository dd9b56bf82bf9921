"""What plugin `tts` adds: commands and routes to speak, and the voices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from engine.api import (
    Call,
    Command,
    Health,
    HealthCheck,
    Plugin,
    PluginContext,
    Provider,
    Route,
    SettingsTable,
    hookimpl,
)
from plugins.tts.command import register as register_command
from plugins.tts.handlers import Handlers
from plugins.tts.providers import PROVIDER_SETTINGS, speech_providers
from plugins.tts.providers.local import LocalVoices
from plugins.tts.routes import TtsRoutes
from plugins.tts.settings import TtsSettings

if TYPE_CHECKING:
    import typer


class Tts(Plugin):
    """Voices, and what speaks with them."""

    name = "tts"
    Settings = TtsSettings

    _local: LocalVoices

    @hookimpl
    def register_settings(self) -> Iterable[type[SettingsTable]]:
        return PROVIDER_SETTINGS

    @hookimpl
    def register_cli(self, app: typer.Typer) -> None:
        register_command(app)

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        self._local = LocalVoices(context.settings(TtsSettings), context.shared)
        return speech_providers(context, self._local)

    def _health(self) -> Health:
        # A reload may have made another one since.
        return self._local.health()

    @hookimpl
    def register_health_checks(self, context: PluginContext) -> Iterable[HealthCheck]:
        return [HealthCheck("speaking", self._health)]

    @hookimpl
    def register_commands(self, context: PluginContext) -> Iterable[Command[Any] | Call[Any]]:
        return Handlers(context).commands()

    @hookimpl
    def register_routes(self, context: PluginContext) -> Iterable[Route]:
        return TtsRoutes(context).routes()
