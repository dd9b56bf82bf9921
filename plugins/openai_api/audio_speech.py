"""`POST /v1/audio/speech`: the same speech as `tts.start` (types: `openai.types.audio.speech_create_params`)."""

from __future__ import annotations

import base64
from typing import Any, Literal

import msgspec
from pydantic import Field

from engine.api import (
    Audio,
    Body,
    Commands,
    EngineError,
    Event,
    EventStream,
    HttpRequest,
    Providers,
    Result,
    Route,
    StreamEnded,
)
from engine.wire.bounds import Name
from engine.wire.sse import encode_sse
from plugins.openai_api.errors import error_answer, respelt
from plugins.openai_api.naming import speech_named
from plugins.openai_api.responses_errors import answer_error

MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
SSE = "text/event-stream"

_SPELLINGS = {"text": "input", "format": "response_format"}
_encode = msgspec.json.Encoder().encode


class VoiceId(Body):
    """A voice by its id."""

    id: str = Field(min_length=1, max_length=200)


class SpeechBody(Body):
    """A text to be spoken."""

    input: str = Field(min_length=1, description="The text.")
    model: str | None = Field(default=None, max_length=200, description="As for chat; absent: [models] speech.")
    voice: Name | VoiceId | None = Field(default=None, description='A voice of the model; "default" is always there.')
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: float = Field(default=1.0, ge=0.25, le=4.0)
    instructions: str | None = Field(default=None, max_length=4_096)
    stream_format: Literal["audio", "sse"] = "audio"


class AudioSpeech:
    """Translates the request, and the sound into the form that was asked for."""

    def __init__(self, commands: Commands, providers: Providers, default_vendor: str) -> None:
        self._commands = commands
        self._providers = providers
        self._default_vendor = default_vendor

    def routes(self) -> list[Route]:
        """The route of this file."""
        return [
            Route(
                method="POST",
                path="/v1/audio/speech",
                handler=self.create,
                body=SpeechBody,
                media=tuple(MEDIA_TYPES.values()),
                events=True,
                errors=answer_error,
                summary="A text as speech.",
                tag="openai",
                statuses={
                    404: "model_not_found, feature_disabled",
                    429: "rate_limit_exceeded",
                    502: "provider_error and its kin",
                    503: "model_unavailable",
                    504: "provider_timeout",
                },
            )
        ]

    async def create(self, request: HttpRequest[SpeechBody, Any]) -> Result:
        body = request.body
        model = speech_named(self._providers, body.model, self._default_vendor)
        voice = body.voice.id if isinstance(body.voice, VoiceId) else body.voice
        told: dict[str, Any] = {
            "model": model,
            "voice": voice,
            "text": body.input,
            "format": body.response_format,
            "speed": body.speed,
            "instructions": body.instructions,
        }
        fields = {name: value for name, value in told.items() if value is not None}
        try:
            reader = await self._commands.start(
                request.principal,
                "tts.start",
                fields,
                key=request.headers.get("idempotency-key"),
                on_disconnect="cancel",
            )
        except EngineError as error:
            raise respelt(error, lambda field: _SPELLINGS.get(field, field)) from None
        if body.stream_format == "sse":
            return EventStream(reader, SoundEvents(), hold=True)
        return EventStream(reader, SoundFile(), hold=True, content_type=MEDIA_TYPES[body.response_format])


class SoundFile:
    """The sound as the bytes of one file; implements `engine.api.Encoder`."""

    def encode(self, n: int, event: Event) -> bytes | None:
        return event.data if isinstance(event, Audio) else None

    def failed(self, error: EngineError) -> bytes:
        """Nothing: a file that is not whole is cut off."""
        return b""


class SoundEvents:
    """The sound as events (types: `openai.types.audio.speech_audio_…_event`)."""

    def encode(self, n: int, event: Event) -> bytes | None:
        if isinstance(event, Audio):
            audio = base64.b64encode(event.data).decode()
            return encode_sse(_encode({"type": "speech.audio.delta", "audio": audio}))
        if not isinstance(event, StreamEnded):
            return None
        if event.status != "completed":
            return encode_sse(_encode(error_answer(event.error, 500).body)) if event.error is not None else None
        usage = event.usage
        tokens = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens} if usage else {}
        told = {"type": "speech.audio.done", "usage": {**tokens, "total_tokens": sum(tokens.values())}}
        return encode_sse(_encode(told))

    def failed(self, error: EngineError) -> bytes:
        """An error in place of what is missing."""
        return encode_sse(_encode(error_answer(error.body(), error.status).body))
