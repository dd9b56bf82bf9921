"""OpenAI's transcribers: recordings as files, live speech over its Realtime API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import IO, Any, ClassVar

import aiohttp

from engine.api import (
    InvalidRequest,
    ProviderRole,
    Segment,
    Shared,
    TranscriptionRequest,
    UnsupportedParameter,
)
from plugins.audio.providers.openai_form import RecordingForm
from plugins.audio.providers.openai_live import NoSessions, Sessions
from plugins.audio.providers.openai_setup import UNDIVIDED, hears_live
from plugins.audio.providers.openai_transcript import read_transcript
from plugins.audio.recording import Recorder
from plugins.vendors.failures import Vendor
from plugins.vendors.large import apart, post_document
from plugins.vendors.openai_compatible import bearer
from plugins.vendors.settings import OpenAISettings, account_headers

_LONGEST_FILE = 25_000_000
"""Bytes that OpenAI itself takes as a file; other servers at its address may take more."""

_LONGEST_TRANSCRIPT = 64 << 20

_TIMED = ("whisper-1",)
"""Models that tell times; the others tell the text alone."""


class OpenAITranscriber:
    """Recordings with gpt-transcribe, gpt-4o-transcribe and whisper-1, and live speech with those and gpt-live-transcribe."""

    role: ClassVar[ProviderRole] = "transcription"
    name = "openai"
    default_model = "gpt-4o-mini-transcribe"

    def __init__(self, settings: OpenAISettings, http: Shared[aiohttp.ClientSession], recorder: Recorder) -> None:
        self._settings = settings
        self._http = http
        self._recorder = recorder
        self._vendor = Vendor(settings.title, credential=settings.credential, secret=settings.key)
        self._headers = {"Accept": "application/json", **account_headers(settings), **bearer(settings.key)}
        self._sessions = Sessions(settings, http)

    @property
    def own_address(self) -> bool:
        """Whether OpenAI itself answers; elsewhere the catalogue says nothing about the models."""
        return self._settings.own_address

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        return self._settings.unavailable

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
        longest = _LONGEST_FILE if self.own_address else None
        async with self._recorder.record(request.rate, audio, longest=longest) as (file, size):
            for segment in await self._ask(request, file, size) if size else ():
                yield segment

    async def _ask(self, request: TranscriptionRequest, file: IO[bytes], size: int) -> list[Segment]:
        what = "translations" if request.translate else "transcriptions"
        form = RecordingForm(_fields(request), file, size)
        url, headers = f"{self._settings.base_url}/audio/{what}", {**self._headers, **form.headers}
        told = await post_document(self._http, url, headers, form, self._vendor, longest=_LONGEST_TRANSCRIPT)
        language = "en" if request.translate else request.language
        return await apart(len(told), lambda: read_transcript(told, language, self._vendor))


def _fields(request: TranscriptionRequest) -> dict[str, Any]:
    fields: dict[str, Any] = {"model": request.model}
    if request.prompt is not None:
        fields["prompt"] = request.prompt
    if request.translate:
        fields["response_format"] = "verbose_json"
        return {**fields, **request.provider_options}
    if request.language is not None:
        fields["language"] = request.language.split("-")[0]
    if request.model in _TIMED:
        fields |= {"response_format": "verbose_json", "timestamp_granularities": ["word", "segment"]}
    else:
        fields["response_format"] = "json"
    return {**fields, **request.provider_options}
