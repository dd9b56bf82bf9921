"""The branch that a turn goes on with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.api.chat import Message, ReasoningPart, TextPart

NOT_ANSWERED = "This call was not answered."


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """The messages of a conversation from its root to `parent`.

    `left_out` counts old messages of a very long branch that were not read.
    `new` says that the conversation is still to be written, `untitled` that the first words are to become its title.
    Messages in which nothing was said, as a failed turn may leave one, are left out.
    """

    conversation: str
    new: bool = False
    untitled: bool = False
    parent: str | None = None
    left_out: int = 0
    messages: tuple[Message, ...] = ()
    title: str = ""
    tags: tuple[str, ...] = ()

    def followed_by(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """What a provider is asked: the thread, then `messages`.

        Vendors refuse a conversation in which a tool call has no result, as one that was cancelled has none; such a call
        gets a result that says so.
        """
        return tuple(_answered((*self.messages, *messages)))


def says_something(message: Message) -> bool:
    """False for a message of blank text or of thinking alone, which vendors refuse."""
    if message.tool_calls or message.role == "tool":
        return True
    return any(
        bool(part.text.strip()) if isinstance(part, TextPart) else not isinstance(part, ReasoningPart)
        for part in message.parts
    )


def _answered(messages: Sequence[Message]) -> Iterator[Message]:
    open_calls: dict[str, str] = {}
    for message in messages:
        if message.role == "tool":
            open_calls.pop(message.tool_call_id or "", None)
        else:
            yield from _not_answered(open_calls)
            open_calls = {call.call_id: call.name for call in message.tool_calls}
        yield message
    yield from _not_answered(open_calls)


def _not_answered(calls: dict[str, str]) -> Iterator[Message]:
    for call_id, name in calls.items():
        yield Message(role="tool", parts=(TextPart(NOT_ANSWERED),), tool_call_id=call_id, name=name)
