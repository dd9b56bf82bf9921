"""What plugin `realtime` adds: calls, both ways by voice, and the models that hold them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from engine.api import Call, Command, Plugin, PluginContext, Provider, SettingsTable, hookimpl
from plugins.realtime.command import register as register_command
from plugins.realtime.handlers import Handlers
from plugins.realtime.providers import PROVIDER_SETTINGS, realtime_providers
from plugins.realtime.settings import RealtimeSettings

if TYPE_CHECKING:
    import typer


class Realtime(Plugin):
    """Calls."""

    name = "realtime"
    Settings = RealtimeSettings

    @hookimpl
    def register_settings(self) -> Iterable[type[SettingsTable]]:
        return PROVIDER_SETTINGS

    @hookimpl
    def register_cli(self, app: typer.Typer) -> None:
        register_command(app)

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        return realtime_providers(context)

    @hookimpl
    def register_commands(self, context: PluginContext) -> Iterable[Command[Any] | Call[Any]]:
        return Handlers(context).commands()
