"""Full-text search over what a principal and its models have said."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import ColumnElement, Select, func, select, text

from engine.api.chat import Role
from engine.api.data import Database, Write
from engine.api.identity import Principal
from plugins.chat.history.tables import conversations, indexed, messages, texts
from plugins.chat.history.words import Terms, fts5_query, mysql_query, snippet, terms

_INDEX_THE_REST = Write(
    indexed, "update", {"upto": select(func.coalesce(func.max(texts.c.number), 0)).scalar_subquery()}, {"id": 1}
)


class Found(msgspec.Struct, kw_only=True):
    """A message that a search found; `snippet` is the text about the first word that was looked for."""

    conversation: str
    title: str
    message: str
    role: Role
    snippet: str
    created_at: datetime


class FoundPage(msgspec.Struct, kw_only=True):
    """What was found, newest first. `next` is the `before` of the page after this; null on the last."""

    results: list[Found]
    next: str | None


class Search:
    """Looks for messages that have every term of a query, as the beginning of a word."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, principal: Principal, query: str, *, limit: int = 20, before: str | None = None) -> FoundPage:
        """A page of what the caller's conversations say; `before` is a message's id. A blank query finds nothing."""
        wanted = terms(query, self._database.dialect)
        if not wanted:
            return FoundPage(results=[], next=None)
        if self._database.dialect == "sqlite":
            await self._database.submit([_INDEX_THE_REST])
        statement = _statement(principal, wanted, self._database.dialect).limit(limit + 1)
        if before is not None:
            statement = statement.where(texts.c.message < before)
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).mappings().all()
        found = [
            Found(
                conversation=row["conversation"],
                title=row["title"],
                message=row["message"],
                role=row["role"],
                snippet=snippet(row["text"], wanted),
                created_at=row["created_at"],
            )
            for row in rows[:limit]
        ]
        return FoundPage(results=found, next=found[-1].message if len(rows) > limit else None)


def _statement(principal: Principal, wanted: Terms, dialect: str) -> Select[tuple[str, ...]]:
    conditions: list[ColumnElement[bool]] = [texts.c.principal == principal.id]
    if wanted.words:
        conditions.append(_in_fts5(wanted.words) if dialect == "sqlite" else _in_fulltext(wanted.words))
    conditions += [texts.c.text.contains(piece, autoescape=True) for piece in wanted.pieces]
    told = (texts.c.conversation, conversations.c.title, texts.c.message, messages.c.role, texts.c.text)
    return (
        select(*told, messages.c.created_at)
        .join(conversations, conversations.c.id == texts.c.conversation)
        .join(messages, messages.c.id == texts.c.message)
        .where(*conditions)
        .order_by(texts.c.message.desc())
    )


def _in_fts5(words: tuple[str, ...]) -> ColumnElement[bool]:
    found = text("chat_texts.number IN (SELECT rowid FROM chat_texts_words WHERE chat_texts_words MATCH :words)")
    return found.bindparams(words=fts5_query(words))  # type: ignore[return-value]


def _in_fulltext(words: tuple[str, ...]) -> ColumnElement[bool]:
    found = text("MATCH (chat_texts.text) AGAINST (:words IN BOOLEAN MODE)")
    return found.bindparams(words=mysql_query(words))  # type: ignore[return-value]
