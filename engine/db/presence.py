"""Whether a database is there: one line in the log when it goes away, one when it is back."""

from __future__ import annotations

import asyncio

from engine.db.refusals import reason
from engine.log import get_logger

log = get_logger(__name__)


class Presence:
    """How the last piece of work of one kind went. `kind` is "reading" or "writing"."""

    __slots__ = ("_database", "_failed_at", "_kind", "_since")

    def __init__(self, database: str, kind: str) -> None:
        self._database = database
        self._kind = kind
        self._since: float | None = None
        self._failed_at: float | None = None

    @property
    def failed_for(self) -> float | None:
        """Seconds since the last failure, or None where the last work succeeded."""
        return None if self._failed_at is None else asyncio.get_running_loop().time() - self._failed_at

    def failed(self, error: Exception) -> None:
        """The database did not do its part."""
        self._failed_at = asyncio.get_running_loop().time()
        if self._since is None:
            self._since = self._failed_at
            log.warning("database_away", database=self._database, work=self._kind, reason=reason(error))

    def worked(self) -> None:
        """It did."""
        if self._since is not None:
            seconds = round(asyncio.get_running_loop().time() - self._since, 1)
            log.info("database_back", database=self._database, work=self._kind, seconds=seconds)
            self._since = self._failed_at = None
