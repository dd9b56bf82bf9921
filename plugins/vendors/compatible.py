"""Providers made of settings: the known OpenAI-compatible vendors, and the servers that an operator names."""

from __future__ import annotations

from collections.abc import Iterator

import aiohttp

from engine.api import PluginContext, Shared
from plugins.vendors.addresses import COMPATIBLE_VENDORS
from plugins.vendors.embeddings import OpenAIEmbeddings
from plugins.vendors.openai_compatible import Endpoint, OpenAICompatible
from plugins.vendors.settings import CompatibleSettings, VendorSettings


def compatible_vendor(name: str, settings: VendorSettings, http: Shared[aiohttp.ClientSession]) -> OpenAICompatible:
    """The provider of a vendor in `COMPATIBLE_VENDORS`, with the table `COMPATIBLE_SETTINGS[name]`."""
    vendor = COMPATIBLE_VENDORS[name]
    return OpenAICompatible(
        name,
        http,
        Endpoint(settings.base_url, settings.key),
        dialect=vendor.dialect,
        unavailable=lambda: settings.unavailable,
        own_address=settings.own_address,
        title=vendor.title,
        credential=settings.credential,
    )


def compatible_embeddings(name: str, settings: VendorSettings, context: PluginContext) -> OpenAIEmbeddings:
    """The embedding provider of a vendor in `COMPATIBLE_VENDORS`."""
    return OpenAIEmbeddings(
        name,
        context,
        Endpoint(settings.base_url, settings.key),
        unavailable=lambda: settings.unavailable,
        own_address=settings.own_address,
        title=COMPATIBLE_VENDORS[name].title,
        credential=settings.credential,
    )


def server_embeddings(settings: CompatibleSettings, context: PluginContext) -> Iterator[OpenAIEmbeddings]:
    """An embedding provider for each server of `[vendors.compatible]`."""
    for name, server in settings.servers.items():
        yield OpenAIEmbeddings(
            name,
            context,
            Endpoint(server.base_url, server.key),
            own_address=False,
            credential=f"[vendors.compatible.servers.{name}] api_key",
        )


def compatible_servers(settings: CompatibleSettings, http: Shared[aiohttp.ClientSession]) -> Iterator[OpenAICompatible]:
    """A provider for each server of `[vendors.compatible]`; the catalogue knows nothing of their models."""
    for name, server in settings.servers.items():
        yield OpenAICompatible(
            name,
            http,
            Endpoint(server.base_url, server.key),
            own_address=False,
            credential=f"[vendors.compatible.servers.{name}] api_key",
        )
