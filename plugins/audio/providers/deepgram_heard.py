"""What Deepgram heard, read from its answers: words and times as they are, and nothing in place of what is no number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.api import Segment, Word
from plugins.vendors.lenient import number


def of_file(results: Mapping[str, Any]) -> list[Segment]:
    """The segments of a recording. Raises `KeyError`, `TypeError` or `IndexError` where there is no transcript."""
    utterances = results.get("utterances")
    found = [
        stretch(each, each["transcript"], number(each.get("start")), number(each.get("end")), 0.0, final=True)
        for each in (utterances if isinstance(utterances, list) else ())
        if each["transcript"]
    ]
    if found:
        return found
    alternative = results["channels"][0]["alternatives"][0]
    text = alternative["transcript"]
    if not text:
        return []
    words = _words(alternative.get("words"), 0.0)
    start, end = (words[0].start, words[-1].end) if words else (0.0, 0.0)
    return [stretch(alternative, text, start, end, 0.0, final=True)]


def stretch(
    told: Mapping[str, Any], text: Any, start: float | None, end: float | None, begin: float, *, final: bool
) -> Segment:
    """A stretch of speech with its words, whose times count from `begin`."""
    if not isinstance(text, str):
        raise TypeError("a transcript is text")
    words = _words(told.get("words"), begin)
    return Segment(
        text=text,
        final=final,
        start=None if start is None else round(start, 3),
        end=None if end is None else round(end, 3),
        confidence=number(told.get("confidence")),
        speaker=_speaker(told) or (words[0].speaker if words else None),
        words=words,
    )


def _words(told: Any, begin: float) -> tuple[Word, ...]:
    listed: Iterable[Any] = told if isinstance(told, list) else ()
    return tuple(word for each in listed if isinstance(each, dict) and (word := _word(each, begin)) is not None)


def _word(told: Mapping[str, Any], begin: float) -> Word | None:
    text = told.get("punctuated_word") or told.get("word")
    start, end = number(told.get("start")), number(told.get("end"))
    if not isinstance(text, str) or start is None or end is None:
        return None
    return Word(
        text=text,
        start=round(begin + start, 3),
        end=round(begin + end, 3),
        confidence=number(told.get("confidence")),
        speaker=_speaker(told),
    )


def _speaker(told: Mapping[str, Any]) -> str | None:
    speaker = told.get("speaker")
    return str(speaker) if isinstance(speaker, int | str) and not isinstance(speaker, bool) else None
