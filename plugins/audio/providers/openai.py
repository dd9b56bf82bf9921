"""OpenAI's transcribers: recordings through the official SDK, live speech over its Realtime API."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import IO, Any, ClassVar

import aiohttp

from engine.api import (
    InvalidRequest,
    PluginContext,
    ProviderRole,
    Segment,
    Shared,
    TranscriptionRequest,
    UnsupportedParameter,
    Word,
)
from plugins.audio.providers.openai_live import NoSessions, Sessions
from plugins.audio.providers.openai_setup import UNDIVIDED, hears_live
from plugins.audio.recording import record
from plugins.vendors.openai_sdk import OpenAISdk
from plugins.vendors.settings import OpenAISettings

_TIMED = ("whisper-1",)
"""Models that tell times; the others tell the text alone."""


class OpenAITranscriber:
    """Recordings with gpt-transcribe, gpt-4o-transcribe and whisper-1, and live speech with those and gpt-live-transcribe."""

    role: ClassVar[ProviderRole] = "transcription"
    name = "openai"
    default_model = "gpt-4o-mini-transcribe"

    def __init__(self, settings: OpenAISettings, context: PluginContext, http: Shared[aiohttp.ClientSession]) -> None:
        self._settings = settings
        self._sdk = OpenAISdk(settings, context)
        self._sessions = Sessions(settings, http)

    @property
    def own_address(self) -> bool:
        """Whether OpenAI itself answers; elsewhere the catalogue says nothing about the models."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._sdk.unavailable

    def check(self, request: TranscriptionRequest) -> None:
        """Raise `UnsupportedParameter` for what the model cannot tell."""
        if request.words and request.model not in _TIMED and self.own_address:
            raise UnsupportedParameter(f"{request.model} tells no times of words; whisper-1 does", field="words")
        if request.translate and request.model not in _TIMED and self.own_address:
            raise UnsupportedParameter(f"{request.model} does not translate; whisper-1 does", field="translate")
        if request.diarize:
            raise UnsupportedParameter(
                "OpenAI's transcribers do not tell here who speaks; leave it out", field="diarize"
            )

    async def live(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        """Listen while it is spoken. What sessions do not tell (times of words, translations) is told of the whole, at its end;
        so is what a server without sessions hears.
        """
        if hears_live(request.model) and not (request.words or request.translate):
            try:
                async with aclosing(self._sessions.listen(request, audio)) as segments:  # type: ignore[type-var]
                    async for segment in segments:
                        yield segment
                return
            except NoSessions:
                pass
        async for segment in self.file(request, audio):
            yield segment

    async def file(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        """Listen to a recording."""
        if request.model in UNDIVIDED:
            raise InvalidRequest(
                f"{request.model} hears live speech alone; gpt-transcribe hears recordings", field="model"
            )
        # Closed below, when the SDK has read it.
        with tempfile.SpooledTemporaryFile(1 << 20) as file:
            if not await record(file, request.rate, audio):
                return
            with self._sdk.failures():
                for segment in await self._ask(request, file):
                    yield segment

    async def _ask(self, request: TranscriptionRequest, file: IO[bytes]) -> list[Segment]:
        client = await self._sdk.client()
        fields: dict[str, Any] = {"model": request.model, "file": ("audio.wav", file, "audio/wav")}
        if request.prompt is not None:
            fields["prompt"] = request.prompt
        if request.provider_options:
            fields["extra_body"] = dict(request.provider_options)
        if request.translate:
            with warnings.catch_warnings():
                # The SDK calls the address deprecated; it is the only one that translates.
                warnings.simplefilter("ignore", DeprecationWarning)
                asked = client.audio.translations.create(response_format="verbose_json", **fields)
            return _segments(await asked, "en", ())
        if request.language is not None:
            fields["language"] = request.language.split("-")[0]
        if request.model in _TIMED:
            fields |= {"response_format": "verbose_json", "timestamp_granularities": ["word", "segment"]}
        else:
            fields["response_format"] = "json"
        made = await client.audio.transcriptions.create(**fields)
        return _segments(made, request.language, getattr(made, "words", None) or ())


def _segments(made: Any, language: str | None, timed: Sequence[Any]) -> list[Segment]:
    """A transcription, whole or with its times (types: `openai.types.audio.transcription…`); a translation has no words."""
    words = [Word(text=word.word, start=word.start, end=word.end) for word in timed]
    # Of a translation OpenAI tells the language that was spoken.
    told = language if not timed and language == "en" else getattr(made, "language", None) or language
    segments = getattr(made, "segments", None)
    if not segments:
        return [Segment(text=made.text.strip(), language=told, words=tuple(words))] if made.text.strip() else []
    return [
        Segment(
            text=segment.text.strip(),
            start=segment.start,
            end=segment.end,
            language=told,
            words=tuple(word for word in words if segment.start <= word.start < segment.end),
        )
        for segment in segments
    ]
