"""The transcribers that the product knows, one file each."""

from __future__ import annotations

from collections.abc import Sequence

from engine.api import PluginContext, Provider, SettingsTable
from plugins.audio.providers.deepgram import DeepgramTranscriber
from plugins.audio.providers.google import GoogleTranscriber
from plugins.audio.providers.openai import OpenAITranscriber
from plugins.audio.recording import Recorder
from plugins.audio.settings import AudioSettings
from plugins.vendors.settings import DeepgramSettings, GoogleSettings, OpenAISettings
from plugins.vendors.transport import vendor_http

PROVIDER_SETTINGS: Sequence[type[SettingsTable]] = (OpenAISettings, GoogleSettings, DeepgramSettings)
"""The `[vendors.*]` tables."""


def vendor_transcribers(context: PluginContext) -> list[Provider]:
    """A provider for each vendor, whether or not it has a key: one without says what is missing."""
    http = context.shared(vendor_http)
    settings = context.settings(AudioSettings)
    recorder = Recorder(settings.scratch)
    return [
        OpenAITranscriber(context.settings(OpenAISettings), http, recorder),
        GoogleTranscriber(context.settings(GoogleSettings), http, recorder),
        DeepgramTranscriber(context.settings(DeepgramSettings), http),
    ]
