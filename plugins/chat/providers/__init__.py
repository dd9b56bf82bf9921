"""The vendors that chat knows, one file each."""

from __future__ import annotations

from collections.abc import Sequence

from engine.api.plugin import PluginContext, SettingsTable
from engine.api.providers import Provider
from plugins.chat.providers.anthropic import Anthropic
from plugins.chat.providers.google import Google
from plugins.chat.providers.google_embeddings import GoogleEmbeddings
from plugins.chat.providers.openai import OpenAI
from plugins.vendors.compatible import (
    compatible_embeddings,
    compatible_servers,
    compatible_vendor,
    server_embeddings,
)
from plugins.vendors.embeddings import OpenAIEmbeddings
from plugins.vendors.openai_compatible import Endpoint
from plugins.vendors.settings import (
    COMPATIBLE_SETTINGS,
    AnthropicSettings,
    CompatibleSettings,
    GoogleSettings,
    OpenAISettings,
)
from plugins.vendors.transport import vendor_http

PROVIDER_SETTINGS: Sequence[type[SettingsTable]] = (
    OpenAISettings,
    AnthropicSettings,
    GoogleSettings,
    CompatibleSettings,
    *COMPATIBLE_SETTINGS.values(),
)
"""The `[vendors.*]` tables."""


def chat_providers(context: PluginContext) -> list[Provider]:
    """A provider for each vendor, whether or not it has a key: one without says what is missing."""
    http = context.shared(vendor_http)
    compatible = [compatible_vendor(name, context.settings(table), http) for name, table in COMPATIBLE_SETTINGS.items()]
    return [
        OpenAI(context.settings(OpenAISettings), http),
        Anthropic(context.settings(AnthropicSettings), http, max_output=lambda model: _max_output(context, model)),
        Google(context.settings(GoogleSettings), http),
        *compatible,
        *compatible_servers(context.settings(CompatibleSettings), http),
    ]


def embedding_providers(context: PluginContext) -> list[Provider]:
    """A provider of embeddings for OpenAI, Google, and whoever speaks OpenAI's API."""
    openai = context.settings(OpenAISettings)
    return [
        OpenAIEmbeddings(
            openai.title.lower(),
            context,
            Endpoint(openai.base_url, openai.key),
            unavailable=lambda: openai.unavailable,
            own_address=openai.own_address,
            title=openai.title,
            credential=openai.credential,
        ),
        GoogleEmbeddings(context.settings(GoogleSettings), context),
        *(compatible_embeddings(name, context.settings(table), context) for name, table in COMPATIBLE_SETTINGS.items()),
        *server_embeddings(context.settings(CompatibleSettings), context),
    ]


def _max_output(context: PluginContext, model: str) -> int | None:
    """The most tokens that a model of Anthropic's gives, where the catalogue knows it."""
    return next(
        (
            info.max_output
            for info in context.providers.known().values()
            if info.provider == "anthropic" and model in (info.id, info.model, *info.aliases)
        ),
        None,
    )
