"""What this package adds to the engine."""

from __future__ import annotations

from collections.abc import Iterable

from engine.api import Plugin, PluginContext, Provider, hookimpl

from betterai_acme.chat import AcmeChat
from betterai_acme.settings import AcmeSettings
from betterai_acme.speech import AcmeVoices


class Acme(Plugin):
    """Models and voices by the name `acme/<model>`."""

    name = "acme"
    Settings = AcmeSettings

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        settings = context.settings(AcmeSettings)
        return [AcmeChat(settings), AcmeVoices(settings)]
