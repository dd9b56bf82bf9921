"""`/api/v1/guestbook`: sign the book, and read it."""

from __future__ import annotations

from typing import Any

import msgspec
from engine.api import Answer, Body, HttpRequest, InvalidRequest, Route
from pydantic import ConfigDict, Field

from betterai_guestbook.entries import Entries, Entry
from betterai_guestbook.settings import GuestbookSettings


class Signing(Body):
    """What a visitor sends."""

    text: str = Field(min_length=1, max_length=10_000, description="What to write into the book.")


class Reading(Body):
    """What stands behind the `?` of the address: text, so that numbers are converted."""

    model_config = ConfigDict(strict=False)

    limit: int = Field(default=20, ge=1, le=100, description="Entries, the last one first.")


class Book(msgspec.Struct):
    """The book as it is read."""

    title: str
    entries: list[Entry]


class GuestbookRoutes:
    """Handlers over one book."""

    def __init__(self, settings: GuestbookSettings, entries: Entries) -> None:
        self._settings = settings
        self._entries = entries

    def routes(self) -> list[Route]:
        """The routes of this file."""
        path, tag = "/api/v1/guestbook", "guestbook"
        return [
            Route(
                method="POST",
                path=path,
                handler=self.sign,
                body=Signing,
                returns=Entry,
                summary="Sign the book.",
                tag=tag,
            ),
            Route(
                method="GET",
                path=path,
                handler=self.read,
                query=Reading,
                returns=Book,
                summary="Read the book.",
                tag=tag,
            ),
        ]

    async def sign(self, request: HttpRequest[Signing, Any]) -> Answer:
        if len(request.body.text) > self._settings.longest:
            raise InvalidRequest(f"an entry has at most {self._settings.longest} characters", field="text")
        return Answer(await self._entries.write(request.principal.id, request.body.text))

    async def read(self, request: HttpRequest[Any, Reading]) -> Answer:
        return Answer(Book(self._settings.title, await self._entries.read(request.query.limit)))
