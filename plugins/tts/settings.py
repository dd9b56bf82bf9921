"""The operator's `[plugins.tts]` table."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from engine.api import SettingsTable

BEST = "default"
"""As `local_voice`: the best voice that is there."""


class TtsSettings(SettingsTable):
    """What is spoken, and how far ahead of its listener."""

    longest_text: int = Field(default=100_000, ge=1, description="Characters that one speech may have.")
    ahead: float = Field(
        default=10.0, ge=0.5, le=25, description="Seconds of sound that are made before the slowest reader takes them."
    )
    local_voice: str = Field(
        default=BEST,
        min_length=1,
        description='Voice of this machine that "default" stands for, where it is there; "default": the best one.',
    )
    local_model_path: Path | None = Field(
        default=None,
        description="A voice for the model `local`: a folder of Kokoro (.onnx and voices), a .onnx of Piper beside its "
        ".onnx.json, or a .onnx of Hibari.",
    )
    local_model_kind: Literal["hibari", "kokoro", "piper"] | None = Field(
        default=None, description="What local_model_path holds; without it, as the names of its files say."
    )
    local_threads: int = Field(
        default=1, ge=1, le=64, description="Processor threads that a voice of this machine computes with."
    )
    canned: bool = Field(
        default=False,
        description="Offer the speech model `canned`: a tone for each word in place of a voice, to test clients with.",
    )
