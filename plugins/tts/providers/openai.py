"""OpenAI's voices, through the official SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar

from engine.api import PluginContext, ProviderRole, Sound, SpeechRequest, Voice
from plugins.vendors.openai_sdk import OpenAISdk
from plugins.vendors.settings import OpenAISettings

RATE = 24_000
"""Of OpenAI's `pcm`."""

PIECE = RATE // 10 * 2
DEFAULT_VOICE = "alloy"
_VOICES = (
    "alloy", "ash", "ballad", "coral", "echo", "fable", "marin", "cedar", "nova", "onyx", "sage", "shimmer", "verse",
)  # fmt: skip


class OpenAIVoices:
    """Speech with tts-1, tts-1-hd and gpt-4o-mini-tts."""

    role: ClassVar[ProviderRole] = "speech"
    name = "openai"
    default_model = "gpt-4o-mini-tts"

    def __init__(self, settings: OpenAISettings, context: PluginContext) -> None:
        self._settings = settings
        self._sdk = OpenAISdk(settings, context)

    @property
    def own_address(self) -> bool:
        """Whether OpenAI itself answers; elsewhere the catalogue says nothing about the models."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._sdk.unavailable

    async def voices(self) -> Sequence[Voice]:
        """The voices that OpenAI lists in its documentation; it has no address that tells them."""
        return [Voice(id=id, name=id.title()) for id in _VOICES]

    async def speak(self, request: SpeechRequest, text: str) -> AsyncIterator[Sound]:
        """Speak one text."""
        options: dict[str, Any] = {"extra_body": dict(request.provider_options)} if request.provider_options else {}
        if request.instructions is not None:
            options["instructions"] = request.instructions
        with self._sdk.failures():
            client = await self._sdk.client()
            async with client.audio.speech.with_streaming_response.create(
                model=request.model,
                voice=request.voice or DEFAULT_VOICE,
                input=text,
                response_format="pcm",
                speed=request.speed,
                **options,
            ) as answer:
                async for piece in answer.iter_bytes(PIECE):
                    if len(piece) > 1:
                        # Only the last piece may be odd, where the answer was cut off.
                        yield Sound(piece[: len(piece) - len(piece) % 2], RATE)
