"""The messages of a conversation's tree: read, edit into a new branch, delete, fork."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import RowMapping

from engine.api.chat import Message, ReasoningPart, TextPart
from engine.api.columns import merged
from engine.api.data import Database, Write
from engine.api.errors import Conflict, InvalidRequest
from engine.api.events import MessageSaved
from engine.api.identity import Principal
from engine.api.streams import Said
from plugins.chat.history.claims import Claims
from plugins.chat.history.forgetting import Forget, emptied, nothing_to_forget
from plugins.chat.history.ids import new_id, new_ids
from plugins.chat.history.reading import Tree, read_conversation, read_messages
from plugins.chat.history.records import Conversation, StoredMessage, message_of
from plugins.chat.history.tables import conversations, messages, texts
from plugins.chat.history.tree import leaf_without, subtree
from plugins.chat.history.turns import going_on, message_rows, new_conversation

ROWS_AT_ONCE = 500
"""Rows of a copy that are written in one transaction, some 20 ms on SQLite: those of others wait for no more."""

_COPIED = ("model", "status", "finish_reason", "error", "thinking", "citations", "metadata", "created_at")
"""What a copy of a message keeps; what it cost was paid once, by the original."""


MOST_NOTES = 64
"""Notes of one message, however many calls add them."""

DELETE_ATTEMPTS = 3
"""How often the tree is looked at again when something was said while a part of it was being removed."""

CUT_ATTEMPTS = 3
"""How often an answer is read again when it was cut by another while it was being cut."""


class Messages:
    """Reads and changes messages. Raises `ConversationNotFound` and `MessageNotFound`, for foreign ids too."""

    def __init__(
        self, database: Database, now: Callable[[], datetime], claims: Claims, forget: Forget = nothing_to_forget
    ) -> None:
        self._database = database
        self._claims = claims
        self._forget = forget
        self._now = now

    async def branch(self, principal: Principal, conversation: str) -> list[StoredMessage]:
        """The branch that is shown, first message first."""
        return await read_messages(
            self._database, principal, conversation, lambda tree: tree.shown, lambda tree: tree.stored(tree.shown)
        )

    async def tree(self, principal: Principal, conversation: str) -> list[StoredMessage]:
        """All messages, each after its parent and each branch whole."""
        return await read_messages(
            self._database,
            principal,
            conversation,
            lambda tree: list(tree.shape),
            lambda tree: tree.stored(subtree(tree.parents, None)),
        )

    async def get(self, principal: Principal, conversation: str, id: str) -> StoredMessage:
        return await read_messages(
            self._database, principal, conversation, lambda tree: (tree.has(id),), lambda tree: tree.stored([id])[0]
        )

    async def _row(self, principal: Principal, conversation: str, id: str, field: str | None = None) -> RowMapping:
        return await read_messages(
            self._database,
            principal,
            conversation,
            lambda tree: (tree.has(id, field=field),),
            lambda tree: tree.rows[id],
        )

    async def edit(self, principal: Principal, conversation: str, id: str, text: str) -> StoredMessage:
        """Write other words beside a message: a new branch from its parent, which is shown from now on.

        What was attached to the message comes along, its tool calls do not. The message itself and what followed it stay.
        """
        row = await self._row(principal, conversation, id)
        message = message_of(row)
        if message.role == "tool":
            raise InvalidRequest("what a tool answered cannot be edited; edit a message before it", field="message")
        attached = [part for part in message.parts if not isinstance(part, TextPart | ReasoningPart)]
        edited = Message(role=message.role, parts=(TextPart(text), *attached), name=message.name)
        now = self._now()
        new = new_id("m_", now)
        rows = message_rows(
            new, conversation, principal.id, row["parent"], edited, now, model=row["model"], metadata=row["metadata"]
        )
        there = going_on(conversation, principal.id, row["parent"], {"leaf": new, "updated_at": now})
        await self._database.submit([*there, *rows])
        return await self.get(principal, conversation, new)

    async def truncate(self, principal: Principal, conversation: str, id: str, heard: str) -> StoredMessage:
        """Keep of an answer only its beginning, which is all that was heard; blanks do not count.

        What its vendor wanted back goes, since it belongs to the whole answer, and so does what its turn's record has more.
        Doing it again changes nothing.
        """
        for _ in range(CUT_ATTEMPTS):
            with suppress(Conflict):
                return await self._cut(principal, conversation, id, heard)
        raise _changed_meanwhile()

    async def _cut(self, principal: Principal, conversation: str, id: str, heard: str) -> StoredMessage:
        """Raises `Conflict` where somebody else has cut the answer since it was read."""
        row = await self._row(principal, conversation, id, "message")
        message = message_of(row)
        if message.role != "assistant":
            raise InvalidRequest(
                f"only an answer can be cut, and this message is the {message.role}'s", field="message"
            )
        text = message.text
        kept = _beginning(text, heard)
        if kept is None:
            raise InvalidRequest(
                f"heard is no beginning of what was said, which is {text[:60]!r} and {max(0, len(text) - 60)} characters more",
                field="heard",
            )
        if kept != text:
            others = [part for part in message.parts if not isinstance(part, TextPart | ReasoningPart)]
            content = [*([TextPart(kept)] if kept else []), *others]
            changes = {"content": content, "status": "cancelled", "reasoning": None}
            words = (
                Write(texts, "update", {"text": kept}, {"message": id})
                if kept
                else Write(texts, "delete", {}, {"message": id})
            )
            saved = MessageSaved(conversation=conversation, message=id)
            left = {row["stream"]: Said(text=kept, saved=saved)} if row["stream"] is not None else {}
            forgotten = await self._forget(principal, left)
            as_read = {"id": id, "content": row["content"]}
            cut = Write(messages, "update", changes, as_read, _changed_meanwhile())
            await self._database.submit([cut, words, *forgotten])
        return await self.get(principal, conversation, id)

    async def annotate(
        self, principal: Principal, conversation: str, id: str, notes: Mapping[str, str], question: Mapping[str, str]
    ) -> StoredMessage:
        """Add notes to a message, and others to the question that it answers: the user's last message before it."""
        rows = await read_messages(
            self._database,
            principal,
            conversation,
            partial(_answer_and_question, id=id),
            lambda tree: [tree.rows[each] for each in _answer_and_question(tree, id)],
        )
        noted = [(row["id"], new) for row, new in zip(rows, (notes, question), strict=False) if new]
        for row, new, field in zip(rows, (notes, question), ("metadata", "question"), strict=False):
            _refuse_more_notes({**(row["metadata"] or {}), **new}, field)
        dialect = self._database.dialect
        changes = [
            Write(messages, "update", {"metadata": merged(messages.c.metadata, new, dialect)}, {"id": id})
            for id, new in noted
        ]
        await self._database.submit(changes)
        return await self.get(principal, conversation, id)

    async def delete(self, principal: Principal, conversation: str, id: str) -> Conversation:
        """Remove a message and all that follows it; where the shown branch ran through it, another one is shown.

        What is said in the conversation meanwhile is not torn from what it follows: the tree is looked at again then. Raises
        `Conflict` while a turn runs.
        """
        for _ in range(DELETE_ATTEMPTS):
            await self._claims.check(principal, conversation)
            tree = await read_messages(
                self._database, principal, conversation, lambda tree: (tree.has(id),), lambda tree: tree
            )
            removed = subtree(tree.parents, id)
            rows = [Write(texts, "delete", {}, {"message": each}) for each in removed]
            rows += [Write(messages, "delete", {}, {"id": each}) for each in removed]
            rows += await self._forget(principal, emptied(tree.shape[each]["stream"] for each in removed))
            leaf = leaf_without(tree.parents, removed, tree.leaf)
            mine = {"id": conversation, "principal": principal.id}
            unchanged = {**mine, "updated_at": tree.conversation.updated_at, **self._claims.untaken}
            with suppress(Conflict):
                await self._database.submit(
                    [Write(conversations, "update", {"leaf": leaf}, unchanged, _changed_meanwhile()), *rows]
                )
                return msgspec.structs.replace(tree.conversation, leaf=leaf)
        raise _changed_meanwhile()

    async def fork(
        self, principal: Principal, conversation: str, message: str | None, title: str | None
    ) -> Conversation:
        """Copy the branch that ends with `message`, or the one that is shown, into a conversation of its own."""

        def branch(tree: Tree) -> list[str]:
            return tree.path(tree.has(message, field="message") if message is not None else tree.leaf)

        now = self._now()
        fork = new_id("c_", now)

        def copies(tree: Tree) -> tuple[Conversation, list[Write], str | None]:
            return tree.conversation, *_copies([tree.rows[each] for each in branch(tree)], fork, principal, now)

        old, rows, leaf = await read_messages(self._database, principal, conversation, branch, copies)
        head = new_conversation(
            fork,
            principal.id,
            title or old.title,
            "user" if title else old.titled_by,
            now,
            tags=old.tags,
            model=old.model,
            leaf=leaf,
        )
        await self._keep_copy(head, rows)
        async with self._database.read() as connection:
            return await read_conversation(connection, principal, fork)

    async def _keep_copy(self, head: Write, rows: Sequence[Write]) -> None:
        """Write a conversation in transactions of some rows each, between which those of others are written.

        Its own row comes last: before that, nobody sees the others. A server that is killed in between leaves these to nobody.
        """
        last = max(0, len(rows) - ROWS_AT_ONCE)
        try:
            for at in range(0, last, ROWS_AT_ONCE):
                await self._database.submit(rows[at : min(at + ROWS_AT_ONCE, last)])
            await self._database.submit([head, *rows[last:]])
        except BaseException:
            if last:
                copied = {"conversation": head.values["id"]}
                gone = [Write(conversations, "delete", {}, {"id": head.values["id"]})]
                gone += [Write(table, "delete", {}, copied) for table in (texts, messages)]
                self._database.submit(gone)
            raise


