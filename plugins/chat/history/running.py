"""Conversations in which a turn runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from engine.api.errors import Conflict
from engine.api.identity import Principal
from plugins.chat.history.records import Conversation

ConversationT = TypeVar("ConversationT", bound=Conversation)

Running = Callable[[Principal, str], str | None]
"""The stream of the principal's turn that runs in a conversation, or None: also where the conversation is another's."""


def with_stream(principal: Principal, conversation: ConversationT, running: Running) -> ConversationT:
    """The conversation with the stream that runs in it."""
    return msgspec.structs.replace(conversation, running_stream=running(principal, conversation.id))


def not_running(principal: Principal, conversation: str, running: Running) -> None:
    """Raise `Conflict` while a turn runs: its end would write after what is taken away."""
    stream = running(principal, conversation)
    if stream is not None:
        raise Conflict(f"a turn of this conversation runs as stream {stream}; wait for its end, or cancel it")
