"""`POST /v1/audio/transcriptions` and `/translations`: the same listening as `audio.transcribe`.

Types: `openai.types.audio.transcription_create_params`, `.transcription_verbose`, `.transcription_text_delta_event`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from pydantic import ConfigDict, Field, model_validator

from engine.api import (
    Answer,
    Commands,
    EngineError,
    Event,
    EventStream,
    HttpRequest,
    Providers,
    Result,
    Route,
    Said,
    StreamEnded,
    TranscriptFinal,
    UnsupportedParameter,
    WholeAnswer,
)
from engine.wire.bounds import Name
from engine.wire.sse import encode_sse
from plugins.openai_api.errors import error_answer
from plugins.openai_api.hints import Hints, Open, Rules, without_blanks
from plugins.openai_api.naming import transcription_named
from plugins.openai_api.responses_errors import answer_error

Granularity = Literal["word", "segment"]

RULES = Rules(demands={}, neutral={"temperature": (0,)})

_encode = msgspec.json.Encoder().encode


class TranslationForm(Open):
    """The fields beside the recording. Of those that are not listed here `Hints` says what becomes of them."""

    model_config = ConfigDict(strict=False)

    _blanks = model_validator(mode="before")(without_blanks)

    model: str | None = Field(default=None, max_length=200, description="As for chat; absent: [models] transcription.")
    prompt: str | None = Field(default=None, max_length=4_000)
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False, description="Taken, and not used.")


class TranscriptionForm(TranslationForm):
    """The fields beside the recording."""

    language: str | None = Field(default=None, max_length=35, description='Of the speech; absent or "auto": found out.')
    stream: bool = False
    timestamp_granularities: list[Granularity] = Field(default=[], alias="timestamp_granularities[]", max_length=2)
    include: list[Name] = Field(default=[], alias="include[]", max_length=8)

    @model_validator(mode="before")
    @classmethod
    def _spelt(cls, given: Any) -> Any:
        """Some clients write the names of lists without their brackets."""
        if isinstance(given, dict):
            for name in ("timestamp_granularities", "include"):
                if isinstance(value := given.pop(name, None), str):
                    given.setdefault(f"{name}[]", [value])
        return given


class TranscriptionText(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What was heard. Words and segments stand in `verbose_json` only."""

    text: str
    task: str | None = None
    language: str | None = None
    duration: float | None = None
    segments: list[dict[str, Any]] | None = None
    words: list[dict[str, Any]] | None = None
    usage: dict[str, Any] | None = None


class AudioTranscriptions:
    """Translates the form, and what was heard into the form that was asked for."""

    def __init__(self, commands: Commands, providers: Providers, default_vendor: str, *, strict: bool = False) -> None:
        self._commands = commands
        self._strict = strict
        self._providers = providers
        self._default_vendor = default_vendor

    def routes(self) -> list[Route]:
        """The routes of this file."""
        return [
            self._route("transcriptions", TranscriptionForm, self.transcribe, "A recording as text."),
            self._route("translations", TranslationForm, self.translate, "A recording as text in English."),
        ]

    def _route(self, name: str, form: type[TranslationForm], handler: Any, summary: str) -> Route:
        return Route(
            method="POST",
            path=f"/v1/audio/{name}",
            handler=handler,
            body=form,
            upload="file",
            returns=TranscriptionText,
            events=form is TranscriptionForm,
            media=("text/plain", "text/vtt"),
            errors=answer_error,
            summary=summary,
            tag="openai",
            statuses={
                404: "model_not_found, feature_disabled",
                429: "rate_limit_exceeded",
                502: "provider_error and its kin",
                503: "model_unavailable",
                504: "provider_timeout",
            },
        )

    async def transcribe(self, request: HttpRequest[TranscriptionForm, Any]) -> Result:
        form = request.body
        hints = Hints(strict=self._strict)
        for _ in form.include:
            hints.drop("include")
        words = "word" in form.timestamp_granularities
        if words and form.response_format != "verbose_json":
            raise UnsupportedParameter(
                "timestamp_granularities go with response_format verbose_json only", field="timestamp_granularities"
            )
        language = None if form.language == "auto" else form.language
        return await self._listen(request, {"language": language, "words": words}, hints, stream=form.stream)

    async def translate(self, request: HttpRequest[TranslationForm, Any]) -> Result:
        return await self._listen(request, {"translate": True}, Hints(strict=self._strict), stream=False)

    async def _listen(
        self, request: HttpRequest[Any, Any], further: dict[str, Any], hints: Hints, *, stream: bool
    ) -> Result:
        form: TranslationForm = request.body
        hints.judge(form, RULES)
        headers = hints.headers()
        model = transcription_named(self._providers, form.model, self._default_vendor)
        told = {"model": model, "prompt": form.prompt, **further, "file": request.upload}
        reader = await self._commands.start(
            request.principal,
            "audio.transcribe",
            {name: value for name, value in told.items() if value is not None},
            key=request.headers.get("idempotency-key"),
            on_disconnect="cancel",
        )
        if stream:
            return EventStream(reader, TranscriptEvents(), hold=True, headers=headers)
        finals = [event async for _, event in reader if isinstance(event, TranscriptFinal)]
        task = "translate" if further.get("translate") else "transcribe"

        def build(said: Said, ended: StreamEnded) -> Answer:
            told = _answer(form.response_format, task, said.text, finals, ended, words=bool(further.get("words")))
            return dataclasses.replace(told, headers=headers)

        return WholeAnswer(reader, build)


