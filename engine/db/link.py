"""What the writer and the migrations need of a database, whichever it is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")


class Link(Protocol):
    """An open database: one connection that writes, several that read."""

    dialect: str

    async def run(self, work: Callable[[Connection], T], *, limit: float | None = None) -> T:
        """Run blocking code with the writing connection, one piece of work at a time.

        The connection has no transaction begun; what `work` leaves uncommitted is rolled back. A server that does not
        answer within `limit` seconds is a TimeoutError. SQLite always answers: there the code runs in the database's
        own thread, without a limit, and goes on there when the caller is cancelled.
        """
        ...

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]: ...

    async def look(self, work: Callable[[Connection], T]) -> T: ...

    def passing(self, error: Exception, *, reading: bool = False) -> bool:
        """Whether the same work may succeed later: locked, disk full, deadlock, server gone."""
        ...

    async def close(self) -> None: ...
