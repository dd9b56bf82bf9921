"""Conversations in which a turn runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from engine.api.errors import Conflict
from plugins.chat.history.records import Conversation

ConversationT = TypeVar("ConversationT", bound=Conversation)

Running = Callable[[str], str | None]
"""The stream of the turn that runs in a conversation, or None."""


def with_stream(conversation: ConversationT, running: Running) -> ConversationT:
    """The conversation with the stream that runs in it."""
    return msgspec.structs.replace(conversation, running_stream=running(conversation.id))


def not_running(conversation: str, running: Running) -> None:
    """Raise `Conflict` while a turn runs: its end would write after what is taken away."""
    stream = running(conversation)
    if stream is not None:
        raise Conflict(f"a turn of this conversation runs as stream {stream}; wait for its end, or cancel it")
