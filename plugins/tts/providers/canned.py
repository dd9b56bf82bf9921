"""A voice that is none: a tone for each word, at once and the same each time, for who builds and tests clients."""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncIterator, Sequence
from functools import lru_cache
from typing import ClassVar

from engine.api import InvalidRequest, ProviderRole, Sound, SpeechRequest, Voice

NAME = "canned"
RATE = 24_000
A_WORD = 0.25
"""Seconds that a word takes at the speed of 1."""

_VOICE = Voice(id="tone", name="Tone", description="no voice: a tone for each word, to test clients with")
_EDGE = 0.02
_LOUD = 8_000
_PITCHES = (440.0, 523.25, 587.33, 659.26)


class CannedVoices:
    """Speaks without a vendor, a program or a cost; on where `[plugins.tts] canned` says so."""

    role: ClassVar[ProviderRole] = "speech"
    name = NAME
    default_model = "tone"
    stand_in = "what is heard is no voice: a tone for each word, as [plugins.tts] canned has it"
    unavailable: str | None = None

    async def voices(self) -> Sequence[Voice]:
        """The one."""
        return [_VOICE]

    def check(self, request: SpeechRequest) -> None:
        """Raise `InvalidRequest` for another voice."""
        if request.voice not in (None, _VOICE.id):
            raise InvalidRequest(f"the canned voice is {_VOICE.id!r}, or none is named", field="voice")

    async def speak(self, request: SpeechRequest, text: str) -> AsyncIterator[Sound]:
        """A tone for each word of one text."""
        self.check(request)
        samples = int(A_WORD * RATE / request.speed)
        for number, word in enumerate(text.split()):
            yield Sound(_tone(_PITCHES[number % len(_PITCHES)], samples), RATE, f"{word} ")


@lru_cache(64)
def _tone(pitch: float, samples: int) -> bytes:
    edge = int(_EDGE * RATE)
    # Without its edges each tone would begin and end with a click.
    loud = (min(1.0, n / edge, (samples - n) / edge) for n in range(samples))
    wave = (math.sin(2 * math.pi * pitch * n / RATE) for n in range(samples))
    return struct.pack(f"<{samples}h", *(int(_LOUD * each * at) for each, at in zip(loud, wave, strict=True)))
