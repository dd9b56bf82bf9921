"""How a plugin owns tables and hands rows to be written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import msgspec

from engine.api.errors import EngineError

if TYPE_CHECKING:
    import asyncio

    from sqlalchemy import Connection, MetaData, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")


class Write(msgspec.Struct, frozen=True):
    """One row to insert, change or remove; executed in the order given, in one transaction with its group.

    `values` are the columns to set. `where` are equalities that choose rows to update or delete; for an upsert they are
    the columns of the unique key, which stand in `values` too. `must` is the error with which the whole group fails where
    an update or a delete finds no row: what a group relies on may be gone since it was read.
    """

    table: Table
    kind: Literal["insert", "update", "delete", "upsert"]
    values: Mapping[str, Any]
    where: Mapping[str, Any] = {}
    must: EngineError | None = None


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one plugin: their metadata and the folder with their one linear Alembic history."""

    metadata: MetaData
    migrations: Path
    database: str = "default"


class Database(Protocol):
    """One database: reads see committed rows, writes go through the group-commit writer."""

    @property
    def dialect(self) -> str:
        """`sqlite` or `mysql`."""
        ...

    def read(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for SELECTs, given back at the end of the block.

        Raises DatabaseUnavailable, also out of the block, where the database is away or too slow; so does `look`.
        """
        ...

    async def look(self, work: Callable[[Connection], T]) -> T:
        """Have blocking code read with a connection, in a thread where the driver needs one; gives what it returns.

        For reads of several statements that somebody waits for: it goes there and back once.
        """
        ...

    def submit(self, writes: Sequence[Write], *, linger: float = 0.0) -> asyncio.Future[None]:
        """Queue the rows as one transaction and return at once; the future is done when they are committed.

        Rows that nobody waits for may `linger` for so many seconds, to share a transaction with later ones, of which one
        without rows only calls them.
        """
        ...
