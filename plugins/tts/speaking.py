"""Speaks with the process that holds a voice of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from time import monotonic

import structlog

from engine.api import Health, InvalidRequest, ModelUnavailable, Sound, Voice
from plugins.tts.weights import VoiceModel
from plugins.vendors.model_frames import DATA
from plugins.vendors.model_process import ModelProcess, ProcessEnded

PROGRAM = "plugins.tts.speaking_child"
PIECE = 0.1
"""Seconds of the sound that is given out at a time."""

LIVES = 3
"""Processes that one text may outlive before it is given up."""

REST = 60.0
"""Seconds for which a voice is left alone whose processes died one after the other."""

SPEEDS = (0.5, 2.0)

log = structlog.get_logger(__name__)


class ModelVoices:
    """The voices of one model; implements `plugins.tts.providers.local.Source`."""

    def __init__(self, model: VoiceModel, threads: int) -> None:
        self.name = model.name
        self.voices = model.voices
        order = {
            "name": model.name,
            "kind": model.kind,
            "path": str(model.path),
            "sha256": dict(model.sha256),
            "threads": threads,
            "voice": model.voices[0].id,
        }
        self.process = ModelProcess(PROGRAM, model.name, order)
        self._rests_until = 0.0

    @property
    def refusal(self) -> str | None:
        """Why the model could not be loaded, or kept, a short while ago."""
        if monotonic() < self._rests_until:
            return f"the process of {self.name} ended {LIVES} times one after the other"
        return self.process.refusal

    def health(self) -> Health:
        """Of its process."""
        return self.process.health() if self.refusal is None else Health("degraded", self.refusal)

    def check(self, voice: Voice, speed: float) -> None:
        """Raise `InvalidRequest` for a speed that the models were not made for, `ModelUnavailable` while it is refused."""
        slowest, fastest = SPEEDS
        if not slowest <= speed <= fastest:
            raise InvalidRequest(
                f"the voice {voice.id} speaks at {slowest:g} to {fastest:g} times its own speed, not at {speed:g}",
                field="speed",
            )
        if self.refusal is not None:
            raise ModelUnavailable(f"the voice {voice.id} cannot be loaded: {self.refusal}", retryable=True)

    async def speak(self, voice: Voice, speed: float, text: str) -> AsyncIterator[Sound]:
        """Speak one text. Where the process dies meanwhile, another one goes on at the very sample: it makes the same."""
        given = 0
        for life in range(LIVES):
            try:
                exchange = await self.process.open({"text": text, "voice": voice.id, "speed": speed})
                try:
                    rate, behind = int(self.process.description["rate"]), given
                    step = int(rate * PIECE) * 2
                    async for kind, pcm in exchange:
                        if kind != DATA:
                            continue
                        begin, behind = min(behind, len(pcm)), max(0, behind - len(pcm))
                        for at in range(begin, len(pcm), step):
                            piece = pcm[at : at + step]
                            given += len(piece)
                            yield Sound(piece, rate)
                    return
                finally:
                    exchange.close()
            except ProcessEnded:
                if life == LIVES - 1:
                    self._rests_until = monotonic() + REST
                    raise
                log.warning("voice_process_ended", voice=voice.id, seconds_given=given)

    async def warm(self) -> None:
        """Load the model, so that the first text does not wait for it."""
        if self.refusal is None:
            await self.process.warm()

    async def aclose(self) -> None:
        """End the process."""
        await self.process.aclose()
