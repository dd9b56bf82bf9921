"""The operator's `[plugins.audio]` table."""

from __future__ import annotations

import re
from typing import Annotated

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
        (),
        description="Rules for what was heard, in their order, each { pattern = …, replacement = … }.",
    )
    backlog: float = Field(
        60.0,
        ge=1,
        description="Seconds of live audio that may wait for the transcriber; more is refused, to be sent again.",
    )
    idle: float = Field(60.0, gt=0, description="Seconds without a frame after which live audio counts as finished.")
    longest: float = Field(
        3 * 3600.0,
        gt=0,
        description="Seconds of sound in a recording, however few bytes hold it; a longer one is refused (too_large).",
    )
    scratch: int = Field(
        2 << 30,
        ge=1 << 20,
        description="Bytes of temporary files for recordings on their way to vendors, all together; more is refused "
        "(overloaded), to be sent again.",
    )
    local_parallel: int = Field(
        2,
        ge=1,
        le=64,
        description="Recordings that this machine computes for at once; more take turns, a second of sound at a time.",
    )
