"""What plugin `audio` adds: commands and routes to listen, and who can."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from engine.api import Call, Command, Plugin, PluginContext, Provider, Route, SettingsTable, hookimpl
from plugins.audio.command import register as register_command
from plugins.audio.handlers import Handlers
from plugins.audio.providers import PROVIDER_SETTINGS, transcription_providers
from plugins.audio.routes import AudioRoutes
from plugins.audio.settings import AudioSettings

if TYPE_CHECKING:
    import typer


class Audio(Plugin):
    """Transcribers, and what listens with them."""

    name = "audio"
    Settings = AudioSettings

    @hookimpl
    def register_settings(self) -> Iterable[type[SettingsTable]]:
        return PROVIDER_SETTINGS

    @hookimpl
    def register_cli(self, app: typer.Typer) -> None:
        register_command(app)

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        return transcription_providers(context)

    @hookimpl
    def register_commands(self, context: PluginContext) -> Iterable[Command[Any] | Call[Any]]:
        return Handlers(context).commands()

    @hookimpl
    def register_routes(self, context: PluginContext) -> Iterable[Route]:
        return AudioRoutes(context).routes()
