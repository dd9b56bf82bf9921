"""`/api/v1/storage`: the caller's objects, and files for whoever has a link."""

from __future__ import annotations

import re
from functools import partial
from typing import Any
from urllib.parse import quote

from engine.api import (
    Answer,
    FileAnswer,
    HttpRequest,
    Link,
    ObjectPage,
    ObjectStore,
    PluginContext,
    Route,
    StoredObject,
)
from plugins.storage.bodies import LinkAsked, LinkQuery, ObjectsQuery
from plugins.storage.links import PATH
from plugins.storage.objects import Objects

OBJECTS = "/api/v1/storage/objects"
NOT_FOUND = {404: "object_not_found"}
PARTS = {206: "The part that `Range` asks for.", 304: "The caller has it.", 416: "range_not_satisfiable"}
ANY_TYPE = "application/octet-stream"

_HEARD_AND_SEEN = re.compile(r"(audio|video)/")
_PLAIN = re.compile(r"[A-Za-z0-9 ._-]+")

# A page that somebody stored must not run under this server's address, whatever a browser takes it for; and what was deleted is
# not to be shown out of a cache.
_HARMLESS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-cache",
    "Referrer-Policy": "no-referrer",
}


class ObjectRoutes:
    """The caller's objects, in whichever store is on."""

    def __init__(self, context: PluginContext) -> None:
        self._providers = context.providers

    def routes(self) -> list[Route]:
        """The routes that ask for a key."""
        return [
            Route(
                method="GET",
                path=OBJECTS,
                handler=self.list,
                query=ObjectsQuery,
                returns=ObjectPage,
                summary="The caller's stored objects, newest first.",
                tag="storage",
            ),
            Route(
                method="GET",
                path=f"{OBJECTS}/{{id}}",
                handler=self.get,
                returns=StoredObject,
                summary="What an object is.",
                tag="storage",
                statuses=NOT_FOUND,
            ),
            Route(
                method="GET",
                path=f"{OBJECTS}/{{id}}/content",
                handler=self.content,
                media=(ANY_TYPE,),
                summary="What is in an object, under its own type.",
                tag="storage",
                statuses=NOT_FOUND | PARTS,
            ),
            Route(
                method="POST",
                path=f"{OBJECTS}/{{id}}/link",
                handler=self.link,
                body=LinkAsked,
                body_optional=True,
                returns=Link,
                summary="A link to an object, for whoever has no key.",
                tag="storage",
                statuses=NOT_FOUND,
            ),
            Route(
                method="DELETE",
                path=f"{OBJECTS}/{{id}}",
                handler=self.delete,
                status=204,
                summary="Delete an object; its links lead nowhere then.",
                tag="storage",
                statuses=NOT_FOUND,
            ),
        ]

    async def list(self, request: HttpRequest[Any, ObjectsQuery]) -> Answer:
        query = request.query
        page = await self._store().page(request.principal, origin=query.origin, before=query.before, limit=query.limit)
        return Answer(page)

    async def get(self, request: HttpRequest[Any, Any]) -> Answer:
        return Answer(await self._store().find(request.principal, request.path["id"]))

    async def content(self, request: HttpRequest[Any, Any]) -> FileAnswer:
        store = self._store()
        return _file(store, await store.find(request.principal, request.path["id"]))

    async def link(self, request: HttpRequest[LinkAsked | None, Any]) -> Answer:
        store = self._store()
        stored = await store.find(request.principal, request.path["id"])
        return Answer(await store.link(stored, request.body.seconds if request.body is not None else None))

    async def delete(self, request: HttpRequest[Any, Any]) -> Answer:
        await self._store().delete(request.principal, request.path["id"])
        return Answer(status=204)

    def _store(self) -> ObjectStore:
        return self._providers.objects()


class FileRoutes:
    """Where this plugin's own links lead."""

    def __init__(self, store: Objects) -> None:
        self._store = store

    def routes(self) -> list[Route]:
        """The one route that asks for a signature in place of a key."""
        return [
            Route(
                method="GET",
                path=f"{PATH}/{{id}}",
                handler=self.file,
                query=LinkQuery,
                scope=None,
                media=(ANY_TYPE,),
                summary="What is in an object, for whoever has a link to it.",
                tag="storage",
                statuses={403: "link_invalid", 410: "link_expired", **NOT_FOUND, **PARTS},
            )
        ]

    async def file(self, request: HttpRequest[Any, LinkQuery]) -> FileAnswer:
        query = request.query
        return _file(self._store, await self._store.linked(request.path["id"], query.expires, query.signature))


def _file(store: ObjectStore, stored: StoredObject) -> FileAnswer:
    return FileAnswer(
        size=stored.size,
        read=partial(store.read, stored),
        # What is under an id never changes.
        etag=f'"{stored.id}"',
        content_type=stored.content_type,
        headers={**_HARMLESS, "Content-Disposition": disposition(stored)},
    )


def disposition(stored: StoredObject) -> str:
    """Sound and video are played where they are opened, all else is saved under its name (RFC 6266)."""
    kind = "inline" if _HEARD_AND_SEEN.match(stored.content_type) else "attachment"
    if _PLAIN.fullmatch(stored.name):
        return f'{kind}; filename="{stored.name}"'
    return f"{kind}; filename*=UTF-8''{quote(stored.name, safe='')}"
