"""The vendors that chat knows, one file each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from engine.api.plugin import PluginContext, SettingsTable
from engine.api.providers import ModelInfo, Provider
from plugins.chat.providers.anthropic import Anthropic
from plugins.chat.providers.canned import INFO as CANNED
from plugins.chat.providers.canned import CannedChat
from plugins.chat.providers.google import Google
from plugins.chat.providers.google_embeddings import GoogleEmbeddings
from plugins.chat.providers.openai import OpenAI
from plugins.chat.settings import ChatSettings
from plugins.vendors.compatible import (
    compatible_servers,
    compatible_vendor,
    server_embeddings,
    vendor_embeddings,
)
from plugins.vendors.settings import (
    COMPATIBLE_SETTINGS,
    AnthropicSettings,
    CompatibleSettings,
    GoogleSettings,
    OpenAISettings,
)
from plugins.vendors.spread import chat_over, embeddings_over
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
    max_output = partial(_max_output, context)
    return [
        chat_over([OpenAI(each, http) for each in context.settings(OpenAISettings).each_key()]),
        chat_over(
            [Anthropic(each, http, max_output=max_output) for each in context.settings(AnthropicSettings).each_key()]
        ),
        chat_over([Google(each, http) for each in context.settings(GoogleSettings).each_key()]),
        *compatible,
        *compatible_servers(context.settings(CompatibleSettings), http),
        *([CannedChat()] if context.settings(ChatSettings).canned else []),
    ]


def own_models(context: PluginContext) -> list[ModelInfo]:
    """Entries for the catalogue of models that are the plugin's own."""
    return [CANNED] if context.settings(ChatSettings).canned else []


def embedding_providers(context: PluginContext) -> list[Provider]:
    """A provider of embeddings for OpenAI, Google, and whoever speaks OpenAI's API."""
    return [
        vendor_embeddings("openai", context.settings(OpenAISettings), context),
        embeddings_over([GoogleEmbeddings(each, context) for each in context.settings(GoogleSettings).each_key()]),
        *(vendor_embeddings(name, context.settings(table), context) for name, table in COMPATIBLE_SETTINGS.items()),
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
