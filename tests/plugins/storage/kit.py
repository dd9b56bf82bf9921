"""A store in a folder of the test, and a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine.api import Database
from engine.db.history import Migrations
from plugins.storage.links import Links
from plugins.storage.objects import Objects, utc_now
from plugins.storage.providers.local import Folder
from plugins.storage.settings import StorageSettings
from plugins.storage.tables import TABLES

HISTORY = Migrations("storage", TABLES.metadata, TABLES.migrations)
SECRET = b"a secret of these tests alone"


class Clock:
    """The true time, and what the test has added to it."""

    def __init__(self) -> None:
        self.later = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.later


def store_in(folder: Path, database: Database, clock: Clock | None = None, **settings: object) -> Objects:
    return Objects(
        "local",
        Folder(folder),
        database,
        Links(lambda: SECRET),
        StorageSettings.model_validate(settings),
        clock or utc_now,
    )


async def once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def files(folder: Path) -> list[Path]:
    """Everything that lies in a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
