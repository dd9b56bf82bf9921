"""A chat request as the body of Chat Completions (types: `openai.types.chat.completion_create_params`)."""

from __future__ import annotations

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
    Reasoning,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    ToolCall,
    ToolChoice,
    UnsupportedMedia,
    UnsupportedParameter,
    WebSearch,
)
from plugins.vendors.content import file_data, file_name, image_url, input_audio
from plugins.vendors.dialect import Dialect, effort_of_budget, nearest_effort


def chat_body(request: ChatRequest, dialect: Dialect, provider: str) -> dict[str, Any]:
    """The body, always for a streamed answer; `provider` tells which reasoning in the messages is the vendor's own.

    Raises `UnsupportedParameter` where the vendor has no field for what is asked.
    """
    body: dict[str, Any] = {
        "model": request.model,
        "messages": list(_messages(request, dialect, provider)),
        "stream": True,
        **_sampling(request, dialect),
        **_tools(request, dialect),
    }
    if dialect.include_usage:
        body["stream_options"] = {"include_usage": True}
    if request.reasoning:
        body |= _reasoning(request.reasoning, dialect)
    if request.response_format:
        body["response_format"] = response_format(request.response_format)
    return with_options(body, request)


def with_options(body: dict[str, Any], request: ChatRequest) -> dict[str, Any]:
    """The body with `provider_options` laid over it; they win, except that answers are always streamed."""
    if request.provider_options.get("stream", True) is not True:
        raise InvalidRequest(
            "Answers of a vendor are always streamed; leave provider_options.stream out.",
            field="provider_options.stream",
        )
    return {**body, **request.provider_options}


def _messages(request: ChatRequest, dialect: Dialect, provider: str) -> Iterator[dict[str, Any]]:
    if request.instructions:
        yield {"role": "system", "content": request.instructions}
    # What tools answered besides words; it follows the run of their answers, which nothing may interrupt.
    attached: list[Part] = []
    for message in request.messages:
        if attached and message.role not in ("tool", "user"):
            yield {"role": "user", "content": _content(attached, dialect)}
            attached = []
        match message.role:
            case "assistant":
                yield _assistant(message, dialect, provider)
            case "tool":
                sent, others = _result(message)
                yield sent
                attached += others
            case "system" | "developer" as role:
                named = role if dialect.developer_role else "system"
                yield _named({"role": named, "content": _words(message.parts, dialect, f"a {role} message")}, message)
            case "user":
                parts = (*attached, *message.parts)
                attached = []
                yield _named({"role": "user", "content": _content(parts, dialect)}, message)
    if attached:
        yield {"role": "user", "content": _content(attached, dialect)}


def _result(message: Message) -> tuple[dict[str, Any], list[Part]]:
    """A tool's answer, and what of it must follow in a user's message: a tool's message holds text only."""
    identity = message.tool_call_id or ""
    others: list[Part] = [part for part in message.parts if not isinstance(part, TextPart | ReasoningPart)]
    text = message.text
    if others:
        note = f"[{len(others)} attached to this result: see the next message of the user.]"
        text = f"{text}\n{note}" if text else note
        others.insert(0, TextPart(f"[Attached to the result of the tool call {identity}:]"))
    return {"role": "tool", "tool_call_id": identity, "content": text}, others


