"""OpenAI's voices. Asked over our own connections: of the wait for a first sound the SDK would be the greater part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, ClassVar

import aiohttp

from engine.api import ProviderRole, Shared, Sound, SpeechRequest, Voice
from plugins.vendors.decoding import encode_body
from plugins.vendors.failures import Vendor
from plugins.vendors.openai_compatible import bearer
from plugins.vendors.openai_voices import DEFAULT_VOICE, VOICES
from plugins.vendors.settings import OpenAISettings, account_headers
from plugins.vendors.speaking import whole_samples
from plugins.vendors.transport import post_bytes

RATE = 24_000
"""Of OpenAI's `pcm`."""


class OpenAIVoices:
    """Speech with tts-1, tts-1-hd and gpt-4o-mini-tts."""

    role: ClassVar[ProviderRole] = "speech"
    name = "openai"
    default_model = "gpt-4o-mini-tts"

    def __init__(self, settings: OpenAISettings, http: Shared[aiohttp.ClientSession]) -> None:
        self._settings = settings
        self._http = http
        self._vendor = Vendor(settings.title, credential=settings.credential, secret=settings.key)
        self._headers = {**account_headers(settings), **bearer(settings.key), "Content-Type": "application/json"}

    @property
    def own_address(self) -> bool:
        """Whether OpenAI itself answers; elsewhere the catalogue says nothing about the models."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._settings.unavailable

    async def voices(self) -> Sequence[Voice]:
        """The voices that OpenAI lists in its documentation; it has no address that tells them."""
        return [Voice(id=id, name=id.title()) for id in VOICES]

    async def speak(self, request: SpeechRequest, text: str) -> AsyncIterator[Sound]:
        """Speak one text."""
        body: dict[str, Any] = {
            "model": request.model,
            "voice": request.voice or DEFAULT_VOICE,
            "input": text,
            "response_format": "pcm",
            "speed": request.speed,
        }
        if request.instructions is not None:
            body["instructions"] = request.instructions
        body |= request.provider_options
        url = f"{self._settings.base_url}/audio/speech"
        pieces = post_bytes(self._http, url, self._headers, encode_body(body), self._vendor, due="audio")
        async with aclosing(whole_samples(pieces)) as samples:  # type: ignore[type-var]
            async for pcm in samples:
                yield Sound(pcm, RATE)
