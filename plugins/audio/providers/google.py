"""Gemini's transcribers: recordings by generateContent, live speech by Gemini Live or a stretch at a time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import IO, Any, ClassVar
from urllib.parse import quote

import aiohttp
from msgspec import structs
from yarl import URL

from engine.api import (
    EngineError,
    InvalidRequest,
    ProviderRole,
    ProviderTimeout,
    Segment,
    Shared,
    TranscriptionRequest,
    UnsupportedParameter,
    Word,
)
from engine.wire.sse import SseDecoder, UnfinishedEvent
from engine.wire.wav import wav_header
from plugins.audio.pauses import Pauses
from plugins.audio.providers.google_files import MEDIA_TYPE, GoogleFiles
from plugins.audio.providers.google_live import SILENCE, GoogleSessions
from plugins.audio.providers.google_setup import hears_live
from plugins.audio.providers.google_transcript import Transcript, body, transcribes
from plugins.audio.recording import Recorder
from plugins.audio.tape import PAUSE, Lost, reconnecting
from plugins.vendors.decoding import encode_body
from plugins.vendors.google_faults import GoogleVendor, read_google_fault
from plugins.vendors.settings import GoogleSettings
from plugins.vendors.transport import post_bytes

LONGEST_INLINE = 14 << 20
"""Bytes of a recording that go into a request, which may have 20 MB as base64; longer ones are uploaded."""


class GoogleTranscriber:
    """Gemini's models for transcription with their own fields; any other that hears is asked in words."""

    role: ClassVar[ProviderRole] = "transcription"
    name = "google"
    default_model = "gemini-3.5-transcribe"

    def __init__(
        self,
        settings: GoogleSettings,
        http: Shared[aiohttp.ClientSession],
        recorder: Recorder,
        *,
        longest_inline: int = LONGEST_INLINE,
        silence: float = SILENCE,
        pause: float = PAUSE,
    ) -> None:
        self._settings = settings
        self._http = http
        self._recorder = recorder
        self._longest_inline = longest_inline
        self._silence = silence
        self._pause = pause
        key = {"x-goog-api-key": settings.key} if settings.key else {}
        self._headers = {**key, "Content-Type": "application/json"}
        self._vendor = GoogleVendor(
            settings.title, read_google_fault, credential=settings.credential, secret=settings.key
        )
        self._files = GoogleFiles(settings.base_url, key, http, self._vendor, pause=pause)
        self._sessions = GoogleSessions(settings, http, self._vendor, silence=silence, pause=pause)

    @property
    def own_address(self) -> bool:
        """Whether Google itself answers; elsewhere the catalogue says nothing about the models."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._settings.unavailable

    def check(self, request: TranscriptionRequest) -> None:
        """Raise `UnsupportedParameter` for what the model cannot tell."""
        model = request.model
        if request.translate and (transcribes(model) or hears_live(model)):
            raise UnsupportedParameter(
                f"{model} does not translate; gemini-3.8-flash-transcription does", field="translate"
            )
        for field in ("words", "diarize"):
            if getattr(request, field) and hears_live(model):
                raise UnsupportedParameter(
                    f"{model} tells neither times of words nor who speaks; gemini-3.5-transcribe does", field=field
                )
        if request.prompt and transcribes(model) and (request.words or request.diarize):
            raise UnsupportedParameter(
                f"{model} takes no words to expect where it tells times of words or who speaks; leave one out",
                field="prompt",
            )

    async def live(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        """Listen while it is spoken; a model without sessions hears one stretch after the other, each at its end."""
        heard = self._sessions.listen(request, audio) if hears_live(request.model) else self._stretches(request, audio)
        async with aclosing(heard) as segments:  # type: ignore[type-var]
            async for segment in segments:
                yield segment

    async def file(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        """Listen to a recording; its sentences are told while Gemini writes."""
        if hears_live(request.model):
            raise InvalidRequest(
                f"{request.model} hears live speech alone; gemini-3.5-transcribe hears recordings", field="model"
            )
        async with self._recorder.record(request.rate, audio) as (file, size):
            if not size:
                return
            async with self._part(file, size) as part, aclosing(self._ask(request, part)) as segments:  # type: ignore[type-var]
                async for segment in segments:
                    yield segment

    @asynccontextmanager
    async def _part(self, file: IO[bytes], size: int) -> AsyncIterator[Mapping[str, Any]]:
        """A recording as a part of a request."""
        if size <= self._longest_inline:
            yield await asyncio.to_thread(lambda: _inline(file.read()))
            return
        async with self._files.holding(file, size) as uri:
            yield {"fileData": {"mimeType": MEDIA_TYPE, "fileUri": uri}}

    async def _ask(self, request: TranscriptionRequest, part: Mapping[str, Any]) -> AsyncIterator[Segment]:
        path = f"v1beta/models/{quote(request.model, safe='', errors='replace')}:streamGenerateContent"
        url = URL(f"{self._settings.base_url}/{path}?alt=sse", encoded=True)
        sent = await asyncio.to_thread(lambda: encode_body(body(request, part)))
        decoder, transcript = SseDecoder(), Transcript(request, self._vendor)
        pieces = post_bytes(self._http, url, self._headers, sent, self._vendor, due="an event stream")
        async with aclosing(pieces) as source:  # type: ignore[type-var]
            async for piece in source:
                try:
                    events = decoder.feed(piece)
                except UnfinishedEvent:
                    raise self._vendor.broke_protocol("an event does not end") from None
                for event in events:
                    for segment in transcript.take(event.data):
                        yield segment
        for segment in transcript.rest():
            yield segment

    async def _stretches(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        pauses, pcm, begin = Pauses(request.rate), b"", 0.0
        async for piece in audio:
            pcm += piece
            if not pauses.feed(piece):
                continue
            if pauses.heard:
                for segment in await self._stretch(request, pcm, begin):
                    yield segment
            begin += len(pcm) / 2 / request.rate
            pcm = b""
        if pauses.spoke:
            for segment in await self._stretch(request, pcm, begin):
                yield segment

    async def _stretch(self, request: TranscriptionRequest, pcm: bytes, begin: float) -> list[Segment]:
        """What is heard in one stretch, which is asked for again where that may help; it is told whole, or not at all."""

        recording = _inline(wav_header(request.rate, len(pcm) // 2) + pcm)

        async def heard() -> AsyncIterator[Segment]:
            try:
                async with asyncio.timeout(self._silence), aclosing(self._ask(request, recording)) as segments:  # type: ignore[type-var]
                    told = [segment async for segment in segments]
            except TimeoutError:
                raise Lost(ProviderTimeout(f"{self._vendor.title} told nothing for {self._silence:g} s.")) from None
            except EngineError as error:
                raise Lost(error) if error.retryable else error from None
            for segment in told:
                yield segment

        end = begin + len(pcm) / 2 / request.rate
        return [_moved(segment, begin, end) async for segment in reconnecting(heard, self._pause)]


def _inline(wav: bytes) -> Mapping[str, Any]:
    return {"inlineData": {"mimeType": MEDIA_TYPE, "data": base64.b64encode(wav).decode("ascii")}}


def _moved(segment: Segment, begin: float, end: float) -> Segment:
    """A segment of a stretch as one of the whole; without times of its own it has those of the stretch."""
    return structs.replace(
        segment,
        start=round(begin + (segment.start or 0.0), 3),
        end=round(end if segment.end is None else begin + segment.end, 3),
        words=tuple(_moved_word(word, begin) for word in segment.words),
    )


def _moved_word(word: Word, begin: float) -> Word:
    return structs.replace(word, start=round(begin + word.start, 3), end=round(begin + word.end, 3))
