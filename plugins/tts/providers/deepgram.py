"""Deepgram's voices: Aura, one text at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import ClassVar

import aiohttp
import msgspec

from engine.api import ProviderRole, Shared, Sound, SpeechRequest, Voice
from plugins.vendors.deepgram import RATE, address, deepgram, headers_of
from plugins.vendors.settings import DeepgramSettings
from plugins.vendors.speaking import whole_samples
from plugins.vendors.transport import post_bytes

_VOICES = (
    *(
        "thalia",
        "andromeda",
        "apollo",
        "arcas",
        "aries",
        "asteria",
        "athena",
        "atlas",
        "aurora",
        "cora",
        "hera",
        "hermes",
    ),
    *("hyperion", "iris", "juno", "jupiter", "luna", "mars", "minerva", "orion", "orpheus", "zeus"),
)


class DeepgramVoices:
    """Speech with Aura. A voice is a model of its own there: `voice` says which, else the model's name."""

    role: ClassVar[ProviderRole] = "speech"
    name = "deepgram"
    default_model = "aura-2-thalia-en"

    def __init__(self, settings: DeepgramSettings, http: Shared[aiohttp.ClientSession]) -> None:
        self._settings = settings
        self._http = http
        self._vendor = deepgram(settings)

    @property
    def own_address(self) -> bool:
        """Whether Deepgram itself answers."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._settings.unavailable

    async def voices(self) -> Sequence[Voice]:
        """The English voices of Aura 2."""
        return [Voice(id=f"aura-2-{name}-en", name=name.title(), languages=("en",)) for name in _VOICES]

    async def speak(self, request: SpeechRequest, text: str) -> AsyncIterator[Sound]:
        """Speak one text."""
        fields = {
            "model": request.voice or request.model,
            "encoding": "linear16",
            "sample_rate": RATE,
            "container": "none",
        }
        url = address(self._settings, "speak", {**fields, **request.provider_options})
        headers = {**headers_of(self._settings), "Content-Type": "application/json"}
        body = msgspec.json.encode({"text": text})
        pieces = post_bytes(self._http, url, headers, body, self._vendor, due="audio")
        async with aclosing(whole_samples(pieces)) as samples:  # type: ignore[type-var]
            async for pcm in samples:
                yield Sound(pcm, RATE)
