"""The operator's `[plugins.audio]` table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from engine.api import SettingsTable


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return text


class Rewrite(BaseModel):
    """One rule: what matches is replaced."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pattern: Annotated[str, AfterValidator(_pattern)]
    replacement: str


class AudioSettings(SettingsTable):
    """What is listened to, and how it is written."""

    rewrites: tuple[Rewrite, ...] = Field(
        default=(),
        description="Rules for what was heard, in their order, each { pattern = …, replacement = … }.",
    )
    backlog: float = Field(
        default=60.0,
        ge=1,
        description="Seconds of live audio that may wait for the transcriber; more is refused, to be sent again.",
    )
    idle: float = Field(
        default=60.0, gt=0, description="Seconds without a frame after which live audio counts as finished."
    )
    longest: float = Field(
        default=3 * 3600.0,
        gt=0,
        description="Seconds of sound in a recording, however few bytes hold it; a longer one is refused (too_large).",
    )
    scratch: int = Field(
        default=2 << 30,
        ge=1 << 20,
        description="Bytes of temporary files for recordings on their way to vendors, all together; more is refused "
        "(overloaded), to be sent again.",
    )
    local_model_path: Path | None = Field(
        default=None,
        description="A recogniser for the model `local`: a folder of CTranslate2 (any faster-whisper model) or Moonshine, "
        "a ggml-….bin of whisper.cpp, a folder of sherpa-onnx. Without it the one in an installed package is used.",
    )
    local_model_kind: Literal["whisper-ct2", "moonshine", "whisper-cpp", "sherpa-onnx"] | None = Field(
        default=None, description="What local_model_path holds; without it, as the names of its files say."
    )
    local_threads: int = Field(
        default=1, ge=1, le=64, description="Processor threads for each recording that this machine computes for."
    )
    local_parallel: int = Field(
        default=2,
        ge=1,
        le=64,
        description="Recordings that this machine computes for at once; more take turns, a second of sound at a time.",
    )
