"""Saved prompts: texts that a principal wants to use again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func, select

from engine.api.data import Database, Write
from engine.api.identity import Principal
from plugins.chat.history.errors import PromptNotFound
from plugins.chat.history.ids import new_id
from plugins.chat.history.pages import mark, older_than
from plugins.chat.history.records import plain
from plugins.chat.history.tables import prompts


class Prompt(msgspec.Struct, kw_only=True):
    """A saved prompt."""

    id: str
    title: str
    text: str
    tags: list[str]
    created_at: datetime
    updated_at: datetime


class PromptPage(msgspec.Struct, kw_only=True):
    """Prompts, the one that changed last first. `next` is the `before` of the page after this; null on the last."""

    prompts: list[Prompt]
    next: str | None


class Prompts:
    """Reads and changes prompts. An id that is unknown or another's raises `PromptNotFound`."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    async def page(
        self, principal: Principal, *, limit: int = 50, before: str | None = None, tag: str | None = None
    ) -> PromptPage:
        """A page of the caller's prompts, those with `tag` if one is given."""
        wanted = [prompts.c.principal == principal.id]
        if before is not None:
            wanted.append(older_than(prompts, before))
        if tag is not None:
            wanted.append(func.instr(prompts.c.tags, f'"{tag}"') > 0)
        newest = prompts.c.updated_at.desc(), prompts.c.id.desc()
        query = select(*_COLUMNS).where(*wanted).order_by(*newest).limit(limit + 1)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        found = [msgspec.convert(plain(row), Prompt) for row in rows[:limit]]
        return PromptPage(prompts=found, next=mark(found[-1].updated_at, found[-1].id) if len(rows) > limit else None)

    async def get(self, principal: Principal, id: str) -> Prompt:
        """One prompt."""
        query = select(*_COLUMNS).where(prompts.c.id == id, prompts.c.principal == principal.id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            raise PromptNotFound
        return msgspec.convert(plain(row), Prompt)

    async def create(self, principal: Principal, *, title: str, text: str, tags: Sequence[str] = ()) -> Prompt:
        """Save a prompt."""
        now = self._now()
        prompt = Prompt(id=new_id("p_", now), title=title, text=text, tags=list(tags), created_at=now, updated_at=now)
        row = msgspec.structs.asdict(prompt) | {"principal": principal.id}
        await self._database.submit([Write(prompts, "insert", row)])
        return prompt

    async def change(
        self,
        principal: Principal,
        id: str,
        *,
        title: str | None = None,
        text: str | None = None,
        tags: Sequence[str] | None = None,
    ) -> Prompt:
        """Change what is given."""
        given: dict[str, Any] = {"title": title, "text": text, "tags": None if tags is None else list(tags)}
        values = {name: value for name, value in given.items() if value is not None}
        if values:
            values["updated_at"] = self._now()
            await self._database.submit([Write(prompts, "update", values, {"id": id, "principal": principal.id})])
        return await self.get(principal, id)

    async def delete(self, principal: Principal, id: str) -> None:
        """Remove a prompt."""
        await self.get(principal, id)
        await self._database.submit([Write(prompts, "delete", {}, {"id": id, "principal": principal.id})])


_COLUMNS = tuple(column for column in prompts.c if column.name != "principal")
