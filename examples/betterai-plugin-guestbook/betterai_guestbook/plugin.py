"""What this package adds to the engine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from engine.api import Plugin, PluginContext, Route, Tables, hookimpl

from betterai_guestbook.command import register
from betterai_guestbook.entries import Entries
from betterai_guestbook.routes import GuestbookRoutes
from betterai_guestbook.settings import GuestbookSettings
from betterai_guestbook.tables import TABLES

if TYPE_CHECKING:
    import typer


class Guestbook(Plugin):
    """A book that visitors sign."""

    name = "guestbook"
    Settings = GuestbookSettings

    @hookimpl
    def register_cli(self, app: typer.Typer) -> None:
        register(app)

    @hookimpl
    def register_tables(self, context: PluginContext) -> Iterable[Tables]:
        return [TABLES]

    @hookimpl
    def register_routes(self, context: PluginContext) -> Iterable[Route]:
        entries = Entries(context.database())
        return GuestbookRoutes(context.settings(GuestbookSettings), entries).routes()
