"""Anthropic: the Messages API."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeAlias

import aiohttp

from engine.api import ChatRequest, ProviderRole, PushedAnswer, Shared
from plugins.chat.providers.anthropic_body import anthropic_body
from plugins.chat.providers.anthropic_decoding import AnthropicDecoder
from plugins.chat.providers.anthropic_faults import read_anthropic_fault
from plugins.chat.providers.anthropic_pauses import PausingAnswer, has_server_tools
from plugins.vendors.decoding import Answer, encode_body
from plugins.vendors.failures import Vendor
from plugins.vendors.settings import AnthropicSettings
from plugins.vendors.transport import EventStream, open_stream

NAME = "anthropic"
API_VERSION = "2023-06-01"

MaxOutput: TypeAlias = Callable[[str], int | None]
"""The most tokens that a model, by the vendor's name of it, can put out; None where that is not known."""


class Anthropic:
    """Chat with Claude. `max_output` is what the catalogue says: Messages wants a bound with every request."""

    role: ClassVar[ProviderRole] = "chat"
    name = NAME

    def __init__(
        self,
        settings: AnthropicSettings,
        http: Shared[aiohttp.ClientSession],
        *,
        max_output: MaxOutput = lambda model: None,
    ) -> None:
        self._settings = settings
        self._http = http
        self._max_output = max_output
        self._url = f"{settings.base_url}/v1/messages"
        self._headers = {"anthropic-version": API_VERSION, **({"x-api-key": settings.key} if settings.key else {})}
        self._vendor = Vendor(settings.title, read_anthropic_fault, credential=settings.credential, secret=settings.key)

    @property
    def own_address(self) -> bool:
        """Whether Anthropic itself answers; elsewhere the catalogue says nothing about the models."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._settings.unavailable

    def stream(self, request: ChatRequest) -> PushedAnswer:
        """Ask the model; the deltas of each read come as one list."""
        body = anthropic_body(request, self.name, self._max_output(request.model))
        decoder = AnthropicDecoder(self._vendor, self.name)
        if has_server_tools(body):
            return PausingAnswer(self._open, body, decoder)
        return Answer(self._open(encode_body(body)), decoder)

    def _open(self, body: bytes) -> EventStream:
        return open_stream(self._http, self._url, self._headers, body, self._vendor)