class TranscriptEvents:
    """What is heard as events of the dialect; implements `engine.api.Encoder`."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def encode(self, n: int, event: Event) -> bytes | None:
        if isinstance(event, TranscriptFinal):
            delta = f" {event.text}" if self._texts else event.text
            self._texts.append(delta)
            return encode_sse(_encode({"type": "transcript.text.delta", "delta": delta}))
        if not isinstance(event, StreamEnded):
            return None
        if event.status != "completed":
            return encode_sse(_encode(error_answer(event.error).body)) if event.error is not None else None
        done = {"type": "transcript.text.done", "text": "".join(self._texts), "usage": _usage(event)}
        return encode_sse(_encode(done))

    def failed(self, error: EngineError) -> bytes:
        """An error in place of what is missing."""
        return encode_sse(_encode(error_answer(error.body(), error.status).body))


def _answer(
    format: str, task: str, text: str, finals: Sequence[TranscriptFinal], ended: StreamEnded, *, words: bool
) -> Answer:
    match format:
        case "text":
            return Answer(f"{text}\n".encode(), content_type="text/plain")
        case "srt":
            return Answer(_subtitles(finals, ",", numbered=True).encode(), content_type="text/plain")
        case "vtt":
            return Answer(f"WEBVTT\n\n{_subtitles(finals, '.')}".encode(), content_type="text/vtt")
        case "verbose_json":
            return Answer(_verbose(task, text, finals, ended, words=words))
    return Answer(TranscriptionText(text=text, usage=_usage(ended)))


def _verbose(
    task: str, text: str, finals: Sequence[TranscriptFinal], ended: StreamEnded, *, words: bool
) -> TranscriptionText:
    seconds = _seconds(ended)
    return TranscriptionText(
        task=task,
        language=next((final.language for final in finals if final.language), "unknown"),
        duration=seconds,
        text=text,
        segments=[
            {
                "id": at,
                "seek": 0,
                "start": final.start or 0.0,
                "end": final.end if final.end is not None else seconds,
                "text": final.text,
                "tokens": [],
                "temperature": 0.0,
                "avg_logprob": 0.0,
                "compression_ratio": 1.0,
                "no_speech_prob": 0.0,
            }
            for at, final in enumerate(finals)
        ],
        words=[
            {"word": word.text, "start": word.start, "end": word.end} for final in finals for word in final.words or ()
        ]
        if words
        else None,
        usage=_usage(ended),
    )


def _subtitles(finals: Sequence[TranscriptFinal], point: str, *, numbered: bool = False) -> str:
    blocks = []
    for number, final in enumerate(finals, 1):
        begin = final.start or 0.0
        times = f"{_clock(begin, point)} --> {_clock(final.end if final.end is not None else begin, point)}"
        blocks.append("\n".join(([str(number)] if numbered else []) + [times, final.text]) + "\n")
    return "\n".join(blocks)


def _clock(seconds: float, point: str) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{thousandths:03}"


def _seconds(ended: StreamEnded) -> float:
    seconds = ended.usage.seconds if ended.usage is not None else 0.0
    return seconds if isinstance(seconds, int | float) else 0.0


def _usage(ended: StreamEnded) -> dict[str, Any]:
    return {"type": "duration", "seconds": _seconds(ended)}
