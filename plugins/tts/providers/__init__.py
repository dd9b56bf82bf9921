"""The voices that the product knows, one file each."""

from __future__ import annotations

from collections.abc import Sequence

from engine.api import PluginContext, Provider, SettingsTable
from plugins.tts.providers.local import LocalVoices
from plugins.tts.providers.openai import OpenAIVoices
from plugins.tts.settings import TtsSettings
from plugins.vendors.settings import OpenAISettings

PROVIDER_SETTINGS: Sequence[type[SettingsTable]] = (OpenAISettings,)
"""The `[vendors.*]` tables."""


def speech_providers(context: PluginContext) -> list[Provider]:
    """A provider for each vendor, whether or not it has a key: one without says what is missing."""
    return [
        LocalVoices(context.settings(TtsSettings).local_voice),
        OpenAIVoices(context.settings(OpenAISettings), context),
    ]
