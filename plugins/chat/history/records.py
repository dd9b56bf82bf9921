"""Conversations and messages as clients see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from sqlalchemy import RowMapping

from engine.api.chat import Message, Part, ReasoningPart, Role, TextPart
from engine.api.errors import ErrorBody
from engine.api.events import Citation, Cost, FinishReason, Status, ToolCall, Usage

TitledBy = Literal["first_words", "model", "user"]


class Conversation(msgspec.Struct, kw_only=True):
    """A conversation. `leaf` is the last message of the branch that is shown, `model` the one that was asked for last.

    `titled_by` tells where the title comes from. `running_stream` is the stream of a turn that runs in it now.
    """

    id: str
    title: str
    titled_by: TitledBy
    model: str | None
    tags: list[str]
    favourite: bool
    leaf: str | None
    created_at: datetime
    updated_at: datetime
    running_stream: str | None = None


class StoredMessage(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A message of a conversation. `text` is the words of its `content`, `reasoning` what the model showed of its thinking.

    `siblings` are its alternatives under the same parent, oldest first and itself included. Usage and cost of a turn
    stand with its last message.
    """

    id: str
    conversation: str
    parent: str | None
    role: Role
    text: str
    content: list[Part]
    status: Status
    created_at: datetime
    siblings: list[str]
    tool_calls: list[ToolCall] = []
    tool_call_id: str | None = None
    name: str | None = None
    model: str | None = None
    finish_reason: FinishReason | None = None
    error: ErrorBody | None = None
    usage: Usage | None = None
    cost: Cost | None = None
    stream: str | None = None
    reasoning: str | None = None
    citations: list[Citation] = []
    metadata: dict[str, str] = {}


class ConversationWithMessages(Conversation, kw_only=True):
    """A conversation and the branch that is shown, first message first."""

    messages: list[StoredMessage]


class _Kept(msgspec.Struct, kw_only=True):
    """The columns of a message that hold JSON."""

    content: list[Part]
    tool_calls: list[ToolCall] | None = None
    reasoning: list[ReasoningPart] | None = None


def plain(row: RowMapping) -> dict[str, Any]:
    """The row under names that are plain strings, as msgspec wants them."""
    return {str(name): value for name, value in row.items()}


def conversation_of(row: RowMapping) -> Conversation:
    """A row of `chat_conversations`."""
    return msgspec.convert(plain(row), Conversation)


def stored_message_of(row: RowMapping, siblings: Sequence[str]) -> StoredMessage:
    """A row of `chat_messages` for a client."""
    told = {name: value for name, value in plain(row).items() if value is not None and name != "reasoning"}
    if (thinking := told.pop("thinking", None)) is not None:
        told["reasoning"] = thinking
    message = msgspec.convert({"parent": None, **told, "text": "", "siblings": siblings}, StoredMessage)
    message.text = "".join(part.text for part in message.content if isinstance(part, TextPart))
    return message


def message_of(row: RowMapping) -> Message:
    """A row of `chat_messages` for a provider: with the reasoning that its vendor wants back."""
    kept = msgspec.convert({name: row[name] for name in ("content", "tool_calls", "reasoning")}, _Kept)
    return Message(
        role=row["role"],
        parts=(*(kept.reasoning or ()), *kept.content),
        tool_calls=tuple(kept.tool_calls or ()),
        tool_call_id=row["tool_call_id"],
        name=row["name"],
    )
