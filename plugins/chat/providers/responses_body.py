"""A chat request as the body of OpenAI's Responses (types: `openai.types.responses.response_create_params`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from engine.api import (
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
    UnsupportedMedia,
    UnsupportedParameter,
    WebSearch,
)
from plugins.vendors.chat_body import check_tool_choice, named_schema, with_options
from plugins.vendors.content import file_data, file_name, image_url
from plugins.vendors.dialect import effort_of_budget

# The families that think. To any other the request for its encrypted thinking is an error.
_THINKING = re.compile(r"(?:o\d|gpt-[5-9])(?!.*-chat)")

CHAT_COMPLETIONS_FIELDS = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "modalities",
        "n",
        "prediction",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "verbosity",
        "web_search_options",
    }
)
"""Fields of Chat Completions that Responses does not have, by any name or by this one."""


def responses_body(request: ChatRequest, provider: str) -> dict[str, Any]:
    """The body, for a streamed answer that OpenAI does not keep; so its thinking comes back to us, encrypted.

    `provider` tells which reasoning in the messages is OpenAI's. Raises `UnsupportedParameter` for what only Chat
    Completions can do.
    """
    if (field := chat_completions_only(request)) is not None:
        raise UnsupportedParameter(f"OpenAI's Responses API has no {field}; Chat Completions does.", field=field)
    body: dict[str, Any] = {
        "model": request.model,
        "input": list(_input(request.messages, provider)),
        "stream": True,
        "store": False,
        **_sampling(request),
        **_tools(request),
    }
    if request.reasoning:
        body["reasoning"] = _reasoning(request.reasoning)
    if request.reasoning or _THINKING.match(request.model):
        body["include"] = ["reasoning.encrypted_content"]
    if request.response_format:
        body["text"] = {"format": _format(request.response_format)}
    return with_options(body, request)


def chat_completions_only(request: ChatRequest) -> str | None:
    """The field of the request that Responses cannot serve, if there is one."""
    asked = {
        "n": request.n > 1,
        "stop": bool(request.stop),
        "seed": request.seed is not None,
        "logprobs": request.logprobs is not None,
        "audio": any(isinstance(part, AudioPart) for message in request.messages for part in message.parts),
    }
    native = (f"provider_options.{field}" for field in request.provider_options if field in CHAT_COMPLETIONS_FIELDS)
    return next((field for field, wanted in asked.items() if wanted), None) or next(native, None)


def _input(messages: Sequence[Message], provider: str) -> Iterator[dict[str, Any]]:
    for message in messages:
        match message.role:
            case "assistant":
                yield from _assistant(message, provider)
            case "tool":
                yield {
                    "type": "function_call_output",
                    "call_id": message.tool_call_id or "",
                    "output": _content(message.parts),
                }
            case role:
                yield {"role": role, "content": _content(message.parts)}


def _assistant(message: Message, provider: str) -> Iterator[dict[str, Any]]:
    """The items of one step in the order in which the model gave them: thinking, words, calls."""
    for part in message.parts:
        if isinstance(part, ReasoningPart) and part.provider == provider and part.signature:
            yield {
                "type": "reasoning",
                "id": part.id or "",
                "summary": [{"type": "summary_text", "text": part.text}] if part.text else [],
                "encrypted_content": part.signature,
            }
    if any(not isinstance(part, TextPart | ReasoningPart) for part in message.parts):
        raise UnsupportedMedia("An assistant message holds text only.", field="input")
    if message.text:
        yield {"role": "assistant", "content": message.text}
    for call in message.tool_calls:
        yield {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}


def _content(parts: Sequence[Part]) -> str | list[dict[str, Any]]:
    if all(isinstance(part, TextPart) for part in parts) and len(parts) <= 1:
        return "".join(part.text for part in parts if isinstance(part, TextPart))
    return [_part(part) for part in parts if not isinstance(part, ReasoningPart)]


def _part(part: TextPart | ImagePart | AudioPart | FilePart) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "input_text", "text": part.text}
        case ImagePart():
            return {"type": "input_image", "image_url": image_url(part), "detail": part.detail or "auto"}
        case FilePart(url=str(url)):
            return {"type": "input_file", "file_url": url}
        case FilePart():
            return {"type": "input_file", "file_data": file_data(part), "filename": file_name(part)}
        case AudioPart():
            raise UnsupportedMedia("OpenAI's Responses API takes no audio; Chat Completions does.", field="input")


def _sampling(request: ChatRequest) -> dict[str, Any]:
    fields = {
        "instructions": request.instructions or None,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_output_tokens": request.max_output_tokens,
        "user": request.user,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _tools(request: ChatRequest) -> dict[str, Any]:
    check_tool_choice(request)
    if not request.tools:
        return {}
    fields: dict[str, Any] = {"tools": [_tool(tool) for tool in request.tools]}
    if request.tool_choice:
        fields["tool_choice"] = _tool_choice(request.tool_choice)
    if request.parallel_tool_calls is not None:
        fields["parallel_tool_calls"] = request.parallel_tool_calls
    return fields


def _tool(tool: FunctionTool | WebSearch) -> dict[str, Any]:
    if isinstance(tool, WebSearch):
        return {"type": "web_search", **tool.options}
    described = {"description": tool.description} if tool.description else {}
    return {
        "type": "function",
        "name": tool.name,
        **described,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
        # Responses takes a missing value for true, which forbids most schemas; Chat Completions for false.
        "strict": bool(tool.strict),
    }


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    return {"type": "function", "name": choice.name or ""} if choice.mode == "function" else choice.mode


def _reasoning(reasoning: Reasoning) -> dict[str, Any]:
    effort = reasoning.effort or (effort_of_budget(reasoning.budget) if reasoning.budget is not None else None)
    fields: dict[str, Any] = {"effort": effort} if effort else {}
    return {**fields, "summary": "auto"} if reasoning.summary and effort != "none" else fields


def _format(wanted: ResponseFormat) -> dict[str, Any]:
    match wanted.kind:
        case "text":
            return {"type": "text"}
        case "json":
            return {"type": "json_object"}
        case "json_schema":
            return {"type": "json_schema", **named_schema(wanted)}
