"""The speech provider: from a text and a voice to samples."""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar

from engine.api import ProviderRole, Sound, SpeechRequest, Voice

from betterai_acme.settings import AcmeSettings

RATE = 16_000


class AcmeVoices:
    """Speaks as `acme/<any model>`."""

    role: ClassVar[ProviderRole] = "speech"
    name = "acme"

    def __init__(self, settings: AcmeSettings) -> None:
        self._key = settings.api_key

    @property
    def unavailable(self) -> str | None:
        """What the operator has to set before this provider can serve, or None."""
        return None if self._key else "Acme needs an API key: set ACME_API_KEY or [plugins.acme] api_key."

    async def voices(self) -> Sequence[Voice]:
        """The voices that can be asked for."""
        return [Voice(id="hum", name="Hum")]

    async def speak(self, request: SpeechRequest, text: str) -> AsyncIterator[Sound]:
        """Yield samples as they come. Leaving this generator must close the connection to the vendor."""
        for word in text.split():  # the vendor's call goes here
            count = int(RATE * 0.25 / request.speed)
            wave = (int(8_000 * math.sin(n * (len(word) + 4) / 60)) for n in range(count))
            yield Sound(struct.pack(f"<{count}h", *wave), RATE)
