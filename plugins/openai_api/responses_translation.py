"""A request of OpenAI's Responses as the engine's own command, `chat.send`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from engine.api import InvalidRequest, Target, UnsupportedParameter
from plugins.openai_api.hints import Hints, Rules, thinks
from plugins.openai_api.responses_bodies import (
    CustomToolCallItem,
    CustomToolDefinition,
    FunctionCallItem,
    FunctionCallOutputItem,
    FunctionToolDefinition,
    HostedTool,
    InputAudio,
    InputFile,
    InputImage,
    InputText,
    Item,
    MessageItem,
    OutputRefusal,
    OutputText,
    Part,
    ReasoningItem,
    ResponsesBody,
    ToolDefinition,
)
from plugins.openai_api.sealed import unsealed

DIALECT = "responses"

RULES = Rules(
    demands={
        "conversation": "go on with previous_response_id, or send what was said before as input",
        "prompt": "no prompts are kept here; send its text as instructions",
    },
    neutral={"service_tier": ("auto", "default"), "allowed_callers": (["direct"],)},
)

_WEB_SEARCH = "web_search"
# What an earlier answer had beside its words: the words that follow hold what came of it.
_PASSED_OVER = frozenset(
    {
        "code_interpreter_call",
        "file_search_call",
        "image_generation_call",
        "mcp_call",
        "mcp_list_tools",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
_ONE_TEXT = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
_KNOWN_INCLUDES = frozenset(
    {"reasoning.encrypted_content", "message.output_text.logprobs", "web_search_call.action.sources"}
)

Places = list[int]
"""For each message of `chat.send` the place of the first item that it was made of."""


def responses_send(
    body: ResponsesBody, model: str | None, target: Target, hints: Hints
) -> tuple[dict[str, Any], Places]:
    """The fields of `chat.send` and where its messages come from.

    No tool of the server is offered, and the turn ends with the calls of the client's tools. Raises
    `UnsupportedParameter` or `InvalidRequest` that names the field; what `target` knows nothing of is noted in `hints`.
    """
    speaks = target.speaks(DIALECT)
    _check(body, hints)
    if not speaks:
        hints.judge(body, RULES)
        if body.text is not None and body.text.verbosity not in (None, "medium"):
            hints.drop("text.verbosity")
    places: Places = []
    fields = {
        "model": model,
        "instructions": body.instructions,
        "tools": _tools(body, target, hints),
        "tool_choice": _tool_choice(body),
        "parallel_tool_calls": body.parallel_tool_calls,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "max_output_tokens": body.max_output_tokens,
        "logprobs": _logprobs(body),
        "reasoning": _reasoning(body, target, hints),
        "response_format": _response_format(body),
        "metadata": body.metadata,
        "user": body.user,
        "provider_options": (_passed_on(body) if speaks else None) or None,
    }
    sent = {
        "input": body.input if isinstance(body.input, str) else _messages(body.input or (), places),
        "store": body.store is not False,
        "client_tools": "return",
        "server_tools": [],
        **{name: value for name, value in fields.items() if value is not None},
    }
    return sent, places


def _check(body: ResponsesBody, hints: Hints) -> None:
    if not body.input:
        raise InvalidRequest("input is empty; send a text or items", field="input")
    if body.background and body.store is False:
        raise InvalidRequest("a response in the background is got by its id, so it needs store", field="store")
    for at, name in enumerate(body.include or ()):
        if name not in _KNOWN_INCLUDES:
            hints.drop(f"include.{at}")


def _passed_on(body: ResponsesBody) -> dict[str, Any]:
    """The fields that go to a vendor that speaks this dialect as they are."""
    given = {**(body.model_extra or {}), **_worded(body)}
    if body.text is not None and body.text.verbosity not in (None, "medium"):
        # The vendor takes the text's form and its verbosity in one field, so both go as they came.
        given["text"] = body.text.model_dump(by_alias=True, exclude_none=True)
    return {
        name: value for name, value in given.items() if value is not None and value not in RULES.neutral.get(name, ())
    }


def _worded(body: ResponsesBody) -> dict[str, Any]:
    """Fields of ours of which a vendor that speaks this dialect understands more than we can say."""
    given: dict[str, Any] = {"truncation": body.truncation}
    if body.reasoning is not None:
        asked = body.reasoning.model_dump(exclude_none=True)
        if asked.keys() - {"effort"} or asked.get("effort") == "xhigh":
            given["reasoning"] = asked
    return given


# Messages


def _messages(items: Sequence[Item], places: Places) -> list[dict[str, Any]]:
    """The items as messages; what the model thought, said and called in one go is one message of the assistant."""
    made: list[dict[str, Any]] = []
    for at, item in enumerate(items):
        field = f"input.{at}"
        if isinstance(item, MessageItem) and item.role != "assistant":
            made.append(_message(item, field))
        elif isinstance(item, FunctionCallOutputItem):
            made.append(_result(item, field))
        elif isinstance(item, MessageItem | FunctionCallItem | CustomToolCallItem | ReasoningItem):
            if not made or made[-1]["role"] != "assistant":
                made.append({"role": "assistant", "content": [], "tool_calls": []})
            _add_to_assistant(made[-1], item)
        elif item.type in _PASSED_OVER:
            continue
        else:
            raise UnsupportedParameter(f"{field}.type {item.type[:60]!r} is not taken here", field=f"{field}.type")
        if len(places) < len(made):
            places.append(at)
    return made


def _add_to_assistant(
    message: dict[str, Any], item: MessageItem | FunctionCallItem | CustomToolCallItem | ReasoningItem
) -> None:
    match item:
        case MessageItem():
            message["content"] += [{"type": "text", "text": text} for text in _said(item) if text]
        case FunctionCallItem():
            call = {"call_id": item.call_id, "name": item.name, "arguments": item.arguments}
            message["tool_calls"].append(call)
        case CustomToolCallItem():
            arguments = msgspec.json.encode({"input": item.input}).decode()
            message["tool_calls"].append({"call_id": item.call_id, "name": item.name, "arguments": arguments})
        case ReasoningItem(encrypted_content=str(sealed)):
            seal = unsealed(sealed)
            fields = {"provider": seal.provider, "signature": seal.signature, "id": seal.id}
            text = "".join(piece.text for piece in item.summary)
            message["content"].append(
                {"type": "reasoning", "text": text} | {name: value for name, value in fields.items() if value}
            )


def _said(item: MessageItem) -> Iterator[str]:
    if isinstance(item.content, str):
        yield item.content
        return
    for part in item.content:
        if isinstance(part, OutputText | InputText):
            yield part.text
        elif isinstance(part, OutputRefusal):
            yield part.refusal


def _message(item: MessageItem, field: str) -> dict[str, Any]:
    if isinstance(item.content, str):
        return {"role": item.role, "content": item.content}
    return {
        "role": item.role,
        "content": [_part(part, f"{field}.content.{at}") for at, part in enumerate(item.content)],
    }


def _result(item: FunctionCallOutputItem, field: str) -> dict[str, Any]:
    output = item.output
    if not isinstance(output, str):
        output = [_part(part, f"{field}.output.{at}") for at, part in enumerate(output)]  # type: ignore[misc]
    return {"role": "tool", "tool_call_id": item.call_id, "content": output}


def _part(part: Part, field: str) -> dict[str, Any]:
    match part:
        case InputText() | OutputText():
            return {"type": "text", "text": part.text}
        case OutputRefusal():
            return {"type": "text", "text": part.refusal}
        case InputImage():
            url = _source(part.image_url, part.file_id, field, "image_url")
            # The engine's finest detail has one name.
            detail = {"detail": "high" if part.detail == "original" else part.detail} if part.detail else {}
            return {"type": "image", "url": url, **detail}
        case InputAudio():
            return {"type": "audio", "data": part.input_audio.data, "format": part.input_audio.format}
        case InputFile():
            name = {"name": part.filename} if part.filename else {}
            if part.file_url is not None:
                return {"type": "file", "url": part.file_url, **name}
            data = _source(part.file_data, part.file_id, field, "file_data")
            return {"type": "file", "url" if data.startswith("data:") else "data": data, **name}


def _source(content: str | None, file_id: str | None, field: str, name: str) -> str:
    if file_id is not None:
        raise UnsupportedParameter(
            f"{field}.file_id: no uploaded files are kept here; send {name}", field=f"{field}.file_id"
        )
    if content is None:
        raise InvalidRequest(f"{field}.{name} is required", field=f"{field}.{name}")
    return content


# The rest


def _tools(body: ResponsesBody, target: Target, hints: Hints) -> list[dict[str, Any]] | None:
    made = [
        made
        for at, tool in enumerate(body.tools or ())
        if _is_allowed(tool, body) and (made := _tool(tool, body, target, hints, f"tools.{at}")) is not None
    ]
    return made or None


def _tool(tool: ToolDefinition, body: ResponsesBody, target: Target, hints: Hints, field: str) -> dict[str, Any] | None:
    if isinstance(tool, FunctionToolDefinition):
        fields = {"description": tool.description, "parameters": tool.parameters, "strict": tool.strict}
        given = {name: value for name, value in fields.items() if value is not None}
        return {"type": "function", "name": tool.name, **given}
    if isinstance(tool, CustomToolDefinition):
        return {"type": "function", "name": tool.name, "description": _described(tool), "parameters": _ONE_TEXT}
    if tool.type.startswith(_WEB_SEARCH) and target.can("web_search"):
        return {"type": "web_search", "options": tool.model_extra or {}}
    if _demands(tool, body):
        raise UnsupportedParameter(
            f"{field}.type {tool.type[:60]!r} is not offered for this model; functions and custom tools are",
            field=f"{field}.type",
        )
    # A tool is an offer, which the model need not take.
    hints.drop(field)
    return None


def _described(tool: CustomToolDefinition) -> str:
    """What a custom tool is for, and what its input is to be like: a function's schema cannot say a grammar."""
    grammar = tool.format.definition if tool.format is not None and tool.format.type == "grammar" else None
    told = [tool.description or "", "Pass the whole text as `input`."]
    if grammar and tool.format is not None:
        told.append(f"It follows this {tool.format.syntax or 'lark'} grammar:\n{grammar}")
    return "\n\n".join(filter(None, told))


