"""The operator's `[plugins.guestbook]` table."""

from __future__ import annotations

from engine.api import SettingsTable
from pydantic import Field


class GuestbookSettings(SettingsTable):
    """What stands above the book, and how much one visitor may write."""

    title: str = Field("Visitors", description="What stands above the entries.")
    longest: int = Field(280, ge=1, description="Characters that one entry may have.")
