"""A conversation in the form that Messages and generateContent share, where they differ from OpenAI's APIs."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec

from engine.api import ChatRequest, FilePart, ImagePart, InvalidRequest, Message, Role, TextPart, ToolCall

_DATA_URL = re.compile(r"data:(?P<type>[^;,]*)(?:;[^;,]*)*;base64,(?P<data>.*)", re.DOTALL | re.IGNORECASE)
_DEFAULT_TYPES = {"image": "image/png", "file": "application/pdf"}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A picture or document: its content in base64 as `data`, or its address as `url`."""

    media_type: str
    data: str = ""
    url: str | None = None


def attachment(part: ImagePart | FilePart) -> Attachment:
    """What the part holds; a data URL counts as content. The type is taken from the part, else from its name."""
    kind = "image" if isinstance(part, ImagePart) else "file"
    if part.data:
        return Attachment(_type_of(part, kind), part.data)
    if part.url and (found := _DATA_URL.fullmatch(part.url)):
        return Attachment(found["type"] or _type_of(part, kind), found["data"])
    if part.url:
        return Attachment(_type_of(part, kind), url=part.url)
    raise InvalidRequest(f"A part of type {kind} has neither url nor data; give one of them.", field="input")


def arguments_of(call: ToolCall) -> Mapping[str, Any]:
    """The arguments as the object that these vendors want; what is none is kept as the text it was."""
    try:
        arguments = msgspec.json.decode(call.arguments or "{}")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        arguments = None
    return arguments if isinstance(arguments, dict) else {"invalid_arguments": call.arguments}


def system_texts(request: ChatRequest) -> list[str]:
    """Instructions and every system or developer message, in order, none of them blank."""
    return [part.text for part in system_parts(request)]


def system_parts(request: ChatRequest) -> list[TextPart]:
    """The same with the marks for the prompt cache, each of which is that of the message's last part."""
    told = [TextPart(request.instructions or "")]
    for message in request.messages:
        if message.role in ("system", "developer"):
            marks = [part.cache for part in message.parts if isinstance(part, TextPart)]
            told.append(TextPart(message.text, marks[-1] if marks else None))
    return [part for part in told if part.text.strip()]


def turns(messages: Sequence[Message]) -> Iterator[tuple[Role, list[Message]]]:
    """The messages in runs of one speaker, `user` or `assistant`: tools answer on the user's side."""
    run: list[Message] = []
    speaker: Role = "user"
    for message in messages:
        if message.role in ("system", "developer"):
            continue
        role: Role = "assistant" if message.role == "assistant" else "user"
        if run and role != speaker:
            yield speaker, run
            run = []
        speaker = role
        run.append(message)
    if run:
        yield speaker, run


def with_options(body: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The body with `provider_options` laid over it: objects are merged, anything else of the options wins."""
    if options.get("stream", True) is not True:
        raise InvalidRequest(
            "Answers of a vendor are always streamed; leave provider_options.stream out.",
            field="provider_options.stream",
        )
    return _laid_over(body, options)


def _laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        known = merged.get(name)
        # Objects that name their kind are alternatives to each other.
        if isinstance(known, Mapping) and isinstance(value, Mapping) and "type" not in value:
            value = _laid_over(known, value)
        merged[name] = value
    return merged


def _type_of(part: ImagePart | FilePart, kind: str) -> str:
    name = (part.name if isinstance(part, FilePart) else None) or urlsplit(part.url or "").path[-256:]
    return part.media_type or mimetypes.guess_type(name)[0] or _DEFAULT_TYPES[kind]
