"""A database without threads, so that it works on virtual time; commits when and how a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, MetaData, create_engine, true
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import StaticPool

from engine.api.data import Write
from engine.api.errors import DatabaseUnavailable, EngineError
from engine.db.errors import RowConflict, RowRefused
from engine.db.schema import metadata
from engine.db.statements import Statements
from engine.sessions.checkpoints import read_turns

T = TypeVar("T")


class MemoryDatabase:
    """Implements `engine.api.Database`. While `away`, commits fail; while `held`, they wait for `release()`."""

    dialect = "sqlite"

    def __init__(self, *tables: MetaData) -> None:
        self.away = False
        self.refusing = False
        self.held = False
        self.submitted: list[Sequence[Write]] = []
        self._waiting: list[tuple[Sequence[Write], asyncio.Future[None]]] = []
        self._statements = Statements("sqlite")
        self._engine = create_engine("sqlite://", poolclass=StaticPool)
        with self._engine.begin() as connection:
            for each in (metadata, *tables):
                each.create_all(connection)

    def submit(self, writes: Sequence[Write], *, linger: float = 0.0) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self.submitted.append(writes)
        if self.held:
            self._waiting.append((writes, future))
        else:
            loop.call_soon(self._commit, writes, future)
        return future

    def release(self) -> None:
        """Commit what was held, in order, and hold no more."""
        self.held = False
        waiting, self._waiting = self._waiting, []
        for writes, future in waiting:
            self._commit(writes, future)

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._read()

    async def look(self, work: Callable[[Connection], T]) -> T:
        if self.away:
            raise DatabaseUnavailable("the database is away")
        with self._engine.connect() as connection:
            return work(connection)

    def rows(self) -> list[dict[str, Any]]:
        """The turns, oldest first, with their output as far as it was kept."""
        with self._engine.connect() as connection:
            found = read_turns(connection, true(), limit=1000)
        return sorted(found, key=lambda row: (row["created_at"], row["stream"]))

    def close(self) -> None:
        self._engine.dispose()

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[AsyncConnection]:
        if self.away:
            raise DatabaseUnavailable("the database is away")
        with self._engine.connect() as connection:
            yield cast("AsyncConnection", _Reading(connection))

    def _commit(self, writes: Sequence[Write], future: asyncio.Future[None]) -> None:
        error: EngineError | None = None
        if self.away:
            error = DatabaseUnavailable("the database is away")
        elif self.refusing:
            error = RowConflict("turns", "")
        else:
            try:
                with self._engine.begin() as connection:
                    for step in self._statements.plan([writes]):
                        connection.execute(step.statement, step.rows)
            except IntegrityError:
                error = RowConflict("turns", "")
            except StatementError:
                error = RowRefused("a row cannot be written")
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


class _Reading:
    """What readers use of a connection: one statement after another."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, statement: Any) -> Any:
        return self._connection.execute(statement)
