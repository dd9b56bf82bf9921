"""`POST /v1/audio/speech`: the same speech as `tts.start` (types: `openai.types.audio.speech_create_params`)."""

from __future__ import annotations

import base64
from typing import Any, Literal

import msgspec
from pydantic import Field, model_validator

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
    SpeechModel,
    StreamEnded,
)
from engine.wire.bounds import Name
from engine.wire.sse import encode_sse
from plugins.openai_api.errors import error_answer, respelt
from plugins.openai_api.hints import Hints, Open, Rules
from plugins.openai_api.naming import speech_named
from plugins.openai_api.responses_errors import answer_error
from plugins.vendors.openai_voices import VOICES

MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
SSE = "text/event-stream"

RULES = Rules(demands={})

_SPELLINGS = {"text": "input", "format": "response_format"}
_encode = msgspec.json.Encoder().encode


class VoiceId(Body):
    """A voice by its id."""

    id: str = Field(min_length=1, max_length=200)


class SpeechBody(Open):
    """A text to be spoken. Of fields that are not listed here `Hints` says what becomes of them."""

    input: str = Field(min_length=1, description="The text.")
    model: str | None = Field(default=None, max_length=200, description="As for chat; absent: [models] speech.")
    voice: Name | VoiceId | None = Field(default=None, description='A voice of the model; "default" is always there.')
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: float = Field(default=1.0, ge=0.25, le=4.0)
    instructions: str | None = Field(default=None, max_length=4_096)
    stream_format: Literal["audio", "sse"] = "audio"

    @model_validator(mode="before")
    @classmethod
    def _blanks(cls, given: Any) -> Any:
        """A field that is null or an empty text is absent; a text to speak is not."""
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None and (value != "" or name == "input")}


class AudioSpeech:
    """Translates the request, and the sound into the form that was asked for."""

    def __init__(self, commands: Commands, providers: Providers, default_vendor: str, *, strict: bool = False) -> None:
        self._strict = strict
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
        hints = Hints(strict=self._strict)
        hints.judge(body, RULES)
        voice, replaced = body.voice.id if isinstance(body.voice, VoiceId) else body.voice, None
        if await stands_in(self._providers.speech(model), voice):
            hints.drop("voice")
            voice, replaced = None, voice
        headers = hints.headers()
        told: dict[str, Any] = {
            "model": model,
            "voice": voice,
            "voice_instead_of": replaced,
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
            return EventStream(reader, SoundEvents(), hold=True, headers=headers)
        media = MEDIA_TYPES[body.response_format]
        return EventStream(reader, SoundFile(), hold=True, content_type=media, headers=headers)


async def stands_in(model: SpeechModel, voice: str | None) -> bool:
    """Whether a voice is one that OpenAI's clients name by habit, and the model, of another vendor, does not have it."""
    provider: Any = model.target.provider
    if voice not in VOICES or provider.name == "openai":
        return False
    try:
        return voice not in {each.id for each in await provider.voices()}
    except EngineError:
        # Whether there is such a voice is then for the vendor to say.
        return False


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
