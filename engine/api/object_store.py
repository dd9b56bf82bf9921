"""Files that are kept for somebody, and the links by which they are fetched."""

from __future__ import annotations

from datetime import datetime

import msgspec


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """A file as its store knows it. `name` is for people and never a path; `origin` is the stream that it was made in."""

    id: str
    name: str
    content_type: str
    size: int
    created_at: datetime
    expires_at: datetime | None = None
    origin: str | None = None


class ObjectPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a principal's objects, newest first; `next` is where the following page begins, None behind the last.

    `used` and `quota` are bytes: what all of the principal's objects have, and may have, together.
    """

    objects: list[StoredObject]
    next: str | None
    used: int
    quota: int


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """An address from which anybody may fetch an object until it expires; one that begins with a slash is of this server."""

    url: str
    expires_at: datetime
