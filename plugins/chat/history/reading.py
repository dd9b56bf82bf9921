"""Reads that several parts of the history begin with: a principal's conversation, its tree, and the messages wanted of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, RowMapping, Select, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.api.data import Database
from engine.api.identity import Principal
from plugins.chat.history.errors import ConversationNotFound, MessageNotFound
from plugins.chat.history.records import Conversation, StoredMessage, conversation_of, stored_message_of
from plugins.chat.history.tables import conversations, messages
from plugins.chat.history.tree import Parents, branches, newest_leaf, path

T = TypeVar("T")

FEW = 200
"""Messages of a conversation that are read whole in one statement; of a longer one the tree is read first."""

CHUNK = 500
"""Messages that one statement reads by their ids; databases bound the parameters of a statement."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A conversation's messages by id: `shape` has id, parent, role and stream of each, `rows` the columns of those that were
    read."""

    conversation: Conversation
    shape: Mapping[str, RowMapping]
    rows: Mapping[str, RowMapping]

    @property
    def parents(self) -> Parents:
        return {id: row["parent"] for id, row in self.shape.items()}

    @property
    def leaf(self) -> str | None:
        """The end of the branch that is shown."""
        leaf = self.conversation.leaf
        return leaf if leaf in self.shape else newest_leaf(self.parents, None)

    def path(self, leaf: str | None) -> list[str]:
        """The ids from the root down to `leaf`."""
        return path(self.parents, leaf)

    @property
    def shown(self) -> list[str]:
        """The ids of the branch that is shown, from the root down."""
        return self.path(self.leaf)

    def has(self, message: str, *, field: str | None = None) -> str:
        """The id of a message; raises `MessageNotFound`."""
        if message not in self.shape:
            raise MessageNotFound(field)
        return message

    def branch(self, leaf: str | None) -> list[RowMapping]:
        """The rows from the root down to `leaf`, those that were read."""
        return [self.rows[id] for id in self.path(leaf) if id in self.rows]

    def stored(self, ids: Sequence[str]) -> list[StoredMessage]:
        """Messages as clients see them."""
        parents, alike = self.parents, branches(self.parents)
        found = []
        for id in ids:
            parent = parents[id]
            found.append(stored_message_of(self.rows[id], alike[parent if parent in parents else None]))
        return found


Wanted = Callable[[Tree], Sequence[str]]
"""Chooses by the tree the ids of the messages to read."""

_CONVERSATION = select(*(column for column in conversations.c if column.name != "principal")).where(
    conversations.c.id == bindparam("id"), conversations.c.principal == bindparam("principal")
)
_OF_CONVERSATION = messages.c.conversation == bindparam("id")
_SHAPE = select(messages.c.id, messages.c.parent, messages.c.role, messages.c.stream).where(_OF_CONVERSATION)
_WHOLE = select(*(column for column in messages.c if column.name != "principal")).where(_OF_CONVERSATION)
_FOR_PROVIDERS = select(
    messages.c.id,
    messages.c.parent,
    messages.c.role,
    messages.c.content,
    messages.c.tool_calls,
    messages.c.tool_call_id,
    messages.c.name,
    messages.c.reasoning,
).where(_OF_CONVERSATION)


async def read_conversation(
    connection: AsyncConnection, principal: Principal, id: str, *, field: str | None = None
) -> Conversation:
    """The caller's conversation; raises `ConversationNotFound` for unknown and foreign ids alike."""
    found = await connection.execute(_CONVERSATION, {"id": id, "principal": principal.id})
    return _conversation(found.mappings().first(), field)


async def read_messages(
    database: Database, principal: Principal, id: str, wanted: Wanted, make: Callable[[Tree], T]
) -> T:
    """What `make` gives of the caller's conversation, in whose tree the `wanted` messages have all their columns.

    Both are called in the reading thread, so that a long conversation does not hold the event loop.
    """
    return await database.look(partial(_made, principal, id, _WHOLE, wanted, make, None))


async def read_for_provider(
    database: Database, principal: Principal, id: str, wanted: Wanted, make: Callable[[Tree], T], *, field: str
) -> T:
    """The same with those columns of the messages that a provider is told of."""
    return await database.look(partial(_made, principal, id, _FOR_PROVIDERS, wanted, make, field))


def read_end(connection: Connection, principal: Principal, id: str, field: str) -> tuple[Conversation, str | None]:
    """The caller's conversation and the last message of the branch that is shown, whatever its length."""
    conversation = _conversation(
        connection.execute(_CONVERSATION, {"id": id, "principal": principal.id}).mappings().first(), field
    )
    there = _SHAPE.where(messages.c.id == conversation.leaf)
    if conversation.leaf is not None and connection.execute(there, {"id": id}).first() is not None:
        return conversation, conversation.leaf
    return conversation, _shape(connection, conversation).leaf


def _made(
    principal: Principal,
    id: str,
    query: Select[Any],
    wanted: Wanted,
    make: Callable[[Tree], T],
    field: str | None,
    connection: Connection,
) -> T:
    found = connection.execute(_CONVERSATION, {"id": id, "principal": principal.id})
    conversation = _conversation(found.mappings().first(), field)
    rows = connection.execute(query.limit(FEW + 1), {"id": id}).mappings().all()
    if len(rows) <= FEW:
        whole = {row["id"]: row for row in rows}
        tree = Tree(conversation, whole, whole)
        wanted(tree)  # it raises for a message that is not there
        return make(tree)
    tree = _shape(connection, conversation)
    return make(replace(tree, rows={row["id"]: row for row in _rows(connection, query, id, wanted(tree))}))


def _shape(connection: Connection, conversation: Conversation) -> Tree:
    rows = connection.execute(_SHAPE, {"id": conversation.id}).mappings().all()
    return Tree(conversation, {row["id"]: row for row in rows}, {})


def _rows(connection: Connection, query: Select[Any], id: str, wanted: Sequence[str]) -> Iterator[RowMapping]:
    by_id = query.where(messages.c.id.in_(bindparam("wanted", expanding=True)))
    for start in range(0, len(wanted), CHUNK):
        chunk = list(wanted[start : start + CHUNK])
        yield from connection.execute(by_id, {"id": id, "wanted": chunk}).mappings()


def _conversation(row: RowMapping | None, field: str | None) -> Conversation:
    if row is None:
        raise ConversationNotFound(field)
    return conversation_of(row)
