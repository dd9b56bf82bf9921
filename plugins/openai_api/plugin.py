"""What plugin `openai_api` adds: the addresses that OpenAI's clients ask."""

from __future__ import annotations

from collections.abc import Iterable

from engine.api import Plugin, PluginContext, Route, hookimpl
from engine.api.data import Tables
from plugins.openai_api.audio_speech import AudioSpeech
from plugins.openai_api.audio_transcriptions import AudioTranscriptions
from plugins.openai_api.chat_completions import ChatCompletions
from plugins.openai_api.embeddings import EmbeddingRoutes
from plugins.openai_api.messages import Messages
from plugins.openai_api.models import Models
from plugins.openai_api.naming import ModelNames
from plugins.openai_api.realtime import Realtime
from plugins.openai_api.responses import ResponseRoutes
from plugins.openai_api.responses_store import TABLES, Responses
from plugins.openai_api.settings import OpenAIApiSettings


class OpenAIApi(Plugin):
    """A translation: OpenAI's requests into the engine's commands, and its streams into OpenAI's answers."""

    name = "openai_api"
    Settings = OpenAIApiSettings

    @hookimpl
    def register_tables(self, context: PluginContext) -> Iterable[Tables]:
        return [TABLES]

    @hookimpl
    def register_routes(self, context: PluginContext) -> Iterable[Route]:
        return _routes(context, context.settings(OpenAIApiSettings))


def _routes(context: PluginContext, settings: OpenAIApiSettings) -> list[Route]:
    vendor, strict = settings.default_vendor, settings.strict
    names = ModelNames(context.providers, vendor)
    return [
        *Models(context.providers, names).routes(),
        *ChatCompletions(context.commands, names, strict=strict).routes(),
        *EmbeddingRoutes(context.providers, vendor).routes(),
        *AudioTranscriptions(context.commands, context.providers, vendor, strict=strict).routes(),
        *AudioSpeech(context.commands, context.providers, vendor, strict=strict).routes(),
        *Realtime(context, vendor, strict=strict).routes(),
        *Messages(context.commands, ModelNames(context.providers, "anthropic"), strict=strict).routes(),
        *ResponseRoutes(context.commands, names, Responses(context.database, context.commands), strict=strict).routes(),
    ]
