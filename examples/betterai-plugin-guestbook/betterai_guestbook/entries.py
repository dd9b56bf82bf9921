"""Rows of the book, written and read."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from engine.api import Database, Write, random_hex
from sqlalchemy import select

from betterai_guestbook.tables import entries


class Entry(msgspec.Struct):
    """What a visitor wrote."""

    id: str
    principal: str
    text: str
    written_at: datetime


class Entries:
    """The book of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, principal: str, text: str) -> Entry:
        """Add an entry; it is committed when this returns."""
        entry = Entry(f"g_{random_hex(12)}", principal, text, datetime.now(UTC))
        await self._database.submit([Write(entries, "insert", msgspec.structs.asdict(entry))])
        return entry

    async def read(self, limit: int) -> list[Entry]:
        """The latest entries, the last one first."""
        query = select(entries).order_by(entries.c.written_at.desc(), entries.c.id).limit(limit)
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            return [Entry(**row) for row in rows.mappings()]
