"""A store of objects: a shelf for their bytes, rows for what they are, a quota for each owner."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from engine.api import (
    Database,
    FrameTooLarge,
    InvalidRequest,
    Link,
    ObjectNotFound,
    ObjectPage,
    Principal,
    ProviderRole,
    StoredObject,
)
from plugins.storage.links import Links
from plugins.storage.quota import Quota, Share
from plugins.storage.records import Records
from plugins.storage.settings import StorageSettings
from plugins.storage.shelf import Shelf, new_id

LONGEST_NAME = 200

_CONTENT_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,49}/[A-Za-z0-9!#$&^_.+-]{1,50}")
_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def utc_now() -> datetime:
    return datetime.now(UTC)


class Objects:
    """Implements `engine.api.ObjectStore` over any shelf."""

    role: ClassVar[ProviderRole] = "object_store"
    unavailable: str | None = None

    def __init__(
        self,
        name: str,
        shelf: Shelf,
        database: Database,
        links: Links,
        settings: StorageSettings,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self.name = name
        self.shelf = shelf
        self.records = Records(database, name)
        self.now = now
        self._links = links
        self._settings = settings
        self._quota = Quota(settings.quota, self.records.used)

    async def put(
        self,
        principal: Principal,
        pieces: AsyncIterator[bytes],
        *,
        name: str,
        content_type: str,
        origin: str | None = None,
        most: int | None = None,
    ) -> StoredObject:
        now = self.now()
        id = new_id(now)
        bound = self._settings.largest if most is None else min(most, self._settings.largest)
        async with (
            aclosing(pieces) as source,  # type: ignore[type-var]
            self._quota.share(principal.id) as share,
            aclosing(_counted(source, share, bound)) as counted,
        ):
            if not _CONTENT_TYPE.fullmatch(content_type):
                raise InvalidRequest(
                    f"{content_type[:80]!r} is no type of a file; write as audio/mpeg", field="content_type"
                )
            size = await self.shelf.write(id, counted)
            stored = StoredObject(
                id=id,
                name=clean_name(name),
                content_type=content_type,
                size=size,
                created_at=now,
                expires_at=now + timedelta(days=self._settings.keep) if self._settings.keep else None,
                origin=origin,
            )
            try:
                if not await self.records.add(principal, stored, self._quota.most):
                    raise self._quota.exceeded(await self.records.used(principal.id))
            except Exception:
                await self.shelf.remove(id)
                raise
        return stored

    async def find(self, principal: Principal, id: str) -> StoredObject:
        return _there(await self.records.find(id, self.now(), principal))

    async def page(
        self, principal: Principal, *, origin: str | None = None, before: str | None = None, limit: int = 50
    ) -> ObjectPage:
        found = await self.records.newest(principal, self.now(), origin=origin, before=before, limit=limit + 1)
        shown = list(found[:limit])
        return ObjectPage(
            objects=shown,
            next=shown[-1].id if len(found) > limit else None,
            used=await self.records.used(principal.id),
            quota=self._quota.most,
        )

    def read(self, stored: StoredObject, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        return self.shelf.read(stored.id, start, stored.size if end is None else min(end, stored.size))

    async def link(self, stored: StoredObject, seconds: float | None = None) -> Link:
        ends = self.now() + timedelta(seconds=self._settings.link if seconds is None else seconds)
        # A link that outlived its object would lead nowhere.
        return self._links.make(stored.id, ends if stored.expires_at is None else min(ends, stored.expires_at))

    async def linked(self, id: str, expires: int, signature: str) -> StoredObject:
        """The object that a link leads to; raises `LinkInvalid`, `LinkExpired` and `ObjectNotFound`."""
        self._links.check(id, expires, signature, self.now())
        return _there(await self.records.find(id, self.now()))

    async def delete(self, principal: Principal, id: str) -> None:
        stored = await self.find(principal, id)
        # The row first: a file without a row is swept, a row without a file would be a broken promise.
        await self.records.remove(stored.id)
        await self.shelf.remove(stored.id)


def clean_name(name: str) -> str:
    """What a person may be shown of a name: no folders, no control characters, not too long, and never nothing."""
    last = _UNFIT.sub("", re.split(r"[/\\]", name)[-1]).strip()
    return last[:LONGEST_NAME].strip(". ") or "file"


def _there(stored: StoredObject | None) -> StoredObject:
    if stored is None:
        raise ObjectNotFound("you have no object of this id; it may have expired, or was deleted")
    return stored


async def _counted(pieces: AsyncIterator[bytes], share: Share, bound: int) -> AsyncGenerator[bytes, None]:
    async for piece in pieces:
        share.take(len(piece))
        if share.taken > bound:
            raise FrameTooLarge(f"an object has at most {bound} bytes", limit=bound)
        yield piece
