"""The models that hold calls, one file each."""

from __future__ import annotations

from collections.abc import Sequence

from engine.api import PluginContext, Provider, SettingsTable
from plugins.realtime.detecting import speech_finder
from plugins.realtime.providers.cascade import Cascade
from plugins.realtime.providers.google import GoogleRealtime
from plugins.realtime.providers.openai import OpenAIRealtime
from plugins.vendors.settings import GoogleSettings, OpenAISettings
from plugins.vendors.transport import vendor_http

PROVIDER_SETTINGS: Sequence[type[SettingsTable]] = (OpenAISettings, GoogleSettings)
"""The `[vendors.*]` tables."""


def realtime_providers(context: PluginContext) -> list[Provider]:
    """A provider for each vendor, and the cascades: of this machine's own models, and of any."""
    finder = context.shared(speech_finder)
    return [
        Cascade("local", context, finder, local=True),
        Cascade("cascade", context, finder),
        OpenAIRealtime(context.settings(OpenAISettings), context.shared(vendor_http)),
        GoogleRealtime(context.settings(GoogleSettings), context.shared(vendor_http)),
    ]
