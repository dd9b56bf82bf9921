"""The operator's `[plugins.openai_api]` table."""

from __future__ import annotations

from pydantic import Field

from engine.api import SettingsTable


class OpenAIApiSettings(SettingsTable):
    """How OpenAI's dialect is understood."""

    default_vendor: str = Field(
        default="openai",
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="Vendor that gets a bare model name which the catalogue does not know, if it can serve.",
    )
    strict: bool = Field(
        default=False,
        description="Refuse the fields that a model's vendor knows nothing of, and that are otherwise dropped and named in "
        "the header X-BetterAI-Ignored.",
    )