def _is_allowed(tool: ToolDefinition, body: ResponsesBody) -> bool:
    choice = body.tool_choice
    if choice is None or isinstance(choice, str) or choice.type != "allowed_tools" or choice.tools is None:
        return True
    return any(each.type == tool.type and each.name == getattr(tool, "name", None) for each in choice.tools)


def _demands(tool: HostedTool, body: ResponsesBody) -> bool:
    """Whether this tool must be called: by its type, or as there is none of the client's own to call instead."""
    choice = body.tool_choice
    if choice is None or choice in ("auto", "none"):
        return False
    if not isinstance(choice, str) and choice.type != "allowed_tools":
        return choice.type == tool.type
    required = choice == "required" or (not isinstance(choice, str) and choice.mode == "required")
    own = (each for each in body.tools or () if not isinstance(each, HostedTool) and _is_allowed(each, body))
    return required and next(own, None) is None


def _tool_choice(body: ResponsesBody) -> str | dict[str, str] | None:
    choice = body.tool_choice
    if not body.tools:
        if choice == "required" or not isinstance(choice, str | None):
            raise InvalidRequest("tool_choice demands a call, and there are no tools", field="tool_choice")
        return None
    if not any(not isinstance(tool, HostedTool) for tool in body.tools) and choice in ("auto", "none"):
        return None
    if choice is None or isinstance(choice, str):
        return choice
    if choice.type == "allowed_tools":
        return choice.mode or "auto"
    if choice.type in ("function", "custom") and choice.name is not None:
        return {"name": choice.name}
    if any(tool.type == choice.type for tool in body.tools):
        return "required"
    raise UnsupportedParameter(
        "tool_choice is a word, allowed_tools, or a function or custom tool by its name here", field="tool_choice.type"
    )


def _logprobs(body: ResponsesBody) -> int | None:
    if body.top_logprobs:
        return body.top_logprobs
    return 0 if "message.output_text.logprobs" in (body.include or ()) else None


def _reasoning(body: ResponsesBody, target: Target, hints: Hints) -> str | None:
    effort = body.reasoning.effort if body.reasoning is not None else None
    if not thinks(target):
        if effort not in (None, "none"):
            hints.drop("reasoning.effort")
        return None
    # The engine's hardest effort has one name.
    return "max" if effort == "xhigh" else effort


def _response_format(body: ResponsesBody) -> dict[str, Any] | None:
    wanted = body.text.format if body.text is not None else None
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return {"type": "json"}
    if wanted.json_schema is None:
        raise InvalidRequest("text.format.schema is required with type json_schema", field="text.format.schema")
    told = {"description": wanted.description} if wanted.description else {}
    strict = {} if wanted.strict is None else {"strict": wanted.strict}
    return {
        "type": "json_schema",
        "name": wanted.name or "answer",
        "schema": {**told, **wanted.json_schema},
        **strict,
    }
