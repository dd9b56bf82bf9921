"""What plugin `chat` adds: turns, their history over HTTP, and the vendors' models."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from engine.api.commands import Call, Command
from engine.api.data import Tables
from engine.api.hooks import hookimpl
from engine.api.plugin import Listener, Plugin, PluginContext, SettingsTable
from engine.api.providers import ModelInfo, Provider
from engine.api.routes import Route
from plugins.chat.bodies import ChatSend, ToolResultSend
from plugins.chat.history.claims import turns_here
from plugins.chat.history.routes import routes as history_routes
from plugins.chat.history.store import History
from plugins.chat.history.tables import TABLES
from plugins.chat.providers import PROVIDER_SETTINGS, chat_providers, embedding_providers, own_models
from plugins.chat.routes import ChatRoutes
from plugins.chat.sending import Sending
from plugins.chat.settings import ChatSettings
from plugins.chat.talks import Talks
from plugins.chat.terminal import register as register_terminal
from plugins.chat.titles import Titles

if TYPE_CHECKING:
    import typer


class Chat(Plugin):
    """Conversations with any vendor's models, or with the local one."""

    name = "chat"
    Settings = ChatSettings

    _history: History
    _sending: Sending
    _titles: Titles

    @hookimpl
    def register_settings(self) -> Iterable[type[SettingsTable]]:
        return PROVIDER_SETTINGS

    @hookimpl
    def register_cli(self, app: typer.Typer) -> None:
        register_terminal(app)

    @hookimpl
    def register_tables(self, context: PluginContext) -> Iterable[Tables]:
        return [TABLES]

    @hookimpl
    def register_models(self, context: PluginContext) -> Iterable[ModelInfo]:
        return own_models(context)

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        return [*chat_providers(context), *embedding_providers(context)]

    @hookimpl
    def register_commands(self, context: PluginContext) -> Iterable[Command[ChatSend] | Call[ToolResultSend]]:
        self._history = History(
            context.database(),
            forget=context.commands.forget,
            is_open=context.commands.is_open,
            here=context.shared(turns_here).get,
        )
        self._sending = Sending(context, context.settings(ChatSettings), self._history)
        return [
            Command(
                name="chat.send",
                body=ChatSend,
                prepare=self._sending.prepare,
                recover=self._sending.recover,
                summary="Say something; the answer comes as a stream.",
                example={"type": "chat.send", "id": "c1", "input": "Hello!", "model": "local"},
            ),
            Call(
                name="tool.result",
                body=ToolResultSend,
                handle=self._sending.tool_result,
                summary="Answer a tool call of a running turn.",
                example={"type": "tool.result", "id": "c3", "stream": "s_…", "call_id": "call_1", "output": "18 °C"},
            ),
            *Talks(self._history).calls(),
        ]

    @hookimpl
    def register_routes(self, context: PluginContext) -> Iterable[Route]:
        history = history_routes(self._history)
        return [*ChatRoutes(context).routes(), *history]

    @hookimpl
    def register_listeners(self, context: PluginContext) -> Iterable[Listener]:
        self._titles = Titles(context, context.settings(ChatSettings), self._history)
        return self._titles.listeners()

    @hookimpl
    def register_lifespan(self, context: PluginContext) -> Iterable[AbstractAsyncContextManager[None]]:
        return [self._titles.running()]
