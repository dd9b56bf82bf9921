"""What a turn writes into the history: its question at accept, its answer at the end. Builds rows, reads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from engine.api.chat import Message, ReasoningPart, TextPart
from engine.api.commands import Lost
from engine.api.data import Write
from engine.api.streams import Ending
from plugins.chat.history.errors import ConversationNotFound, MessageNotFound
from plugins.chat.history.ids import new_ids
from plugins.chat.history.tables import conversations, messages, texts
from plugins.chat.history.thread import Thread

TITLE_LENGTH = 60
NO_TITLE = "New chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A turn whose question stands in `rows`.

    `leaf` is the last message of the question, `answer` the id that is kept for the assistant's. `new` is true of the first
    turn of a conversation.
    """

    conversation: str
    principal: str
    leaf: str | None
    answer: str
    new: bool = False
    rows: Sequence[Write] = ()

    @property
    def detail(self) -> dict[str, Any]:
        """What `recovered_turn` needs, as plain data for the turn's row."""
        return {"conversation": self.conversation, "leaf": self.leaf, "answer": self.answer, "new": self.new}


@dataclass(frozen=True, slots=True)
class Told:
    """A message that was said outside of any turn; `columns` are the further ones of its row."""

    message: Message
    columns: Mapping[str, Any]


def recorded(thread: Thread, principal: str, told: Sequence[Told], now: datetime) -> tuple[list[Write], list[str]]:
    """The rows of messages after a thread, and their ids."""
    ids = new_ids("m_", now, len(told))
    changes: dict[str, Any] = {"leaf": ids[-1], "updated_at": now}
    title = first_words([each.message for each in told])
    if thread.new:
        rows = [new_conversation(thread.conversation, principal, title, "first_words", now, **changes)]
    else:
        if thread.untitled:
            changes["title"] = title
        rows = going_on(thread.conversation, principal, thread.parent, changes)
    parent = thread.parent
    for id, each in zip(ids, told, strict=True):
        rows += message_rows(id, thread.conversation, principal, parent, each.message, now, **each.columns)
        parent = id
    return rows, ids


def open_turn(
    thread: Thread,
    principal: str,
    asked: Sequence[Message],
    *,
    model: str | None,
    stream: str,
    metadata: Mapping[str, str],
    now: datetime,
    taken: Mapping[str, Any],
) -> Opened:
    """The question's rows: a new conversation where there is none yet, and what is asked after the thread's parent.

    `taken` are the columns of a new conversation by which it is the turn's.
    """
    *ids, answer = new_ids("m_", now, len(asked) + 1)
    leaf = ids[-1] if ids else thread.parent
    title = first_words(asked)
    changes: dict[str, Any] = {"leaf": leaf, "model": model, "updated_at": now}
    if thread.new:
        rows = [new_conversation(thread.conversation, principal, title, "first_words", now, **changes, **taken)]
    else:
        if thread.untitled:
            changes["title"] = title
        rows = going_on(thread.conversation, principal, thread.parent, changes)
    parent = thread.parent
    for id, message in zip(ids, asked, strict=True):
        rows += message_rows(
            id, thread.conversation, principal, parent, message, now, stream=stream, metadata=dict(metadata) or None
        )
        parent = id
    return Opened(
        conversation=thread.conversation,
        principal=principal,
        leaf=leaf,
        answer=answer,
        new=thread.new or thread.untitled,
        rows=rows,
    )


def close_turn(
    opened: Opened, ending: Ending, steps: Sequence[Message], reasoning: Sequence[ReasoningPart], now: datetime
) -> list[Write]:
    """The answer's rows: `steps` of the tool loop, then what was said after them, however the turn ended."""
    said = _answer(ending, steps, reasoning)
    chain = list(steps)
    if said.parts or said.tool_calls or ending.status != "completed" or not chain:
        chain.append(said)
    last = max((i for i, message in enumerate(chain) if message.role == "assistant"), default=len(chain) - 1)
    rows: list[Write] = []
    parent = opened.leaf
    for i, (message, own) in enumerate(zip(chain, new_ids("m_", now, len(chain)), strict=True)):
        id = opened.answer if i == last else own
        more = _outcome(ending) if i == last else {}
        rows += message_rows(
            id,
            opened.conversation,
            opened.principal,
            parent,
            message,
            now,
            stream=ending.stream,
            model=ending.model if message.role == "assistant" else None,
            **more,
        )
        parent = id
    # First the conversation, as everywhere: its row is the lock, and where it is gone nothing of the turn is kept.
    return [*going_on(opened.conversation, opened.principal, None, {"leaf": parent, "updated_at": now}), *rows]


def recovered_turn(lost: Lost, now: datetime) -> list[Write]:
    """The answer's rows of a turn whose process died: what its row knows, as one message."""
    detail = lost.detail
    opened = Opened(
        conversation=detail["conversation"], principal=lost.principal, leaf=detail["leaf"], answer=detail["answer"]
    )
    return close_turn(opened, lost.ending, (), (), now)


