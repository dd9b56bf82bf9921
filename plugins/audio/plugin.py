"""What plugin `audio` adds: commands and routes to listen, and who can."""

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
from plugins.audio.command import register as register_command
from plugins.audio.handlers import Handlers
from plugins.audio.providers import PROVIDER_SETTINGS, vendor_transcribers
from plugins.audio.providers.local import LocalTranscriber
from plugins.audio.routes import AudioRoutes
from plugins.audio.settings import AudioSettings

if TYPE_CHECKING:
    import typer


class Audio(Plugin):
    """Transcribers, and what listens with them."""

    name = "audio"
    Settings = AudioSettings

    _local: LocalTranscriber

    @hookimpl
    def register_settings(self) -> Iterable[type[SettingsTable]]:
        return PROVIDER_SETTINGS

    @hookimpl
    def register_cli(self, app: typer.Typer) -> None:
        register_command(app)

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        self._local = LocalTranscriber(context)
        return [self._local, *vendor_transcribers(context)]

    def _health(self) -> Health:
        # A reload may have made another one since.
        return self._local.health()

    @hookimpl
    def register_health_checks(self, context: PluginContext) -> Iterable[HealthCheck]:
        return [HealthCheck("hearing", self._health)]

    @hookimpl
    def register_commands(self, context: PluginContext) -> Iterable[Command[Any] | Call[Any]]:
        return Handlers(context).commands()

    @hookimpl
    def register_routes(self, context: PluginContext) -> Iterable[Route]:
        return AudioRoutes(context).routes()
