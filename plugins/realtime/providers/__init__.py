"""The models that hold calls, one file each."""

from __future__ import annotations

from collections.abc import Sequence

from engine.api import PluginContext, Provider, SettingsTable
from plugins.realtime.detecting import speech_finder
from plugins.realtime.providers.cascade import Cascade

PROVIDER_SETTINGS: Sequence[type[SettingsTable]] = ()
"""The `[vendors.*]` tables."""


def realtime_providers(context: PluginContext) -> list[Provider]:
    """A provider for each vendor, and the cascades: of this machine's own models, and of any."""
    finder = context.shared(speech_finder)
    return [Cascade("local", context, finder, local=True), Cascade("cascade", context, finder)]
