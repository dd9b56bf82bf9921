"""How Gemini is asked for a transcript, and what it answers (types: `google.genai.types.Transcription`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from engine.api import ProviderError, Segment, TranscriptionRequest, Word
from plugins.vendors.failures import Vendor
from plugins.vendors.google_live import seconds
from plugins.vendors.lenient import read_json

_WRITE = "Write down, word for word, what is said in the recording"
_ENGLISH = "Write down in English what is said in the recording, whatever language it is in"
_LINES = "one line for each sentence, and nothing else. Where nobody speaks, answer nothing."
_TIMED = (
    "one entry for each sentence, with times in seconds from the beginning of the recording. No speech is no entry."
)

_TIME = {"type": "number"}
_WORD = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "start": _TIME, "end": _TIME},
    "required": ["text", "start", "end"],
}


def transcribes(model: str) -> bool:
    """Whether a model is made for transcription, and is asked with fields; any other is asked in words."""
    return "transcribe" in model


def body(request: TranscriptionRequest, recording: Mapping[str, Any]) -> dict[str, Any]:
    """The request for a recording, which is a part of it."""
    parts, config = [dict(recording)], _config(request)
    if not transcribes(request.model):
        parts.append({"text": _asked(request)})
    fields: dict[str, Any] = {"contents": [{"role": "user", "parts": parts}]}
    if config:
        fields["generationConfig"] = config
    return with_options(fields, request.provider_options)


def hearing(request: TranscriptionRequest) -> dict[str, Any]:
    """What a model for transcription is told of the speech."""
    fields: dict[str, Any] = {}
    if request.language is not None:
        fields["languageCodes"] = [request.language]
    if request.prompt is not None:
        phrases = request.prompt.split("," if "," in request.prompt else None)
        fields["customVocabulary"] = [phrase.strip() for phrase in phrases if phrase.strip()]
    if request.words:
        fields["wordTimestamp"] = True
    if request.diarize:
        fields["diarization"] = True
    return fields


def with_options(fields: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's own fields; tables are joined with ours."""
    joined = dict(fields)
    for name, value in options.items():
        ours = joined.get(name)
        joined[name] = with_options(ours, value) if isinstance(ours, dict) and isinstance(value, Mapping) else value
    return joined


def _timed(request: TranscriptionRequest) -> bool:
    return request.words or request.diarize


def _config(request: TranscriptionRequest) -> dict[str, Any]:
    if transcribes(request.model):
        fields = hearing(request)
        return {"audioTranscriptionConfig": fields} if fields else {}
    if not _timed(request):
        return {}
    entry: dict[str, Any] = {"text": {"type": "string"}, "start": _TIME, "end": _TIME}
    if request.diarize:
        entry["speaker"] = {"type": "string"}
    if request.words:
        entry["words"] = {"type": "array", "items": _WORD}
    schema = {"type": "array", "items": {"type": "object", "properties": entry, "required": list(entry)}}
    return {"responseMimeType": "application/json", "responseJsonSchema": schema}


def _asked(request: TranscriptionRequest) -> str:
    asked = f"{_ENGLISH if request.translate else _WRITE}, {_TIMED if _timed(request) else _LINES}"
    if request.diarize:
        asked += " Name the speakers 0, 1, 2 and so on."
    if request.language is not None:
        asked += f" The language that is spoken has the BCP 47 tag {request.language}."
    if request.prompt is not None:
        asked += f" These words may occur: {request.prompt}"
    return asked


class Transcript:
    """Reads an answer as it comes."""

    def __init__(self, request: TranscriptionRequest, vendor: Vendor) -> None:
        self._vendor = vendor
        self._language = "en" if request.translate else request.language
        self._as_json = _timed(request) and not transcribes(request.model)
        self._text = ""
        self._whole = False

    def take(self, data: bytes) -> Iterator[Segment]:
        """What one event of the answer tells; raises what else it tells."""
        try:
            told = read_json(data) if data.strip() else {}
            if told.get("error"):
                raise self._vendor.failure(data)
            if (blocked := (told.get("promptFeedback") or {}).get("blockReason")) is not None:
                raise ProviderError(f"{self._vendor.title} does not listen to this: {blocked}.")
            for candidate in told.get("candidates") or ():
                yield from self._parts((candidate.get("content") or {}).get("parts") or ())
                self._end(candidate.get("finishReason"))
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError, AttributeError, KeyError):
            raise self._unknown() from None

    def rest(self) -> Iterator[Segment]:
        """What is left when the answer is over; raises where it is not whole."""
        if not self._whole:
            raise self._vendor.cut_off()
        text, self._text = self._text.strip(), ""
        if text and self._as_json:
            yield from self._entries(text)
        elif text:
            yield Segment(text=text, language=self._language)

    def _end(self, reason: str | None) -> None:
        if not reason:
            return
        if reason.upper() != "STOP":
            raise ProviderError(f"{self._vendor.title} stopped writing: {reason}.")
        self._whole = True

    def _parts(self, parts: Iterable[Mapping[str, Any]]) -> Iterator[Segment]:
        for part in parts:
            if (heard := part.get("audioTranscription")) is not None:
                yield from self._heard(heard)
            elif not part.get("thought"):
                self._text += part.get("text") or ""
        if not self._as_json:
            *lines, self._text = self._text.split("\n")
            yield from (Segment(text=line.strip(), language=self._language) for line in lines if line.strip())

    def _heard(self, heard: Mapping[str, Any]) -> Iterator[Segment]:
        speaker = heard.get("speakerLabel")
        words = tuple(
            Word(
                text=word["word"],
                start=seconds(word.get("startOffset")),
                end=seconds(word.get("endOffset")),
                speaker=speaker,
            )
            for word in heard.get("words") or ()
        )
        text = (heard.get("text") or " ".join(word.text for word in words)).strip()
        start, end = heard.get("startOffset"), heard.get("endOffset")
        if text:
            yield Segment(
                text=text,
                start=seconds(start) if start else words[0].start if words else None,
                end=seconds(end) if end else words[-1].end if words else None,
                speaker=speaker,
                language=heard.get("languageCode") or self._language,
                words=words,
            )

    def _entries(self, text: str) -> Iterator[Segment]:
        try:
            entries = msgspec.json.decode(text, type=list[_Entry])
        except msgspec.DecodeError:
            raise self._unknown() from None
        for entry in entries:
            if entry.text.strip():
                words = tuple(
                    Word(text=word.text, start=word.start, end=word.end, speaker=entry.speaker) for word in entry.words
                )
                yield Segment(
                    text=entry.text.strip(),
                    start=entry.start,
                    end=entry.end,
                    speaker=entry.speaker,
                    language=self._language,
                    words=words,
                )

    def _unknown(self) -> ProviderError:
        return self._vendor.broke_protocol("its transcript is not of the known form")


class _Timed(msgspec.Struct):
    text: str
    start: float
    end: float


class _Entry(msgspec.Struct):
    text: str
    start: float
    end: float
    speaker: str | None = None
    words: list[_Timed] = []
