"""A Chat Completions request as the engine's own command, `chat.send`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.api import InvalidRequest, Target, UnsupportedParameter
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
from plugins.openai_api.hints import Hints, Rules, thinks

# What has no counterpart, and what to do instead.
REFUSED = {
    "functions": "send `tools` instead",
    "function_call": "send `tool_choice` instead",
    "audio": "spoken answers are not given here",
    "stream_options.include_obfuscation": "chunks are never padded; leave it out or say false",
}

# Values with which many clients say that they want nothing; some vendors refuse the mere field.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "service_tier": ("auto",),
}

RULES = Rules(demands={}, neutral=NEUTRAL)

# Fields of OpenAI and its imitators that say nothing to a vendor of another dialect. A field that is not among them may be
# that vendor's own, and goes to it as it is.
ONLY_HERE = frozenset(
    {
        "chat_template_kwargs",
        "frequency_penalty",
        "include_reasoning",
        "logit_bias",
        "min_p",
        "moderation",
        "plugins",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "provider",
        "reasoning",
        "reasoning_format",
        "repetition_penalty",
        "route",
        "safety_identifier",
        "service_tier",
        "top_a",
        "top_k",
        "transforms",
        "usage",
        "verbosity",
    }
)


def chat_send(
    body: ChatCompletionsBody, model: str | None, target: Target | None = None, hints: Hints | None = None
) -> dict[str, Any]:
    """The fields of `chat.send`; `model` is the engine's name for the model, `target` what answers first.

    The turn is not kept unless `store` says so, no tool of the server is offered, and it ends with the calls of the
    client's tools. Messages keep their places, so that an error in `input.2` is one in `messages.2`. Fields that are
    none of ours become `provider_options`: a vendor that speaks this dialect gets them as they came; for any other one,
    those of this dialect are dropped. Raises `UnsupportedParameter` or `InvalidRequest` that names the field; what was
    dropped is in `hints`.
    """
    hints = hints or Hints()
    _refuse(body)
    _judge(body, target, hints)
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
        "reasoning": _reasoning(body, target, hints),
        "top_k": _top_k(body) if _is_foreign(target) else None,
        "logprobs": (body.top_logprobs or 0) if body.logprobs else None,
        "metadata": body.metadata,
        "user": body.user,
        "provider_options": passed_on(body, target) or None,
    }
    return {
        "input": [_message(message, f"messages.{at}") for at, message in enumerate(body.messages)],
        "store": bool(body.store),
        "client_tools": "return",
        "server_tools": [],
        **{name: value for name, value in fields.items() if value is not None},
    }


def passed_on(body: ChatCompletionsBody, target: Target | None = None) -> dict[str, Any]:
    """The fields that go to the vendor as they are."""
    given = body.model_extra or {}
    left_out = ONLY_HERE if _is_foreign(target) else frozenset()
    return {
        name: value
        for name, value in given.items()
        if value is not None and name not in left_out and value not in NEUTRAL.get(name, ())
    }


def _is_foreign(target: Target | None) -> bool:
    """Whether the vendor is known to speak another dialect than this one."""
    return target is not None and target.lacks("chat_completions")


def _judge(body: ChatCompletionsBody, target: Target | None, hints: Hints) -> None:
    for name, value in (body.model_extra or {}).items():
        taken = name == "top_k" and isinstance(value, int)
        asks = value is not None and value not in NEUTRAL.get(name, ())
        if asks and not taken and name in ONLY_HERE and _is_foreign(target):
            hints.drop(name)
    for name, each in _parts(body):
        hints.judge(each, RULES, at=name)
    if body.stream_options is not None and not body.stream:
        hints.drop("stream_options")
    if target is not None and not target.takes("cache_control"):
        for name, marked in _marks(body):
            if marked:
                hints.drop(f"{name}.cache_control")


def _parts(body: ChatCompletionsBody) -> Iterator[tuple[str, Any]]:
    """What the body holds, but not the fields at its top."""
    for name, value in body.__dict__.items():
        for at, each in enumerate(value) if isinstance(value, list) else ():
            yield f"{name}.{at}.", each
        if not isinstance(value, list):
            yield f"{name}.", value


def _marks(body: ChatCompletionsBody) -> Iterator[tuple[str, Any]]:
    """Where the request marks something for the prompt cache."""
    for at, tool in enumerate(body.tools or ()):
        yield f"tools.{at}", tool.cache_control
    for at, message in enumerate(body.messages):
        yield f"messages.{at}", message.cache_control
        for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
            yield f"messages.{at}.content.{number}", getattr(part, "cache_control", None)


def _top_k(body: ChatCompletionsBody) -> int | None:
    given = (body.model_extra or {}).get("top_k")
    return given if isinstance(given, int) and given > 0 else None


def _reasoning(body: ChatCompletionsBody, target: Target | None, hints: Hints) -> str | None:
    effort = body.reasoning_effort
    if target is not None and not thinks(target):
        if effort not in (None, "none"):
            hints.drop("reasoning_effort")
        return None
    # The engine's hardest effort has one name.
    return "max" if effort == "xhigh" else effort


def _refuse(body: ChatCompletionsBody) -> None:
    given = {name for name, value in (body.model_extra or {}).items() if value is not None}
    if body.stream and body.stream_options is not None and body.stream_options.include_obfuscation:
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
    if message.cache_control:
        sent["content"] = _marked(sent["content"], message.cache_control)
    return {**sent, "name": message.name} if message.name else sent


def _marked(content: str | list[dict[str, Any]], mark: dict[str, Any]) -> str | list[dict[str, Any]]:
    """The mark of a whole message is that of its last part."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [*parts[:-1], {**parts[-1], "cache_control": mark}] if parts and parts[-1].get("text", "…") else content


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
            return {"type": "text", "text": part.text, **_mark(part)}
        case ImageContent():
            detail = {"detail": part.image_url.detail} if part.image_url.detail else {}
            return {"type": "image", "url": part.image_url.url, **detail, **_mark(part)}
        case AudioContent():
            return {"type": "audio", "data": part.input_audio.data, "format": part.input_audio.format}
        case FileContent():
            return {**_file(part, field), **_mark(part)}


def _mark(part: TextContent | ImageContent | FileContent) -> dict[str, Any]:
    return {"cache_control": part.cache_control} if part.cache_control else {}


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
    known = {"name", "description", "parameters", "strict"}
    mark = {"cache_control": tool.cache_control} if tool.cache_control else {}
    return {"type": "function", **tool.function.model_dump(include=known, exclude_none=True), **mark}


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
        if wanted.json_schema:
            return {"type": "json_schema", "schema": wanted.json_schema}
        return {"type": "json"}
    return None
