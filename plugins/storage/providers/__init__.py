"""The stores of this plugin."""

from __future__ import annotations

import plugins.storage.providers.local as local
from engine.api import PluginContext
from plugins.storage.links import Links
from plugins.storage.objects import Objects
from plugins.storage.settings import StorageSettings


def local_store(context: PluginContext) -> Objects:
    """The store on this machine's disk."""
    settings = context.settings(StorageSettings)
    links = Links(lambda: context.secret("links"))
    return Objects("local", local.Folder(settings.folder), context.database(), links, settings)
