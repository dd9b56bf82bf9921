"""Providers made of settings: the known OpenAI-compatible vendors, and the servers that an operator names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import aiohttp

from engine.api import ChatProvider, EmbeddingProvider, PluginContext, Shared
from plugins.vendors.addresses import COMPATIBLE_VENDORS
from plugins.vendors.embeddings import OpenAIEmbeddings
from plugins.vendors.openai_compatible import Endpoint, OpenAICompatible
from plugins.vendors.settings import CompatibleSettings, VendorSettings
from plugins.vendors.spread import chat_over, embeddings_over

_NOWHERE = Endpoint("", None)
"""Of a provider that cannot be asked."""


def compatible_vendor(name: str, settings: VendorSettings, http: Shared[aiohttp.ClientSession]) -> ChatProvider:
    """The provider of a vendor in `COMPATIBLE_VENDORS`, with the table `COMPATIBLE_SETTINGS[name]`."""
    return chat_over([_chat(name, each, http) for each in settings.each_key()])


def _chat(name: str, settings: VendorSettings, http: Shared[aiohttp.ClientSession]) -> OpenAICompatible:
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


def vendor_embeddings(name: str, settings: VendorSettings, context: PluginContext) -> EmbeddingProvider:
    """The embedding provider of a vendor that speaks OpenAI's API."""
    return embeddings_over(
        [
            OpenAIEmbeddings(
                name,
                context,
                Endpoint(each.base_url, each.key),
                unavailable=lambda: settings.unavailable,
                own_address=settings.own_address,
                title=settings.title,
                credential=settings.credential,
            )
            for each in settings.each_key()
        ]
    )


def _broken(settings: CompatibleSettings) -> Iterator[tuple[str, Callable[[], str]]]:
    """The servers that cannot be asked, each with what says so."""
    for name, reason in settings.broken_servers.items():
        yield name, partial("its settings cannot be used: {}".format, reason)


def server_embeddings(settings: CompatibleSettings, context: PluginContext) -> Iterator[EmbeddingProvider]:
    """An embedding provider for each server of `[vendors.compatible]`."""
    for name, server in settings.servers.items():
        credential = f"[vendors.compatible.servers.{name}] api_key"
        ends = [Endpoint(each.base_url, each.key) for each in server.each_key()]
        yield embeddings_over(
            [OpenAIEmbeddings(name, context, end, own_address=False, credential=credential) for end in ends]
        )
    for name, why in _broken(settings):
        yield OpenAIEmbeddings(name, context, _NOWHERE, own_address=False, unavailable=why)


def compatible_servers(settings: CompatibleSettings, http: Shared[aiohttp.ClientSession]) -> Iterator[ChatProvider]:
    """A provider for each server of `[vendors.compatible]`; the catalogue knows nothing of their models."""
    for name, server in settings.servers.items():
        credential = f"[vendors.compatible.servers.{name}] api_key"
        ends = [Endpoint(each.base_url, each.key) for each in server.each_key()]
        yield chat_over([OpenAICompatible(name, http, end, own_address=False, credential=credential) for end in ends])
    for name, why in _broken(settings):
        yield OpenAICompatible(name, http, _NOWHERE, own_address=False, unavailable=why)