def _beginning(text: str, heard: str) -> str | None:
    """The beginning of a text that has the characters of `heard`, blanks aside; None where they are others."""
    wanted = "".join(heard.split())
    at = 0
    for character in wanted:
        while at < len(text) and text[at].isspace():
            at += 1
        if at == len(text) or text[at] != character:
            return None
        at += 1
    return text if not text[at:].strip() else text[:at]


def _answer_and_question(tree: Tree, id: str) -> list[str]:
    """A message, and the user's last one before it where there is one."""
    before = tree.path(tree.has(id, field="message"))[:-1]
    return [id, *[each for each in before if tree.shape[each]["role"] == "user"][-1:]]


def _copies(
    branch: Sequence[RowMapping], fork: str, principal: Principal, now: datetime
) -> tuple[list[Write], str | None]:
    rows: list[Write] = []
    parent: str | None = None
    for id, row in zip(new_ids("m_", now, len(branch)), branch, strict=True):
        kept: dict[str, Any] = {name: row[name] for name in _COPIED}
        rows += message_rows(id, fork, principal.id, parent, message_of(row), now, **kept)
        parent = id
    return rows, parent


def _changed_meanwhile() -> Conflict:
    return Conflict("something is being said in this conversation; try again when it is over")


def _refuse_more_notes(notes: Mapping[str, Any], field: str) -> None:
    if len(notes) > MOST_NOTES:
        raise InvalidRequest(
            f"a message holds at most {MOST_NOTES} notes, and this would make {len(notes)}; write over some that are there",
            field=field,
            limit=MOST_NOTES,
        )
