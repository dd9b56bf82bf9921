"""The operator's `[plugins.acme]` table."""

from __future__ import annotations

from engine.api import SettingsTable
from pydantic import Field, SecretStr


class AcmeSettings(SettingsTable):
    """How Acme is reached."""

    api_key: SecretStr | None = Field(
        None, description="Key sent to Acme.", json_schema_extra={"env": ["ACME_API_KEY"]}
    )
