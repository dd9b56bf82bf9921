"""The operator's `[plugins.tts]` table."""

from __future__ import annotations

from pydantic import Field

from engine.api import SettingsTable


class TtsSettings(SettingsTable):
    """What is spoken, and how far ahead of its listener."""

    longest_text: int = Field(default=100_000, ge=1, description="Characters that one speech may have.")
    ahead: float = Field(
        default=10.0, ge=0.5, le=25, description="Seconds of sound that are made before the slowest reader takes them."
    )
    local_voice: str = Field(
        default="kal16", min_length=1, description='Voice of this machine that "default" stands for, where it is there.'
    )
    canned: bool = Field(
        default=False,
        description="Offer the speech model `canned`: a tone for each word in place of a voice, to test clients with.",
    )
