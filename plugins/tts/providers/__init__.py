"""The voices that the product knows, one file each."""

from __future__ import annotations

from collections.abc import Sequence

from engine.api import PluginContext, Provider, SettingsTable
from plugins.tts.providers.canned import CannedVoices
from plugins.tts.providers.deepgram import DeepgramVoices
from plugins.tts.providers.elevenlabs import ElevenLabsVoices
from plugins.tts.providers.google import GoogleVoices
from plugins.tts.providers.openai import OpenAIVoices
from plugins.tts.settings import TtsSettings
from plugins.vendors.settings import DeepgramSettings, ElevenLabsSettings, GoogleSettings, OpenAISettings
from plugins.vendors.transport import vendor_http

PROVIDER_SETTINGS: Sequence[type[SettingsTable]] = (
    OpenAISettings,
    DeepgramSettings,
    ElevenLabsSettings,
    GoogleSettings,
)
"""The `[vendors.*]` tables."""


def speech_providers(context: PluginContext, local: Provider) -> list[Provider]:
    """This machine, and a provider for each vendor, whether or not it has a key: one without says what is missing."""
    return [
        *([CannedVoices()] if context.settings(TtsSettings).canned else []),
        local,
        OpenAIVoices(context.settings(OpenAISettings), context.shared(vendor_http)),
        ElevenLabsVoices(context.settings(ElevenLabsSettings), context.shared(vendor_http)),
        DeepgramVoices(context.settings(DeepgramSettings), context.shared(vendor_http)),
        GoogleVoices(context.settings(GoogleSettings), context.shared(vendor_http)),
    ]
