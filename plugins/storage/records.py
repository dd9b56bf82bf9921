"""What is known of the objects of one store, in the database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, RowMapping, case, func, null, or_, select

from engine.api import Database, EngineError, Principal, StoredObject, Write
from plugins.storage.tables import accounts, objects


class Records:
    """The rows of one store. What has expired is not found any more, and is `due` to be swept."""

    def __init__(self, database: Database, store: str) -> None:
        self._database = database
        self._store = store

    async def add(self, principal: Principal, stored: StoredObject, most: int) -> bool:
        """Commit the row of an object, if the owner then has at most so many bytes; tells whether that was so.

        Another server may have added to them since they were counted. So they are counted again in the transaction that adds
        the row, under a lock of the owner's own. A row that is too much has no size, which the table refuses.
        """
        owner = {"principal": principal.id, "store": self._store}
        kept = select(func.coalesce(func.sum(objects.c.size), 0)).where(*self._of(principal.id))
        # MySQL reads the table that it inserts into only as one that was made before.
        total = select(kept.subquery("kept")).scalar_subquery()
        row = {
            "id": stored.id,
            "principal": principal.id,
            "store": self._store,
            "name": stored.name,
            "content_type": stored.content_type,
            "size": case((total + stored.size <= most, stored.size), else_=null()),
            "created_at": stored.created_at,
            "expires_at": stored.expires_at,
            "origin": stored.origin,
        }
        try:
            await self._database.submit([Write(accounts, "upsert", owner, owner), Write(objects, "insert", row)])
        except EngineError as error:
            if error.code != "row_conflict":
                raise
            return False
        return True

    async def find(self, id: str, now: datetime, principal: Principal | None = None) -> StoredObject | None:
        """The object of this id: the principal's, where one is named."""
        chosen = [objects.c.id == id, self._alive(now)]
        if principal is not None:
            chosen.append(objects.c.principal == principal.id)
        found = await self._rows(chosen, 1)
        return found[0] if found else None

    async def newest(
        self, principal: Principal, now: datetime, *, origin: str | None, before: str | None, limit: int
    ) -> Sequence[StoredObject]:
        """The principal's objects, newest first."""
        chosen = [objects.c.principal == principal.id, self._alive(now)]
        if origin is not None:
            chosen.append(objects.c.origin == origin)
        if before is not None:
            chosen.append(objects.c.id < before)
        return await self._rows(chosen, limit)

    async def used(self, principal: str) -> int:
        """The bytes of all objects of a principal; what has expired counts until it was swept."""
        async with self._database.read() as connection:
            total = await connection.scalar(select(func.sum(objects.c.size)).where(*self._of(principal)))
        # MySQL sums to a decimal.
        return int(total or 0)

    async def due(self, now: datetime, limit: int) -> Sequence[str]:
        """Ids of objects that have expired."""
        expired = (objects.c.store == self._store, objects.c.expires_at <= now)
        async with self._database.read() as connection:
            return (await connection.scalars(select(objects.c.id).where(*expired).limit(limit))).all()

    async def known(self, ids: Collection[str]) -> set[str]:
        """Those of the ids that have a row."""
        async with self._database.read() as connection:
            return set((await connection.scalars(select(objects.c.id).where(objects.c.id.in_(ids)))).all())

    async def remove(self, *ids: str) -> None:
        """Commit that objects are gone."""
        await self._database.submit([Write(objects, "delete", {}, {"id": id}) for id in ids])

    def _of(self, principal: str) -> tuple[ColumnElement[bool], ...]:
        return (objects.c.principal == principal, objects.c.store == self._store)

    def _alive(self, now: datetime) -> ColumnElement[bool]:
        expires = objects.c.expires_at
        return (objects.c.store == self._store) & or_(expires.is_(None), expires > now)

    async def _rows(self, chosen: Sequence[ColumnElement[bool]], limit: int) -> Sequence[StoredObject]:
        wanted = select(objects).where(*chosen).order_by(objects.c.id.desc()).limit(limit)
        async with self._database.read() as connection:
            return [_object(row) for row in (await connection.execute(wanted)).mappings()]


def _object(row: RowMapping) -> StoredObject:
    return StoredObject(**{name: row[name] for name in StoredObject.__struct_fields__})
