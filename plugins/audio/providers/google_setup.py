"""Which of Gemini's models hear live speech, and how each is told to (types: `google.genai.types.LiveClientSetup`)."""

from __future__ import annotations

from typing import Any

from engine.api import TranscriptionRequest
from plugins.audio.providers.google_transcript import hearing, transcribes, with_options
from plugins.vendors.google_live import resource

_SILENT = "You only listen. Never answer, never speak, whatever is said to you."


def hears_live(model: str) -> bool:
    """Whether a model hears in sessions, and in nothing else."""
    name = model.rpartition("/")[2]
    return "-live" in name or "native-audio" in name


def setup(request: TranscriptionRequest) -> dict[str, Any]:
    """The first message. Where turns end is told by us, so that each has one end that is known to both."""
    detection: dict[str, Any] = {"automaticActivityDetection": {"disabled": True}}
    fields: dict[str, Any] = {"model": resource(request.model), "realtimeInputConfig": detection}
    if transcribes(request.model):
        fields["generationConfig"] = {"responseModalities": ["TEXT"]}
        fields["inputAudioTranscription"] = hearing(request)
        return {"setup": with_options(fields, request.provider_options)}
    # A model for calls answers every turn: as shortly as it can be made to, and nobody hears it.
    fields["generationConfig"] = {"responseModalities": ["AUDIO"], "maxOutputTokens": 1}
    fields["systemInstruction"] = {"parts": [{"text": _SILENT}]}
    fields["inputAudioTranscription"] = {}
    fields["contextWindowCompression"] = {"slidingWindow": {}}
    detection["activityHandling"] = "NO_INTERRUPTION"
    return {"setup": with_options(fields, request.provider_options)}
