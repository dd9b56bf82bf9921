"""What plugin `storage` adds: a store of objects, its routes, and what sweeps it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager

from engine.api import Plugin, PluginContext, Provider, Route, Tables, hookimpl
from plugins.storage.objects import Objects
from plugins.storage.providers import local_store
from plugins.storage.routes import FileRoutes, ObjectRoutes
from plugins.storage.settings import StorageSettings
from plugins.storage.sweep import Sweep
from plugins.storage.tables import TABLES


class Storage(Plugin):
    """Files that are kept."""

    name = "storage"
    Settings = StorageSettings

    _store: Objects

    @hookimpl
    def register_tables(self, context: PluginContext) -> Iterable[Tables]:
        return [TABLES]

    @hookimpl
    def register_providers(self, context: PluginContext) -> Iterable[Provider]:
        self._store = local_store(context)
        return [self._store]

    @hookimpl
    def register_routes(self, context: PluginContext) -> Iterable[Route]:
        return [*ObjectRoutes(context).routes(), *FileRoutes(self._store).routes()]

    @hookimpl
    def register_lifespan(self, context: PluginContext) -> Iterable[AbstractAsyncContextManager[None]]:
        return [Sweep(self._store).running()]
