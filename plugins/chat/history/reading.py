"""Reads that several parts of the history begin with: a principal's conversation, and all its messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.api.data import Database
from engine.api.identity import Principal
from plugins.chat.history.errors import ConversationNotFound, MessageNotFound
from plugins.chat.history.records import Conversation, StoredMessage, conversation_of, stored_message_of
from plugins.chat.history.tables import conversations, messages
from plugins.chat.history.tree import Parents, branches, newest_leaf, path


@dataclass(frozen=True, slots=True)
class Whole:
    """A conversation with every message of its tree, by id."""

    conversation: Conversation
    rows: Mapping[str, RowMapping]

    @property
    def parents(self) -> Parents:
        return {id: row["parent"] for id, row in self.rows.items()}

    @property
    def leaf(self) -> str | None:
        """The end of the branch that is shown."""
        leaf = self.conversation.leaf
        return leaf if leaf in self.rows else newest_leaf(self.parents, None)

    def row(self, message: str, *, field: str | None = None) -> RowMapping:
        """The row of a message; raises `MessageNotFound`."""
        if message not in self.rows:
            raise MessageNotFound(field)
        return self.rows[message]

    def branch(self, leaf: str | None) -> list[RowMapping]:
        """The rows from the root down to `leaf`."""
        return [self.rows[id] for id in path(self.parents, leaf)]

    def stored(self, ids: list[str]) -> list[StoredMessage]:
        """Messages as clients see them."""
        parents, alike = self.parents, branches(self.parents)
        found = []
        for id in ids:
            parent = parents[id]
            found.append(stored_message_of(self.rows[id], alike[parent if parent in parents else None]))
        return found


_CONVERSATION = select(*(column for column in conversations.c if column.name != "principal")).where(
    conversations.c.id == bindparam("id"), conversations.c.principal == bindparam("principal")
)
_MESSAGES = select(*(column for column in messages.c if column.name != "principal")).where(
    messages.c.conversation == bindparam("id")
)
_FOR_PROVIDERS = select(
    messages.c.id,
    messages.c.parent,
    messages.c.role,
    messages.c.content,
    messages.c.tool_calls,
    messages.c.tool_call_id,
    messages.c.name,
    messages.c.reasoning,
).where(messages.c.conversation == bindparam("id"))


async def read_conversation(
    connection: AsyncConnection, principal: Principal, id: str, *, field: str | None = None
) -> Conversation:
    """The caller's conversation; raises `ConversationNotFound` for unknown and foreign ids alike."""
    found = await connection.execute(_CONVERSATION, {"id": id, "principal": principal.id})
    return _conversation(found.mappings().first(), field)


async def read_whole(database: Database, principal: Principal, id: str) -> Whole:
    """The caller's conversation with all its messages."""
    return await database.look(partial(_whole, principal=principal, id=id, query=_MESSAGES, field=None))


async def read_for_provider(database: Database, principal: Principal, id: str, *, field: str) -> Whole:
    """The same before a turn, with those columns of the messages that a provider is told of."""
    return await database.look(partial(_whole, principal=principal, id=id, query=_FOR_PROVIDERS, field=field))


def _whole(connection: Connection, *, principal: Principal, id: str, query: Select[Any], field: str | None) -> Whole:
    found = connection.execute(_CONVERSATION, {"id": id, "principal": principal.id})
    conversation = _conversation(found.mappings().first(), field)
    rows = connection.execute(query, {"id": id}).mappings().all()
    return Whole(conversation, {row["id"]: row for row in rows})


def _conversation(row: RowMapping | None, field: str | None) -> Conversation:
    if row is None:
        raise ConversationNotFound(field)
    return conversation_of(row)