def _assistant(message: Message, dialect: Dialect, provider: str) -> dict[str, Any]:
    thoughts = [part for part in message.parts if isinstance(part, ReasoningPart)]
    text = _only_text([part for part in message.parts if not isinstance(part, ReasoningPart)], "an assistant message")
    # A message of calls alone has no text, which is null and not empty.
    sent: dict[str, Any] = {"role": "assistant", "content": text if text or not message.tool_calls else None}
    if message.tool_calls:
        sent["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    if dialect.reasoning_back and (own := "".join(part.text for part in thoughts if part.provider == provider)):
        sent[dialect.reasoning_back] = own
    return _named(sent, message)


def _named(sent: dict[str, Any], message: Message) -> dict[str, Any]:
    return {**sent, "name": message.name} if message.name else sent


def _tool_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _only_text(parts: Sequence[Part], where: str) -> str:
    if any(not isinstance(part, TextPart) for part in parts):
        raise UnsupportedMedia(f"Over Chat Completions, {where} holds text only.", field="input")
    return "".join(part.text for part in parts if isinstance(part, TextPart))


def _words(parts: Sequence[Part], dialect: Dialect, where: str) -> str | list[dict[str, Any]]:
    """Text alone; as parts where one is marked for the cache of a vendor that takes marks."""
    text = _only_text(parts, where)
    marked = dialect.cache_control and any(isinstance(part, TextPart) and part.cache for part in parts)
    return _content(parts, dialect) if marked else text


def _content(parts: Sequence[Part], dialect: Dialect) -> str | list[dict[str, Any]]:
    if len(parts) == 1 and isinstance(parts[0], TextPart) and not (dialect.cache_control and parts[0].cache):
        return parts[0].text
    if not parts:
        return ""
    return [_marked(part, dialect) for part in parts if not isinstance(part, ReasoningPart)]


def _marked(part: TextPart | ImagePart | AudioPart | FilePart, dialect: Dialect) -> dict[str, Any]:
    sent = _part(part)
    if dialect.cache_control and not isinstance(part, AudioPart) and part.cache is not None:
        sent["cache_control"] = dict(part.cache)
    return sent


def _part(part: TextPart | ImagePart | AudioPart | FilePart) -> dict[str, Any]:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart():
            detail = {"detail": part.detail} if part.detail else {}
            return {"type": "image_url", "image_url": {"url": image_url(part), **detail}}
        case AudioPart():
            return {"type": "input_audio", "input_audio": input_audio(part)}
        case FilePart():
            if part.url:
                raise UnsupportedMedia(
                    "Chat Completions takes no file by address; send its content as data.", field="input"
                )
            return {"type": "file", "file": {"file_data": file_data(part), "filename": file_name(part)}}


def _sampling(request: ChatRequest, dialect: Dialect) -> dict[str, Any]:
    fields = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": list(request.stop) or None,
        dialect.seed: request.seed,
        "top_k": request.top_k if dialect.top_k else None,
        "n": request.n if request.n > 1 else None,
        dialect.max_tokens: request.max_output_tokens,
        "logprobs": True if request.logprobs is not None else None,
        "top_logprobs": request.logprobs or None,
        "user": request.user,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _tools(request: ChatRequest, dialect: Dialect) -> dict[str, Any]:
    check_tool_choice(request)
    fields: dict[str, Any] = {}
    for search in (tool for tool in request.tools if isinstance(tool, WebSearch)):
        fields |= _web_search(search, dialect)
    if functions := [_function(tool, dialect) for tool in request.tools if isinstance(tool, FunctionTool)]:
        fields["tools"] = functions
        # Vendors refuse both fields where there is no tool.
        if request.tool_choice:
            fields["tool_choice"] = _tool_choice(request.tool_choice)
        if request.parallel_tool_calls is not None:
            fields["parallel_tool_calls"] = request.parallel_tool_calls
    return fields


def _web_search(search: WebSearch, dialect: Dialect) -> dict[str, Any]:
    match dialect.web_search:
        case "web_search_options":
            return {"web_search_options": dict(search.options)}
        case "plugin":
            return {"plugins": [{"id": "web", **search.options}]}
        case "always":
            return {"web_search_options": dict(search.options)} if search.options else {}
        case None:
            raise UnsupportedParameter("This vendor has no web search of its own over this API.", field="tools")


def _function(tool: FunctionTool, dialect: Dialect) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    mark = {"cache_control": dict(tool.cache)} if dialect.cache_control and tool.cache is not None else {}
    return {"type": "function", "function": function, **mark}


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode == "function":
        return {"type": "function", "function": {"name": choice.name or ""}}
    return choice.mode


def _reasoning(reasoning: Reasoning, dialect: Dialect) -> dict[str, Any]:
    if dialect.reasoning_object:
        return {"reasoning": {"max_tokens": reasoning.budget} if reasoning.budget else {"effort": reasoning.effort}}
    effort = reasoning.effort or (effort_of_budget(reasoning.budget) if reasoning.budget is not None else None)
    if effort is None:
        return {}
    if not dialect.efforts:
        raise UnsupportedParameter("This vendor has no setting for how hard to think.", field="reasoning")
    return {"reasoning_effort": nearest_effort(effort, dialect.efforts)}


def response_format(wanted: ResponseFormat) -> dict[str, Any]:
    """`response_format` of Chat Completions."""
    match wanted.kind:
        case "text":
            return {"type": "text"}
        case "json":
            return {"type": "json_object"}
        case "json_schema":
            return {"type": "json_schema", "json_schema": named_schema(wanted)}


def check_tool_choice(request: ChatRequest) -> None:
    """Raise `InvalidRequest` where a call is demanded and there is nothing to call, which vendors refuse."""
    if request.tool_choice and request.tool_choice.mode in ("required", "function") and not request.tools:
        raise InvalidRequest("This tool_choice demands a call, and there are no tools to call.", field="tool_choice")


def named_schema(wanted: ResponseFormat) -> dict[str, Any]:
    """Name, schema and strictness, as both chat APIs take them."""
    if wanted.schema is None:
        raise InvalidRequest("A response_format of json_schema needs a schema.", field="response_format")
    strict = {} if wanted.strict is None else {"strict": wanted.strict}
    return {"name": wanted.name, "schema": wanted.schema, **strict}
