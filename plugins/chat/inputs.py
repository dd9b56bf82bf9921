"""From what a client sent to what a provider is asked: messages checked and put in the engine's own form."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import cast

from engine.api.chat import (
    AudioPart,
    ChatRequest,
    FilePart,
    FunctionTool,
    ImagePart,
    Message,
    Part,
    Reasoning,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolChoice,
    WebSearch,
)
from engine.api.errors import InvalidRequest, UnsupportedMedia
from engine.api.events import ToolCall
from engine.wire.apart import LARGE, MANY
from plugins.chat.bodies import (
    AudioInput,
    ChatSend,
    FileInput,
    FunctionToolInput,
    ImageInput,
    InputMessage,
    InputPart,
    MessagePart,
    NamedToolChoice,
    ReasoningDemand,
    ReasoningInput,
    TextInput,
)

_PIECE = 256 << 10
_SNIFFED = 32
_PART = 64

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def read_input(body: ChatSend) -> tuple[Message, ...]:
    """The messages of a turn; raises `InvalidRequest` or `UnsupportedMedia` that names the part at fault."""
    given = body.input
    if isinstance(given, str):
        messages: tuple[Message, ...] = (Message(role="user", parts=(TextPart(given),)),)
    elif given and isinstance(given[0], InputMessage):
        messages = tuple(_message(item, i) for i, item in enumerate(given))
    else:
        parts = tuple(_part(item, f"input.{i}") for i, item in enumerate(cast("list[InputPart]", given)))
        messages = (Message(role="user", parts=parts),)
    # A message with its role may be empty: what that means, its model says.
    with_roles = bool(given) and isinstance(given[0], InputMessage)
    if not with_roles and not any(_says_something(message) for message in messages):
        raise InvalidRequest("input is empty; send a text, parts or messages", field="input")
    return messages


def _says_something(message: Message) -> bool:
    return bool(message.tool_calls) or any(not isinstance(p, TextPart) or _has_words(p.text) for p in message.parts)


def _has_words(text: str) -> bool:
    return bool(text) and not text.isspace()


def _message(given: InputMessage, index: int) -> Message:
    if isinstance(given.content, str):
        parts: tuple[Part, ...] = (TextPart(given.content),) if given.content else ()
    else:
        parts = tuple(_part(part, f"input.{index}.content.{i}") for i, part in enumerate(given.content))
    return Message(
        role=given.role,
        parts=parts,
        name=given.name,
        tool_call_id=given.tool_call_id,
        tool_calls=tuple(
            ToolCall(call_id=call.call_id, name=call.name, arguments=call.arguments, signature=call.signature)
            for call in given.tool_calls
        ),
    )


def _part(part: InputPart | MessagePart, field: str) -> Part:
    match part:
        case TextInput():
            return TextPart(part.text, part.cache_control)
        case ImageInput():
            return _image(part, field)
        case AudioInput():
            _decoded(part.data, f"{field}.data")
            return AudioPart(data=part.data, format=part.format)
        case FileInput():
            return _file(part, field)
        case ReasoningInput():
            return ReasoningPart(provider=part.provider, text=part.text, signature=part.signature, id=part.id)


def _image(part: ImageInput, field: str) -> ImagePart:
    if part.url is not None and not part.url.startswith("data:"):
        _web_address(part.url, f"{field}.url")
        return ImagePart(url=part.url, detail=part.detail, cache=part.cache_control)
    where = f"{field}.url" if part.url is not None else f"{field}.data"
    said, data = _data_url(part.url, where) if part.url is not None else (part.media_type, part.data or "")
    kind = sniff_image(_decoded(data, where))
    if kind is None:
        raise UnsupportedMedia(f"{where} is no PNG, JPEG, GIF or WebP image", field=where)
    if said not in (None, kind, "image/jpg"):
        raise UnsupportedMedia(f"{where} is said to be {said[:60]} and is {kind}", field=where)
    return ImagePart(data=data, media_type=kind, detail=part.detail, cache=part.cache_control)


def _file(part: FileInput, field: str) -> FilePart:
    if part.url is not None and not part.url.startswith("data:"):
        _web_address(part.url, f"{field}.url")
        return FilePart(url=part.url, media_type=part.media_type, name=part.name, cache=part.cache_control)
    said, data = _data_url(part.url, f"{field}.url") if part.url is not None else (None, part.data or "")
    _decoded(data, field)
    return FilePart(data=data, media_type=said or part.media_type, name=part.name, cache=part.cache_control)


def sniff_image(data: bytes) -> str | None:
    """The media type that the first bytes tell, of the kinds that vendors take."""
    for signature, kind in _SIGNATURES:
        if data.startswith(signature):
            return kind
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _web_address(url: str, field: str) -> None:
    if not url.startswith(("https://", "http://")):
        raise InvalidRequest(f"{field} begins with https://, http:// or data:", field=field)


def _data_url(url: str, field: str) -> tuple[str, str]:
    head, comma, data = url.partition(",")
    kind, _, encoding = head.removeprefix("data:").partition(";")
    if not comma or encoding != "base64":
        raise InvalidRequest(f"{field} is no data URL of the form data:image/png;base64,…", field=field)
    return kind, data


def _decoded(data: str, field: str) -> bytes:
    """The first bytes of what is all base64. It is read in pieces: one call keeps the event loop waiting until its end."""
    first = b""
    try:
        for at in range(0, len(data), _PIECE):
            piece = data[at : at + _PIECE]
            if at + _PIECE < len(data) and piece.endswith("="):
                raise InvalidRequest(f"{field} is not base64", field=field)
            read = base64.b64decode(piece, validate=True)
            first = first or read[:_SNIFFED]
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{field} is not base64", field=field) from None
    return first


def is_long_input(body: ChatSend) -> bool:
    """Whether reading the input takes a millisecond or more."""
    given = body.input
    if isinstance(given, str):
        return False
    if len(given) > MANY:
        return True
    size = 0
    for each in given:
        parts = each.content if isinstance(each, InputMessage) else [each]
        for part in parts if isinstance(parts, list) else ():
            size += _PART + len(getattr(part, "data", None) or getattr(part, "url", None) or "")
            if size > LARGE:
                return True
    return False


def chat_request(body: ChatSend, messages: Sequence[Message], server_tools: Sequence[FunctionTool]) -> ChatRequest:
    """The request for the first step; the model's vendor name is filled in where the call is made."""
    own = [
        FunctionTool(
            name=tool.name,
            description=tool.description,
            parameters=tool.parameters,
            strict=tool.strict,
            cache=tool.cache_control,
        )
        if isinstance(tool, FunctionToolInput)
        else WebSearch(options=tool.options)
        for tool in body.tools
    ]
    return ChatRequest(
        model=body.model or "",
        messages=tuple(messages),
        instructions=body.instructions,
        tools=(*own, *server_tools),
        tool_choice=_tool_choice(body),
        parallel_tool_calls=body.parallel_tool_calls,
        temperature=body.temperature,
        top_p=body.top_p,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ()),
        seed=body.seed,
        top_k=body.top_k,
        n=body.n,
        max_output_tokens=body.max_output_tokens,
        reasoning=_reasoning(body),
        response_format=_response_format(body),
        logprobs=body.logprobs,
        user=body.user,
        provider_options=body.provider_options,
        native=body.native,
    )


def _tool_choice(body: ChatSend) -> ToolChoice | None:
    choice = body.tool_choice
    if isinstance(choice, NamedToolChoice):
        return ToolChoice(mode="function", name=choice.name)
    return ToolChoice(mode=choice) if choice is not None else None


def _reasoning(body: ChatSend) -> Reasoning | None:
    given = body.reasoning
    if isinstance(given, ReasoningDemand):
        return Reasoning(effort=given.effort, budget=given.budget, summary=given.summary)
    return Reasoning(effort=given) if given is not None else None


def _response_format(body: ChatSend) -> ResponseFormat | None:
    given = body.response_format
    if given is None:
        return None
    return ResponseFormat(kind=given.type, name=given.name, schema=given.json_schema, strict=given.strict)
