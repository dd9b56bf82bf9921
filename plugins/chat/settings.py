"""The operator's `[plugins.chat]` table."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from engine.api.plugin import SettingsTable


class ChatSettings(SettingsTable):
    """How turns are run."""

    context: Literal["trim", "error"] = Field(
        default="trim",
        description='What happens when a conversation outgrows the model: "trim" leaves old turns out and says so in a '
        'status event, "error" answers context_too_long.',
    )
    max_steps: int = Field(
        default=16, ge=1, le=100, description="Calls to the model in one turn; tools are offered in all but the last."
    )
    tool_timeout: float = Field(
        default=600.0, gt=0, description="Seconds that a tool of the client has to answer; then the model is told so."
    )
    server_tools: bool = Field(default=True, description="Offer the tools that plugins register to every model.")
    title_model: str | None = Field(
        default=None,
        examples=["local"],
        description="Model that names new conversations; unset: their first words do.",
    )
    canned: bool = Field(
        default=False,
        description="Offer the chat model `canned`: scripted answers in place of a model, to test clients with.",
    )
