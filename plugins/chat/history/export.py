"""A conversation as a file to take away."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec

from engine.api.chat import AudioPart, FilePart, ImagePart, Part, TextPart
from plugins.chat.history.records import Conversation, StoredMessage

_SPEAKERS = {"user": "User", "assistant": "Assistant", "system": "System", "developer": "Developer", "tool": "Tool"}


class Exported(msgspec.Struct, kw_only=True):
    """A whole conversation: every branch, each message after its parent."""

    conversation: Conversation
    messages: list[StoredMessage]


def markdown(conversation: Conversation, messages: Sequence[StoredMessage]) -> str:
    """The messages of one branch as a document for people."""
    head = f"# {conversation.title}\n\n_{conversation.created_at:%Y-%m-%d %H:%M} UTC_\n"
    return "\n".join((head, *("\n".join(_message(message)) for message in messages)))


def _message(message: StoredMessage) -> Iterator[str]:
    model = f" ({message.model})" if message.model and message.role == "assistant" else ""
    yield f"## {_SPEAKERS[message.role]}{model}\n"
    for part in message.content:
        yield f"{_part(part)}\n"
    for call in message.tool_calls:
        yield f"{_fenced(f'{call.name} {call.arguments}')}\n"
    if message.status != "completed":
        reason = f": {message.error.message}" if message.error else ""
        yield f"_{message.status}{reason}_\n"
    for citation in message.citations:
        yield f"- [{citation.title or citation.url}]({citation.url})\n"


def _part(part: Part) -> str:
    match part:
        case TextPart():
            return part.text
        case ImagePart():
            return f"![image]({part.url})" if part.url else f"_image, {part.media_type or 'of unknown type'}_"
        case AudioPart():
            return f"_recording, {part.format}_"
        case FilePart():
            name = part.name or "file"
            return f"[{name}]({part.url})" if part.url else f"_{name}, {part.media_type or 'of unknown type'}_"
        case _:
            return ""


def _fenced(text: str) -> str:
    """A block of code, in a fence that the text does not have."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
