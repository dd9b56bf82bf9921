"""What a transcriber is asked and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class TranscriptionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How to listen. Audio is mono, 16 bits, little-endian, `rate` samples a second.

    `translate` asks for English. `prompt` holds words to expect. `diarize` asks who speaks, `words` for their times.
    """

    model: str
    rate: int = 16_000
    language: str | None = None
    prompt: str | None = None
    translate: bool = False
    diarize: bool = False
    words: bool = False
    provider_options: Mapping[str, Any] = {}


class Word(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One word; times in seconds from the beginning of the audio."""

    text: str
    start: float
    end: float
    confidence: float | None = None
    speaker: str | None = None


class Segment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stretch of speech. One that is not `final` may still change and is followed by another for the same stretch."""

    text: str
    final: bool = True
    start: float | None = None
    end: float | None = None
    confidence: float | None = None
    speaker: str | None = None
    language: str | None = None
    words: Sequence[Word] = ()
