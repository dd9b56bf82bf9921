"""Which of OpenAI's models hear live speech, and the session that each is asked for (`session.type` transcription)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.api import TranscriptionRequest
from plugins.vendors.openai_realtime import PCM, merged

UNDIVIDED = ("gpt-live-transcribe", "gpt-realtime-whisper")
"""Models that write while they hear, and leave it to us where a stretch ends."""

DIVIDED = ("gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-transcribe", "whisper-1")
"""Models whose stretches end where OpenAI hears silence; they write one after it has ended."""


def hears_live(model: str) -> bool:
    """Whether a model, or a snapshot of it, hears in sessions."""
    return _is(model, UNDIVIDED) or (_is(model, DIVIDED) and "diarize" not in model)


def session(request: TranscriptionRequest) -> dict[str, Any]:
    """The session that a request asks for."""
    transcription: dict[str, Any] = {"model": request.model}
    if request.language is not None:
        transcription["language"] = request.language.split("-")[0]
    if request.prompt is not None and not _is(request.model, ("gpt-realtime-whisper",)):
        transcription["prompt"] = request.prompt
    turns = None if _is(request.model, UNDIVIDED) else {"type": "server_vad"}
    heard = {"format": PCM, "transcription": transcription, "turn_detection": turns}
    return merged({"type": "transcription", "audio": {"input": heard}}, request.provider_options)


def _is(model: str, names: tuple[str, ...]) -> bool:
    return any(model == name or model.startswith(f"{name}-") for name in names)


def leaves_pauses(session: Mapping[str, Any]) -> bool:
    """Whether a session leaves it to us where a stretch ends."""
    heard: Any = session
    for name in ("audio", "input", "turn_detection"):
        # What the caller's options made of it is the vendor's to refuse.
        heard = heard.get(name, {}) if isinstance(heard, Mapping) else {}
    return heard is None