def over_another(opened: Opened, rows: Sequence[Write], now: datetime) -> list[Write]:
    """The rows of an answer, to be written over those of `recovered_turn`: this server was taken for dead, and lives.

    The conversation may have gone on since behind that message, or the message may be deleted: it gets the whole text where it
    stands, and the branch that is shown stays.
    """
    mine = {"id": opened.conversation, "principal": opened.principal}
    over = [Write(conversations, "update", {"updated_at": now}, mine, ConversationNotFound("conversation"))]
    for write in rows:
        if write.table is messages and write.values["id"] == opened.answer:
            there = {"id": opened.answer, "conversation": opened.conversation}
            empty: dict[str, Any] = {column.name: None for column in messages.columns if column.nullable}
            over.append(Write(messages, "update", empty | dict(write.values), there, MessageNotFound("message")))
        elif write.table is messages:
            over.append(Write(messages, "upsert", write.values, {"id": write.values["id"]}))
        elif write.table is texts:
            over += [Write(texts, "delete", {}, {"message": write.values["message"]}), write]
    return over


def going_on(conversation: str, principal: str, parent: str | None, changes: Mapping[str, Any]) -> list[Write]:
    """Changes to a conversation that messages are added to: without it, or the message that they follow, none is written."""
    mine = {"id": conversation, "principal": principal}
    rows = [Write(conversations, "update", changes, mine, ConversationNotFound("conversation"))]
    if parent is not None:
        there = {"id": parent, "conversation": conversation}
        rows.append(Write(messages, "update", {"conversation": conversation}, there, MessageNotFound("parent")))
    return rows


def first_words(asked: Sequence[Message]) -> str:
    """A title: the first words of the first user's text that has some, at most 60 characters."""
    for message in asked:
        if message.role == "user" and (words := " ".join(message.text.split())):
            return words if len(words) <= TITLE_LENGTH else _cut(words)
    return NO_TITLE


def _cut(words: str) -> str:
    return words[: TITLE_LENGTH + 1].rpartition(" ")[0] or words[:TITLE_LENGTH]


def _answer(ending: Ending, steps: Sequence[Message], reasoning: Sequence[ReasoningPart]) -> Message:
    """What was said after the steps: the stream tells the turn as a whole."""
    earlier = "".join(step.text for step in steps if step.role == "assistant")
    # Counted and not told by their ids: a vendor may use the same ones again in each step.
    calls = sum(len(step.tool_calls) for step in steps)
    kept = [part for step in steps for part in step.parts if isinstance(part, ReasoningPart)]
    text = ending.said.text.removeprefix(earlier)
    return Message(
        role="assistant",
        parts=(*(part for part in reasoning if part not in kept), *((TextPart(text),) if text else ())),
        tool_calls=ending.said.tool_calls[calls:],
    )


def _outcome(ending: Ending) -> dict[str, Any]:
    return {
        "status": ending.status,
        "finish_reason": ending.finish_reason,
        "error": ending.error,
        "usage": ending.usage,
        "cost": ending.cost,
        "thinking": ending.said.reasoning or None,
        "citations": ending.said.citations or None,
    }


def new_conversation(id: str, principal: str, title: str, titled_by: str, now: datetime, **given: Any) -> Write:
    """The row of a conversation; `given` are its further columns."""
    row: dict[str, Any] = {
        "id": id,
        "principal": principal,
        "title": title,
        "titled_by": titled_by,
        "model": None,
        "tags": [],
        "favourite": False,
        "leaf": None,
        "created_at": now,
        "updated_at": now,
    }
    return Write(conversations, "insert", row | given)


def message_rows(
    id: str,
    conversation: str,
    principal: str,
    parent: str | None,
    message: Message,
    now: datetime,
    **given: Any,
) -> list[Write]:
    """The row of a message, and the words of a person or a model to search for; `given` are its further columns."""
    row: dict[str, Any] = {
        "id": id,
        "conversation": conversation,
        "parent": parent,
        "principal": principal,
        "role": message.role,
        "content": [part for part in message.parts if not isinstance(part, ReasoningPart)],
        "status": "completed",
        "created_at": now,
    }
    more = {
        "tool_calls": message.tool_calls or None,
        "tool_call_id": message.tool_call_id,
        "name": message.name,
        "reasoning": [part for part in message.parts if isinstance(part, ReasoningPart)] or None,
        **given,
    }
    # Most columns of most messages are NULL, and each that is written costs its conversion.
    row.update((column, value) for column, value in more.items() if value is not None)
    rows = [Write(messages, "insert", row)]
    if message.role in ("user", "assistant") and (words := message.text).strip():
        told = {"message": id, "conversation": conversation, "principal": principal, "text": words}
        rows.append(Write(texts, "insert", told))
    return rows
