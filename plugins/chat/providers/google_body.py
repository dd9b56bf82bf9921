"""A chat request as the body of Gemini's generateContent (types: `google.genai.types`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    ToolCall,
    ToolChoice,
    UnsupportedMedia,
    UnsupportedParameter,
    WebSearch,
)
from plugins.chat.providers.conversation import arguments_of, attachment, system_texts, turns, with_options
from plugins.chat.providers.google_thinking import takes_levels, thinking_config

UNSIGNED = "skip_thought_signature_validator"
"""What Google wants as the signature of a call that Gemini did not make; without one Gemini 3 refuses the request."""

_ROLES = {"assistant": "model", "user": "user"}
_MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "function": "ANY"}
_AUDIO_TYPES = {"mp3": "audio/mpeg", "m4a": "audio/mp4", "pcm16": "audio/pcm"}


def google_body(request: ChatRequest, provider: str) -> dict[str, Any]:
    """The body; `provider` tells which reasoning in the messages is Gemini's.

    Raises `UnsupportedParameter` for what Gemini has no field for. `user` has none either, and changes no answer.
    """
    if request.parallel_tool_calls is False:
        raise UnsupportedParameter("Gemini cannot be kept from parallel calls.", field="parallel_tool_calls")
    body: dict[str, Any] = {"contents": list(_contents(request, provider)), **_tools(request)}
    if system := system_texts(request):
        body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    if config := _generation_config(request):
        body["generationConfig"] = config
    return with_options(body, request.provider_options)


def _contents(request: ChatRequest, provider: str) -> Iterator[dict[str, Any]]:
    names = {call.call_id: call.name for message in request.messages for call in message.tool_calls}
    signed = takes_levels(request.model)
    for role, run in turns(request.messages):
        parts: list[dict[str, Any]] = []
        for message in run:
            match message.role:
                case "assistant":
                    parts += _model_parts(message, provider, signed)
                case "tool":
                    parts.append(_function_response(message, names))
                case _:
                    parts += _content(message.parts)
        if parts:
            yield {"role": _ROLES[role], "parts": parts}


def _model_parts(message: Message, provider: str, signed: bool) -> list[dict[str, Any]]:
    """The parts of one step, each with the signature that it came with."""
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case TextPart(text) if text:
                parts.append({"text": text})
            case ReasoningPart(provider=owner, signature=str(signature)) if owner == provider:
                _sign(parts, part.text, signature)
            case ImagePart() | AudioPart() | FilePart():
                raise UnsupportedMedia("An assistant message holds text only.", field="input")
    for number, call in enumerate(message.tool_calls):
        # Of parallel calls only the first is signed.
        parts.append(_function_call(call, call.signature or (UNSIGNED if signed and number == 0 else None)))
    return parts


def _sign(parts: list[dict[str, Any]], thought: str, signature: str) -> None:
    """Put a signature back where it was: on thinking of its own, or on the text before it."""
    if thought:
        parts.append({"text": thought, "thought": True, "thoughtSignature": signature})
    elif parts and "thoughtSignature" not in parts[-1]:
        parts[-1]["thoughtSignature"] = signature
    else:
        parts.append({"text": "", "thoughtSignature": signature})


def _function_call(call: ToolCall, signature: str | None) -> dict[str, Any]:
    sent: dict[str, Any] = {"functionCall": {"id": call.call_id, "name": call.name, "args": arguments_of(call)}}
    return {**sent, "thoughtSignature": signature} if signature else sent


def _function_response(message: Message, names: Mapping[str, str]) -> dict[str, Any]:
    identity = message.tool_call_id or ""
    name = names.get(identity) or message.name
    if not name:
        raise InvalidRequest(
            f"A tool message answers the call {identity!r}, which no assistant message before it makes.",
            field="input",
        )
    sent: dict[str, Any] = {"id": identity, "name": name, "response": {"output": message.text}}
    if media := [part for part in message.parts if not isinstance(part, TextPart)]:
        sent["parts"] = list(_content(media))
    return {"functionResponse": sent}


def _content(parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
    for part in parts:
        match part:
            case TextPart(text) if text:
                yield {"text": text}
            case ImagePart() | FilePart():
                yield _media(part)
            case AudioPart():
                media_type = _AUDIO_TYPES.get(part.format, f"audio/{part.format}")
                yield {"inlineData": {"mimeType": media_type, "data": part.data}}


def _media(part: ImagePart | FilePart) -> dict[str, Any]:
    media = attachment(part)
    if media.url:
        return {"fileData": {"mimeType": media.media_type, "fileUri": media.url}}
    return {"inlineData": {"mimeType": media.media_type, "data": media.data}}


def _tools(request: ChatRequest) -> dict[str, Any]:
    functions = [tool for tool in request.tools if isinstance(tool, FunctionTool)]
    tools: list[dict[str, Any]] = [
        {"googleSearch": dict(tool.options)} for tool in request.tools if isinstance(tool, WebSearch)
    ]
    if functions:
        tools.insert(0, {"functionDeclarations": [_function(tool) for tool in functions]})
    fields: dict[str, Any] = {"tools": tools} if tools else {}
    # Without functions there is nothing to choose from.
    if functions and (config := _calling(request.tool_choice, strict=any(tool.strict for tool in functions))):
        fields["toolConfig"] = {"functionCallingConfig": config}
    return fields


def _function(tool: FunctionTool) -> dict[str, Any]:
    sent: dict[str, Any] = {"name": tool.name, "description": tool.description}
    return {**sent, "parametersJsonSchema": tool.parameters} if tool.parameters else sent


def _calling(choice: ToolChoice | None, *, strict: bool) -> dict[str, Any]:
    if choice is None or choice.mode == "auto":
        # The mode in which arguments are held to their schema.
        return {"mode": "VALIDATED"} if strict else {}
    named = {"allowedFunctionNames": [choice.name or ""]} if choice.mode == "function" else {}
    return {"mode": _MODES[choice.mode], **named}


def _generation_config(request: ChatRequest) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "topK": request.top_k or None,
        "stopSequences": list(request.stop) or None,
        "seed": request.seed,
        "maxOutputTokens": request.max_output_tokens,
        "candidateCount": request.n if request.n > 1 else None,
        "responseLogprobs": True if request.logprobs is not None else None,
        "logprobs": request.logprobs or None,
        "thinkingConfig": (thinking_config(request.reasoning, request.model) or None) if request.reasoning else None,
        **_format(request.response_format),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _format(wanted: ResponseFormat | None) -> dict[str, Any]:
    if wanted is None or wanted.kind == "text":
        return {}
    if wanted.kind == "json":
        return {"responseMimeType": "application/json"}
    if wanted.schema is None:
        raise InvalidRequest("A response_format of json_schema needs a schema.", field="response_format")
    return {"responseMimeType": "application/json", "responseJsonSchema": wanted.schema}
