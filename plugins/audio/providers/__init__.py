"""The transcribers that the product knows, one file each."""

from __future__ import annotations

from collections.abc import Sequence

from engine.api import PluginContext, Provider, SettingsTable
from plugins.audio.providers.deepgram import DeepgramTranscriber
from plugins.audio.providers.google import GoogleTranscriber
from plugins.audio.providers.local import LocalTranscriber
from plugins.audio.providers.openai import OpenAITranscriber
from plugins.audio.settings import AudioSettings
from plugins.vendors.settings import DeepgramSettings, GoogleSettings, OpenAISettings
from plugins.vendors.transport import vendor_http

PROVIDER_SETTINGS: Sequence[type[SettingsTable]] = (OpenAISettings, GoogleSettings, DeepgramSettings)
"""The `[vendors.*]` tables."""


def transcription_providers(context: PluginContext) -> list[Provider]:
    """A provider for each vendor, whether or not it has a key: one without says what is missing."""
    http = context.shared(vendor_http)
    return [
        LocalTranscriber(context.settings(AudioSettings).local_parallel),
        OpenAITranscriber(context.settings(OpenAISettings), http),
        GoogleTranscriber(context.settings(GoogleSettings), http),
        DeepgramTranscriber(context.settings(DeepgramSettings), http),
    ]
