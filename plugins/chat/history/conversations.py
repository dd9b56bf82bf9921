"""A principal's conversations: list, read, name, tag, delete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, func, select

from engine.api.data import Database, Write
from engine.api.errors import Conflict
from engine.api.identity import Principal
from plugins.chat.history.claims import Claims
from plugins.chat.history.errors import ConversationNotFound
from plugins.chat.history.forgetting import Forget, emptied, nothing_to_forget, streams_of
from plugins.chat.history.ids import new_id
from plugins.chat.history.pages import mark, older_than
from plugins.chat.history.reading import Tree, read_conversation, read_messages
from plugins.chat.history.records import (
    Conversation,
    ConversationWithMessages,
    StoredMessage,
    conversation_of,
)
from plugins.chat.history.tables import conversations, messages, texts
from plugins.chat.history.tree import newest_leaf, subtree
from plugins.chat.history.turns import NO_TITLE, new_conversation


class ConversationPage(msgspec.Struct, kw_only=True):
    """Conversations, the one that changed last first. `next` is the `before` of the page after this; null on the last."""

    conversations: list[Conversation]
    next: str | None


class Conversations:
    """Reads and changes conversations. An id that is unknown or another's raises `ConversationNotFound`."""

    def __init__(
        self, database: Database, now: Callable[[], datetime], claims: Claims, forget: Forget = nothing_to_forget
    ) -> None:
        self._database = database
        self._claims = claims
        self._forget = forget
        self._now = now
        self.leaving: Counter[str] = Counter()
        """Conversations that are being removed: nothing begins in them any more."""

    async def page(
        self,
        principal: Principal,
        *,
        limit: int = 50,
        before: str | None = None,
        tag: str | None = None,
        favourite: bool | None = None,
        model: str | None = None,
    ) -> ConversationPage:
        """A page of the conversations to which every given filter applies."""
        wanted = [conversations.c.principal == principal.id]
        if before is not None:
            wanted.append(older_than(conversations, before))
        if tag is not None:
            wanted.append(tagged(tag))
        if favourite is not None:
            wanted.append(conversations.c.favourite.is_(favourite))
        if model is not None:
            wanted.append(conversations.c.model == model)
        columns = [column for column in conversations.c if column.name != "principal"]
        newest = conversations.c.updated_at.desc(), conversations.c.id.desc()
        query = select(*columns).where(*wanted).order_by(*newest).limit(limit + 1)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        found = [conversation_of(row) for row in rows[:limit]]
        return ConversationPage(
            conversations=found, next=mark(found[-1].updated_at, found[-1].id) if len(rows) > limit else None
        )

    async def get(self, principal: Principal, id: str) -> Conversation:
        """One conversation without its messages."""
        async with self._database.read() as connection:
            return await read_conversation(connection, principal, id)

    async def shown(self, principal: Principal, id: str) -> ConversationWithMessages:
        """One conversation with the branch that is shown."""
        return await read_messages(self._database, principal, id, lambda tree: tree.shown, _shown)

    async def whole(self, principal: Principal, id: str) -> tuple[Conversation, list[StoredMessage]]:
        """One conversation with all its messages, each after its parent and each branch whole."""

        def everything(tree: Tree) -> tuple[Conversation, list[StoredMessage]]:
            return tree.conversation, tree.stored(subtree(tree.parents, None))

        return await read_messages(self._database, principal, id, lambda tree: list(tree.shape), everything)

    async def create(
        self,
        principal: Principal,
        *,
        title: str | None = None,
        tags: Sequence[str] = (),
        favourite: bool = False,
    ) -> Conversation:
        """An empty conversation; without a title the first words that are said in it become its title."""
        now = self._now()
        titled_by = "user" if title else "first_words"
        id = new_id("c_", now)
        row = new_conversation(
            id, principal.id, title or NO_TITLE, titled_by, now, tags=list(tags), favourite=favourite
        )
        await self._database.submit([row])
        return await self.get(principal, id)

    async def change(
        self,
        principal: Principal,
        id: str,
        *,
        title: str | None = None,
        tags: Sequence[str] | None = None,
        favourite: bool | None = None,
        leaf: str | None = None,
    ) -> Conversation:
        """Change what is given. `leaf` chooses a branch: the one that ends with the youngest message under it.

        Its place in the list stays: that is for what is said. Raises `MessageNotFound` for a `leaf` that is not there.
        """
        values: dict[str, Any] = {}
        if title is not None:
            values |= {"title": title, "titled_by": "user"}
        if tags is not None:
            values["tags"] = list(tags)
        if favourite is not None:
            values["favourite"] = favourite
        if leaf is not None:
            chosen = leaf
            values["leaf"] = await read_messages(
                self._database,
                principal,
                id,
                lambda tree: (tree.has(chosen, field="leaf"),),
                lambda tree: newest_leaf(tree.parents, chosen),
            )
        if values:
            await self._database.submit([Write(conversations, "update", values, {"id": id, "principal": principal.id})])
        return await self.get(principal, id)

    async def delete(self, principal: Principal, id: str) -> None:
        """Remove a conversation with its messages and the content of its turns; raises `Conflict` while a turn runs.

        Unknown ids are no error here: nothing of theirs is left.
        """
        self.leaving[id] += 1
        try:
            with suppress(ConversationNotFound):
                await self._claims.unless_taken(principal, id, partial(self._delete, principal, id))
        finally:
            self.leaving[id] -= 1
            if not self.leaving[id]:
                del self.leaving[id]

    async def _delete(self, principal: Principal, id: str, untaken: Mapping[str, None], taken: Conflict | None) -> None:
        mine = {"conversation": id, "principal": principal.id}
        streams = await self._database.look(partial(streams_of, principal=principal.id, conversation=id))
        forgotten = await self._forget(principal, emptied(streams))
        # The conversation first, which is the lock of what is written into it.
        await self._database.submit(
            [
                Write(conversations, "delete", {}, {"id": id, "principal": principal.id, **untaken}, taken),
                Write(texts, "delete", {}, mine),
                Write(messages, "delete", {}, mine),
                *forgotten,
            ]
        )


def _shown(tree: Tree) -> ConversationWithMessages:
    return ConversationWithMessages(**msgspec.structs.asdict(tree.conversation), messages=tree.stored(tree.shown))


def tagged(tag: str) -> ColumnElement[bool]:
    """The conversations with a tag. Tags hold no quotes, so that the JSON list has a quoted one just where it has the tag."""
    return func.instr(conversations.c.tags, f'"{tag}"') > 0
