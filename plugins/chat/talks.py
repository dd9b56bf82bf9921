"""`chat.past`, `chat.record` and `chat.truncate`: the history of conversations that are spoken.

Another model than a turn's may hold such a conversation, and of what it says only what was heard was said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from engine.api.chat import Message, TextPart
from engine.api.commands import Body, Call, Request
from engine.api.errors import InvalidRequest
from engine.api.events import Cost, Usage
from engine.wire.bounds import Name, Options
from plugins.chat.history.store import History
from plugins.chat.history.turns import Told

LONGEST = 100_000
MOST = 100


class Past(Body):
    """Which messages to read."""

    conversation: str = Field(max_length=64)
    limit: int = Field(default=100, ge=1, le=1_000, description="The newest so many.")


class Truncate(Body):
    """How much of an answer was heard."""

    conversation: str = Field(max_length=64)
    message: str = Field(max_length=64)
    heard: str = Field(
        max_length=1_000_000,
        description="The beginning of its text that was heard; blanks do not count. What follows is forgotten.",
    )


Notes = Annotated[dict[Name, Annotated[str, Field(max_length=1_000)]], Field(max_length=32)]


class Annotate(Body):
    """What is to be noted of an answer, and of the question that it answers."""

    conversation: str = Field(max_length=64)
    message: str = Field(max_length=64)
    metadata: Notes = Field(default_factory=dict, description="Added to the message's own; the same name is replaced.")
    question: Notes = Field(
        default_factory=dict, description="The same for the last message of the user that stands before it."
    )


class RecordedMessage(Body):
    """Something that was said."""

    role: Literal["user", "assistant"]
    text: str = Field(min_length=1, max_length=LONGEST)
    status: Literal["completed", "failed", "cancelled"] = "completed"
    model: str | None = Field(default=None, max_length=200)
    usage: Options | None = Field(default=None, description="As terminal events have it.")
    cost: Options | None = Field(default=None, description="As terminal events have it.")
    metadata: Notes = Field(default_factory=dict, description="Notes that are kept with it.")


class Record(Body):
    """What was said outside of any turn."""

    conversation: str | None = Field(default=None, max_length=64, description="Absent: a new one.")
    messages: list[RecordedMessage] = Field(min_length=1, max_length=MOST)


class Talks:
    """The calls of this file."""

    def __init__(self, history: History) -> None:
        self._history = history

    def calls(self) -> Iterable[Call[Any]]:
        """To be registered."""
        return [
            Call(
                name="chat.past",
                body=Past,
                handle=self.past,
                summary="What was said in a conversation, as role and text.",
                example={"type": "chat.past", "id": "h1", "conversation": "c_…", "limit": 20},
            ),
            Call(
                name="chat.record",
                body=Record,
                handle=self.record,
                summary="Keep what was said outside of any turn.",
                example={
                    "type": "chat.record",
                    "id": "h2",
                    "messages": [{"role": "user", "text": "Hello!"}, {"role": "assistant", "text": "Hello you."}],
                },
            ),
            Call(
                name="chat.annotate",
                body=Annotate,
                handle=self.annotate,
                summary="Note something of a message, as where its sound is kept.",
                example={
                    "type": "chat.annotate",
                    "id": "h4",
                    "conversation": "c_…",
                    "message": "m_…",
                    "metadata": {"audio": "o_…"},
                },
            ),
            Call(
                name="chat.truncate",
                body=Truncate,
                handle=self.truncate,
                summary="Keep of an answer only what was heard.",
                example={
                    "type": "chat.truncate",
                    "id": "h3",
                    "conversation": "c_…",
                    "message": "m_…",
                    "heard": "The boat",
                },
            ),
        ]

    async def past(self, request: Request[Past]) -> Mapping[str, Any]:
        body = request.body
        thread = await self._history.thread(request.principal, body.conversation, None, newest=4 * body.limit)
        said = [
            {"role": "system" if message.role == "developer" else message.role, "text": message.text}
            for message in thread.messages
            if message.role != "tool" and message.text.strip()
        ]
        return {"messages": said[-body.limit :]}

    async def record(self, request: Request[Record]) -> Mapping[str, Any]:
        body = request.body
        if body.conversation is not None:
            await self._history.claims.check(request.principal, body.conversation)
        told = [_told(message, f"messages.{at}") for at, message in enumerate(body.messages)]
        conversation, ids = await self._history.record(request.principal, body.conversation, told)
        return {"conversation": conversation, "messages": ids}

    async def annotate(self, request: Request[Annotate]) -> Mapping[str, Any]:
        body = request.body
        notes = (body.metadata, body.question)
        message = await self._history.messages.annotate(request.principal, body.conversation, body.message, *notes)
        return {"conversation": message.conversation, "message": message.id, "metadata": message.metadata}

    async def truncate(self, request: Request[Truncate]) -> Mapping[str, Any]:
        body = request.body
        message = await self._history.messages.truncate(request.principal, body.conversation, body.message, body.heard)
        return {"conversation": message.conversation, "message": message.id, "text": message.text}


def _told(message: RecordedMessage, field: str) -> Told:
    columns = {
        "status": message.status,
        "model": message.model,
        "usage": _as_told(Usage, message.usage, f"{field}.usage"),
        "cost": _as_told(Cost, message.cost, f"{field}.cost"),
        "metadata": dict(message.metadata) or None,
    }
    return Told(Message(role=message.role, parts=(TextPart(message.text),)), columns)


def _as_told(kind: type[Usage | Cost], given: dict[str, Any] | None, field: str) -> Usage | Cost | None:
    if given is None:
        return None
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{field} is not as terminal events have it: {error}", field=field) from None
