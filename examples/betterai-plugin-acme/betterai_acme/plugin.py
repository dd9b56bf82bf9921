"""What this package adds to the engine."""

from __future__ import annotations

from collections.abc import Iterable

from engine.api import Plugin, PluginContext, Provider, hookimpl

from betterai_acme.chat import AcmeChat
from betterai_acme.settings import AcmeSettings


class Acme(Plugin):
    """Models by the name `acme/<model>`."""

    name = "acme"
    Settings = AcmeSettings

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        return [AcmeChat(context.settings(AcmeSettings))]
