"""A chat request as the body of Anthropic's Messages (types: `anthropic.types.message_create_params`)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from engine.api import (
    AudioPart,
    ChatRequest,
    FilePart,
    FunctionTool,
    ImagePart,
    InvalidRequest,
    Message,
    Part,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolChoice,
    UnsupportedMedia,
    UnsupportedParameter,
    WebSearch,
)
from plugins.chat.providers.anthropic_thinking import Thinking, generation_of, thinking
from plugins.chat.providers.conversation import Attachment, arguments_of, attachment, system_parts, turns, with_options

REDACTED = "redacted_thinking"
"""`ReasoningPart.id` of thinking that only Anthropic can read; its data stands in `signature`."""

_EPHEMERAL = {"type": "ephemeral"}
_IMAGES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
# Calls of another vendor's model may have ids with more than Anthropic takes.
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_-]")


def anthropic_body(request: ChatRequest, provider: str, most: int | None = None) -> dict[str, Any]:
    """The body, for a streamed answer; `provider` tells which reasoning is Claude's, `most` bounds the output.

    The system prompt and the last turn are marked for the prompt cache, unless `provider_options` has a
    `cache_control` of its own. Raises `UnsupportedParameter` for what Anthropic has no field for.
    """
    _check_supported(request)
    thought = thinking(request, provider, most)
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": thought.max_tokens,
        "messages": list(_messages(request.messages, provider)),
        "stream": True,
        **_sampling(request, thought),
        **_tools(request, thought),
    }
    if system := [_marked(_text(part.text), part) for part in system_parts(request)]:
        body["system"] = system
    if thought.thinking:
        body["thinking"] = thought.thinking
    if output := _output(request.response_format, thought.effort):
        body["output_config"] = output
    if "cache_control" not in request.provider_options and not _is_marked(body):
        _mark_cache(body)
    return with_options(body, request.provider_options)


def _check_supported(request: ChatRequest) -> None:
    asked = {
        "n": request.n > 1,
        "seed": request.seed is not None,
        "logprobs": request.logprobs is not None,
    }
    for field, wanted in asked.items():
        if wanted:
            raise UnsupportedParameter(f"Anthropic has no {field}; leave it out.", field=field)
    if request.temperature is not None and not 0 <= request.temperature <= 1:
        raise InvalidRequest("Anthropic takes a temperature from 0 to 1.", field="temperature")


def _messages(messages: Sequence[Message], provider: str) -> Iterator[dict[str, Any]]:
    for role, run in turns(messages):
        if content := [block for message in run for block in _blocks(message, provider)]:
            yield {"role": role, "content": content}


def _blocks(message: Message, provider: str) -> Iterator[dict[str, Any]]:
    match message.role:
        case "assistant":
            yield from _assistant(message, provider)
        case "tool":
            yield _tool_result(message)
        case _:
            yield from _content(message.parts)


def _assistant(message: Message, provider: str) -> Iterator[dict[str, Any]]:
    for part in message.parts:
        match part:
            case ReasoningPart(provider=owner, signature=str(signature)) if owner == provider:
                yield _thought(part, signature)
            case TextPart(text) if text.strip():
                yield _marked(_text(text), part)
            case ImagePart() | AudioPart() | FilePart():
                raise UnsupportedMedia("An assistant message holds text only.", field="input")
    for call in message.tool_calls:
        yield {"type": "tool_use", "id": _id(call.call_id), "name": call.name, "input": arguments_of(call)}


def _thought(part: ReasoningPart, signature: str) -> dict[str, Any]:
    if part.id == REDACTED:
        return {"type": REDACTED, "data": signature}
    return {"type": "thinking", "thinking": part.text, "signature": signature}


def _tool_result(message: Message) -> dict[str, Any]:
    words = [part for part in message.parts if isinstance(part, TextPart)]
    only = len(words) == len(message.parts)
    sent = {
        "type": "tool_result",
        "tool_use_id": _id(message.tool_call_id or ""),
        "content": message.text if only else list(_content(message.parts)),
    }
    return _marked(sent, words[-1]) if only and words else sent


def _content(parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
    for part in parts:
        match part:
            # Anthropic refuses blank text.
            case TextPart(text) if text.strip():
                yield _marked(_text(text), part)
            case ImagePart():
                yield _marked(_image(attachment(part)), part)
            case FilePart():
                yield _marked(_file(part), part)
            case AudioPart():
                raise UnsupportedParameter("Anthropic takes no audio; send its transcript.", field="input")


def _marked(block: dict[str, Any], made_of: TextPart | ImagePart | FilePart | FunctionTool) -> dict[str, Any]:
    return block if made_of.cache is None else {**block, "cache_control": dict(made_of.cache)}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _image(image: Attachment) -> dict[str, Any]:
    if image.url:
        return {"type": "image", "source": {"type": "url", "url": image.url}}
    if image.media_type not in _IMAGES:
        raise UnsupportedMedia(
            f"Anthropic takes pictures as JPEG, PNG, GIF or WebP, not {image.media_type}.", field="input"
        )
    return {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": image.data}}


def _file(part: FilePart) -> dict[str, Any]:
    file = attachment(part)
    if file.media_type.startswith("image/"):
        return _image(file)
    titled = {"title": part.name} if part.name else {}
    return {"type": "document", "source": _document(file), **titled}


def _document(file: Attachment) -> dict[str, Any]:
    if file.url:
        return {"type": "url", "url": file.url}
    if file.media_type == "application/pdf":
        return {"type": "base64", "media_type": file.media_type, "data": file.data}
    if file.media_type.startswith("text/") or file.media_type == "application/json":
        return {"type": "text", "media_type": "text/plain", "data": _decoded(file.data)}
    raise UnsupportedMedia(f"Anthropic reads PDF and text, not {file.media_type}.", field="input")


def _decoded(data: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidRequest("The data of a text file must be UTF-8 text in base64.", field="input") from None


def _id(call_id: str) -> str:
    """The id as Anthropic takes it: the same in every request, and never that of another call."""
    made = _NOT_IN_IDS.sub("_", call_id)
    if made == call_id:
        return call_id
    return f"{made}_{hashlib.sha256(call_id.encode(errors='surrogatepass')).hexdigest()[:10]}"


def _sampling(request: ChatRequest, thought: Thinking) -> dict[str, Any]:
    # 1 stands for sampling as the model does it anyway, and can be left out.
    temperature = None if request.temperature == 1 else request.temperature
    top_p = None if request.top_p == 1 else request.top_p
    if thought.on and temperature is not None:
        raise UnsupportedParameter("Claude takes no temperature while it reasons; leave it out.", field="temperature")
    if (temperature, top_p) != (None, None) and generation_of(request.model) == "adaptive":
        field = "top_p" if temperature is None else "temperature"
        raise UnsupportedParameter(f"{request.model} takes no {field} any more; leave it out.", field=field)
    fields = {
        "temperature": temperature,
        "top_p": top_p,
        "top_k": None if thought.on or generation_of(request.model) == "adaptive" else request.top_k or None,
        "stop_sequences": list(request.stop) or None,
        "metadata": {"user_id": request.user} if request.user else None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _tools(request: ChatRequest, thought: Thinking) -> dict[str, Any]:
    if not request.tools:
        return {}
    choice = request.tool_choice
    if thought.on and choice and choice.mode in ("required", "function"):
        raise UnsupportedParameter("Claude cannot be made to call a tool while it reasons.", field="tool_choice")
    fields: dict[str, Any] = {"tools": [_tool(tool) for tool in request.tools]}
    if choice or request.parallel_tool_calls is False:
        fields["tool_choice"] = _tool_choice(choice or ToolChoice(mode="auto"), request.parallel_tool_calls)
    return fields


def _tool(tool: FunctionTool | WebSearch) -> dict[str, Any]:
    if isinstance(tool, WebSearch):
        return {"type": "web_search_20250305", "name": "web_search", **tool.options}
    fields: dict[str, Any] = {"name": tool.name, "input_schema": {"type": "object", **tool.parameters}}
    if tool.description:
        fields["description"] = tool.description
    if tool.strict is not None:
        fields["strict"] = tool.strict
    return _marked(fields, tool)


def _tool_choice(choice: ToolChoice, parallel: bool | None) -> dict[str, Any]:
    one = {"disable_parallel_tool_use": True} if parallel is False else {}
    match choice.mode:
        case "none":
            return {"type": "none"}
        case "auto":
            return {"type": "auto", **one}
        case "required":
            return {"type": "any", **one}
        case "function":
            return {"type": "tool", "name": choice.name or "", **one}


def _output(wanted: ResponseFormat | None, effort: str | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"effort": effort} if effort else {}
    if wanted is None or wanted.kind == "text":
        return fields
    if wanted.schema is None:
        field = "response_format"
        if wanted.kind == "json":
            raise UnsupportedParameter("Anthropic needs a schema for JSON; use a json_schema.", field=field)
        raise InvalidRequest("A response_format of json_schema needs a schema.", field=field)
    return {**fields, "format": {"type": "json_schema", "schema": wanted.schema}}


def _is_marked(body: dict[str, Any]) -> bool:
    """Whether the client has marked the body for the cache itself."""
    blocks = (block for message in body["messages"] for block in message["content"])
    return any("cache_control" in block for block in (*body.get("system", ()), *body.get("tools", ()), *blocks))


def _mark_cache(body: dict[str, Any]) -> None:
    """Mark the end of what stays the same between turns: tools and system, and the conversation so far."""
    if stable := body.get("system") or body.get("tools"):
        stable[-1] = {**stable[-1], "cache_control": _EPHEMERAL}
    for message in reversed(body["messages"]):
        if message["role"] == "user":
            content = message["content"]
            content[-1] = {**content[-1], "cache_control": _EPHEMERAL}
            return
