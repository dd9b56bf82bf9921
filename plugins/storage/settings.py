"""The operator's `[plugins.storage]` table."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from engine.api import SettingsTable

LONGEST_LINK = 604_800
"""Seconds that a link may last: a week, as with the object stores of vendors."""


class StorageSettings(SettingsTable):
    """Where files are kept, how many and for how long."""

    folder: Path = Field(
        default=Path("var/objects"), description="Folder of the files; it is made where it is missing."
    )
    quota: int = Field(default=1 << 30, ge=0, description="Bytes that all objects of one principal may have together.")
    largest: int = Field(default=256 << 20, ge=1, description="Bytes that one object may have.")
    keep: float = Field(default=30.0, ge=0, description="Days that an object is kept; 0: until it is deleted.")
    link: float = Field(
        default=3600.0, ge=1, le=LONGEST_LINK, description="Seconds that a link lasts where its caller does not say."
    )
