"""The transcripts of OpenAI's addresses for files (types: `openai.types.audio.transcription…`)."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from engine.api import Segment, Word
from plugins.vendors.failures import Vendor


class _Piece(msgspec.Struct):
    text: Any = None
    word: Any = None
    start: Any = None
    end: Any = None


class _Told(msgspec.Struct):
    text: Any = None
    language: Any = None
    words: list[_Piece] | None = None
    segments: list[_Piece] | None = None


def read_transcript(body: bytes, language: str | None, vendor: Vendor) -> list[Segment]:
    """What was heard, with times where the model tells them; raises the vendor's failure.

    `language` is said where the vendor names none; of a translation, whose words have no times, it names what was spoken.
    """
    try:
        told = msgspec.json.decode(body, type=_Told)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise vendor.broke_protocol("its transcript is not of the known form") from None
    if not isinstance(told.text, str) and told.segments is None:
        if vendor.read_fault(body).message:
            raise vendor.failure(body)
        raise vendor.broke_protocol("its transcript has no text")
    words = [word for each in told.words or () if (word := _word(each)) is not None]
    spoken = language if language == "en" and not words else _said(told.language) or language
    segments = [each for each in told.segments or () if _said(each.text)]
    if not segments:
        text = (told.text or "").strip()
        return [Segment(text=text, language=spoken, words=tuple(words))] if text else []
    return [_segment(each, spoken, words, last=each is segments[-1]) for each in segments]


def _segment(each: _Piece, language: str | None, words: list[Word], *, last: bool) -> Segment:
    start, end = _seconds(each.start), _seconds(each.end)
    within: tuple[Word, ...] = ()
    if start is not None:
        until = math.inf if last or end is None else end
        within = tuple(word for word in words if start <= word.start < until)
    return Segment(text=each.text.strip(), start=start, end=end, language=language, words=within)


def _word(told: _Piece) -> Word | None:
    text, start, end = told.word, _seconds(told.start), _seconds(told.end)
    return (
        Word(text=text, start=start, end=end)
        if isinstance(text, str) and start is not None and end is not None
        else None
    )


def _seconds(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if number and 0 <= value <= 1e9 else None


def _said(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
