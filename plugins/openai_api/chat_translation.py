"""A Chat Completions request as the engine's own command, `chat.send`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.api import InvalidRequest, UnsupportedParameter
from plugins.openai_api.chat_bodies import (
    AssistantContent,
    AssistantMessage,
    AudioContent,
    ChatCompletionsBody,
    ChatMessage,
    FileContent,
    FunctionTool,
    ImageContent,
    JsonObjectFormat,
    JsonSchemaFormat,
    MessageToolCall,
    NamedToolChoice,
    TextContent,
    ToolMessage,
    UserContent,
)

# What has no counterpart, and what to do instead.
REFUSED = {
    "functions": "send `tools` instead",
    "function_call": "send `tool_choice` instead",
    "audio": "spoken answers are not given here",
    "stream_options.include_obfuscation": "chunks are never padded; leave it out or say false",
}

# Values with which many clients say that they want nothing; some vendors refuse the mere field.
NEUTRAL: Mapping[str, Sequence[Any]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "service_tier": ("auto",),
}


def chat_send(body: ChatCompletionsBody, model: str | None) -> dict[str, Any]:
    """The fields of `chat.send`; `model` is the engine's name for the model.

    The turn is not kept unless `store` says so, no tool of the server is offered, and it ends with the calls of the
    client's tools. Messages keep their places, so that an error in `input.2` is one in `messages.2`. Fields that are
    none of ours become `provider_options`: a vendor that speaks this dialect gets them as they came, and any other one
    refuses them by name. Raises `UnsupportedParameter` or `InvalidRequest` that names the field.
    """
    _refuse(body)
    fields = {
        "model": model,
        "tools": _tools(body),
        "tool_choice": _tool_choice(body),
        "parallel_tool_calls": body.parallel_tool_calls,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "n": body.n,
        "seed": body.seed,
        "stop": body.stop,
        "max_output_tokens": _max_tokens(body),
        "response_format": _response_format(body),
        # The engine's hardest effort has one name.
        "reasoning": "max" if body.reasoning_effort == "xhigh" else body.reasoning_effort,
        "logprobs": (body.top_logprobs or 0) if body.logprobs else None,
        "metadata": body.metadata,
        "user": body.user,
        "provider_options": passed_on(body) or None,
    }
    return {
        "input": [_message(message, f"messages.{at}") for at, message in enumerate(body.messages)],
        "store": bool(body.store),
        "client_tools": "return",
        "server_tools": [],
        **{name: value for name, value in fields.items() if value is not None},
    }


def passed_on(body: ChatCompletionsBody) -> dict[str, Any]:
    """The fields that go to the vendor as they are."""
    given = body.model_extra or {}
    return {name: value for name, value in given.items() if value is not None and value not in NEUTRAL.get(name, ())}


def _refuse(body: ChatCompletionsBody) -> None:
    given = {name for name, value in (body.model_extra or {}).items() if value is not None}
    if body.stream_options is not None:
        if not body.stream:
            raise InvalidRequest("stream_options go with stream: true only", field="stream_options")
        if body.stream_options.include_obfuscation:
            given.add("stream_options.include_obfuscation")
    for name, advice in REFUSED.items():
        if name in given:
            raise UnsupportedParameter(f"{name} is not taken here; {advice}", field=name)
    if body.modalities not in (None, [], ["text"]):
        raise UnsupportedParameter('answers are text; say ["text"] or leave modalities out', field="modalities")
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidRequest("top_logprobs go with logprobs: true only", field="top_logprobs")


def _max_tokens(body: ChatCompletionsBody) -> int | None:
    old, new = body.max_tokens, body.max_completion_tokens
    if old is not None and new is not None and old != new:
        raise InvalidRequest(
            "max_tokens and max_completion_tokens say two things; send max_completion_tokens alone", field="max_tokens"
        )
    return old if new is None else new


def _message(message: ChatMessage, field: str) -> dict[str, Any]:
    sent: dict[str, Any] = {"role": message.role}
    if isinstance(message, AssistantMessage):
        sent["content"] = _said(message)
        if message.tool_calls:
            sent["tool_calls"] = [_call(call) for call in message.tool_calls]
    elif isinstance(message.content, str):
        sent["content"] = message.content
    else:
        sent["content"] = [_part(part, f"{field}.content.{at}") for at, part in enumerate(message.content)]
    if isinstance(message, ToolMessage):
        sent["tool_call_id"] = message.tool_call_id
    return {**sent, "name": message.name} if message.name else sent


def _said(message: AssistantMessage) -> str:
    if isinstance(message.content, str):
        return message.content or message.refusal or ""
    return "".join(map(_words, message.content or ())) or message.refusal or ""


def _words(part: AssistantContent) -> str:
    return part.text if isinstance(part, TextContent) else part.refusal


def _call(call: MessageToolCall) -> dict[str, Any]:
    sent = {"call_id": call.id, "name": call.function.name, "arguments": call.function.arguments}
    google = call.extra_content.google if call.extra_content else None
    return {**sent, "signature": google.thought_signature} if google and google.thought_signature else sent


def _part(part: UserContent, field: str) -> dict[str, Any]:
    match part:
        case TextContent():
            return {"type": "text", "text": part.text}
        case ImageContent():
            detail = {"detail": part.image_url.detail} if part.image_url.detail else {}
            return {"type": "image", "url": part.image_url.url, **detail}
        case AudioContent():
            return {"type": "audio", "data": part.input_audio.data, "format": part.input_audio.format}
        case FileContent():
            return _file(part, field)


def _file(part: FileContent, field: str) -> dict[str, Any]:
    source = part.file
    if source.file_id is not None:
        raise UnsupportedParameter(
            "no uploaded files are kept here; send the content as file_data", field=f"{field}.file.file_id"
        )
    if source.file_data is None:
        raise InvalidRequest(f"{field}.file.file_data is required", field=f"{field}.file.file_data")
    name = {"name": source.filename} if source.filename else {}
    return {"type": "file", "url" if source.file_data.startswith("data:") else "data": source.file_data, **name}


def _tools(body: ChatCompletionsBody) -> list[dict[str, Any]] | None:
    tools = [_tool(tool) for tool in body.tools or ()]
    if body.web_search_options is not None:
        tools.append({"type": "web_search", "options": body.web_search_options})
    return tools or None


def _tool(tool: FunctionTool) -> dict[str, Any]:
    return {"type": "function", **tool.function.model_dump(exclude_none=True)}


def _tool_choice(body: ChatCompletionsBody) -> str | dict[str, str] | None:
    choice = body.tool_choice
    if not body.tools:
        if choice == "required" or isinstance(choice, NamedToolChoice):
            raise InvalidRequest("tool_choice demands a call, and there are no tools", field="tool_choice")
        return None
    return {"name": choice.function.name} if isinstance(choice, NamedToolChoice) else choice


def _response_format(body: ChatCompletionsBody) -> dict[str, Any] | None:
    wanted = body.response_format
    if isinstance(wanted, JsonSchemaFormat):
        given = wanted.json_schema
        # A schema says of itself what it is for.
        told = {"description": given.description} if given.description else {}
        strict = {} if given.strict is None else {"strict": given.strict}
        return {"type": "json_schema", "name": given.name, "schema": {**told, **given.json_schema}, **strict}
    if isinstance(wanted, JsonObjectFormat):
        return {"type": "json"}
    return None
