"""Requests of widely used clients, for a model whose vendor has nothing of what they take for granted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from engine.api import (
    ChatRequest,
    Finish,
    FunctionTool,
    ImagePart,
    ProviderUnavailable,
    ToolCall,
    ToolDelta,
    Usage,
)
from engine.testing import ScriptedProvider, answer
from tests.plugins.openai_api import shapes
from tests.plugins.openai_api.conftest import Serving

IGNORED = "x-betterai-ignored"
HELLO = [{"role": "user", "content": "Hi"}]
SHAPES: dict[str, Callable[..., dict[str, Any]]] = {
    "/chat/completions": shapes.editor_over_chat_completions,
    "/messages": shapes.coding_agent_over_messages,
    "/responses": shapes.coding_agent_over_responses,
}


class PlainProvider(ScriptedProvider):
    """A model of a vendor that has neither search nor a setting for how hard to think."""

    lacks = frozenset({"web_search", "reasoning_effort"})


async def post(serving: Serving, path: str, body: dict[str, Any], **options: Any) -> httpx.Response:
    async with serving(options.pop("provider", None) or PlainProvider(*answer("Hi")), **options) as client:
        address = f"{str(client.base_url).rstrip('/')}{path}"
        async with httpx.AsyncClient(trust_env=False) as http:
            return await http.post(address, json=body, headers={"anthropic-beta": "one-2026-01-01"})


async def asked(serving: Serving, path: str, **fields: Any) -> tuple[ChatRequest, list[str]]:
    """What the provider is asked for the shape of this path, and the fields that the answer says were ignored."""
    provider = PlainProvider(*answer("Hi"))
    response = await post(serving, path, SHAPES[path](**fields), provider=provider)
    assert response.status_code == 200, response.text
    return provider.requests[0], response.headers[IGNORED].split(", ")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("m[1m]", "m"),
        ("claude-sonnet-5[1M]", "claude-sonnet-5"),
        ("anthropic/claude-opus-5[200k]", "anthropic/claude-opus-5"),
        ("a/b/c/d[1m]", "a/b/c/d"),
    ],
)
@pytest.mark.parametrize("path", ["/messages", "/messages/count_tokens"])
async def test_a_size_of_the_context_in_a_models_name_is_a_hint(
    serving: Serving, path: str, name: str, model: str
) -> None:
    provider = PlainProvider(*answer("Hi"))
    body = {"model": f"scripted/{name}", "messages": HELLO, **({"max_tokens": 9} if path == "/messages" else {})}
    response = await post(serving, path, body, provider=provider)
    assert response.status_code == 200, response.text
    window = name[len(model) :]
    assert response.headers[IGNORED] == f"model{window}"
    assert [each.model for each in provider.requests] == ([model] if path == "/messages" else [])
    refused = await post(serving, path, body, strict=True)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_parameter")


@pytest.mark.parametrize("name", ["a/b/c/d", "org/model:free", "m[x]", "m[1m]b", "m[1]"])
async def test_any_other_name_reaches_its_vendor_as_it_is(serving: Serving, name: str) -> None:
    for path in SHAPES:
        provider = PlainProvider(*answer("Hi"))
        response = await post(serving, path, {**SHAPES[path](), "model": f"scripted/{name}"}, provider=provider)
        assert response.status_code == 200, response.text
        assert [each.model for each in provider.requests] == [name]


async def test_an_unknown_model_is_named_without_the_size_of_its_context(serving: Serving) -> None:
    response = await post(serving, "/messages", {"model": "nobody[1m]", "max_tokens": 9, "messages": HELLO})
    assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")
    assert "'nobody'" in response.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", SHAPES)
async def test_a_client_is_answered_and_told_what_was_ignored(serving: Serving, path: str, stream: bool) -> None:
    _, ignored = await asked(serving, path, stream=stream)
    assert len(ignored) > 3


@pytest.mark.parametrize("path", SHAPES)
async def test_a_strict_server_refuses_what_it_would_ignore(serving: Serving, path: str) -> None:
    response = await post(serving, path, SHAPES[path](), strict=True)
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == "unsupported_parameter" and "strict" in error["message"]


async def test_messages_reach_the_model_without_what_only_anthropic_has(serving: Serving) -> None:
    request, ignored = await asked(serving, "/messages")
    assert [message.role for message in request.messages] == ["user", "assistant", "tool", "tool", "system"]
    _, said, picture, nothing, _ = request.messages
    assert said.text == "Let me see." and [call.arguments for call in said.tool_calls] == ["{}", "{}"]
    assert isinstance(picture.parts[0], ImagePart) and nothing.parts == ()
    assert [tool.name for tool in request.tools if isinstance(tool, FunctionTool)] == [shapes.LONG_NAME]
    assert len(request.tools) == 1 and request.reasoning is None
    assert (request.top_k, request.user) == (5, "u" * 256)
    assert {"context_management", "diagnostics", "inference_geo", "thinking", "output_config.effort"} <= set(ignored)
    assert {"tools[].defer_loading", "tools[].cache_control", "messages[].content[].cache_control"} <= set(ignored)
    assert "speed" not in ignored and "tools[].allowed_callers" not in ignored


async def test_the_same_request_is_counted(serving: Serving) -> None:
    body = {**shapes.coding_agent_over_messages(), "max_tokens": None, "metadata": None, "top_k": None}
    response = await post(serving, "/messages/count_tokens", body)
    assert response.status_code == 200 and response.json()["input_tokens"] > 0
    assert "context_management" in response.headers[IGNORED]


async def test_responses_reach_the_model_with_custom_tools_as_functions(serving: Serving) -> None:
    request, ignored = await asked(serving, "/responses")
    patch = request.tools[1]
    assert isinstance(patch, FunctionTool) and patch.name == "apply_patch"
    assert patch.parameters["required"] == ["input"] and "start: /.+/s" in patch.description
    calls = [call for message in request.messages for call in message.tool_calls]
    assert json.loads(calls[0].arguments) == {"input": "*** Begin"}
    answers = [message for message in request.messages if message.role == "tool"]
    assert answers[0].text == "Done." and isinstance(answers[1].parts[0], ImagePart)
    assert {"client_metadata", "text.verbosity", "service_tier", "tools[]", "reasoning.effort"} <= set(ignored)
    assert {"include[]", "reasoning.context", "prompt_cache_key"} <= set(ignored)


async def test_chat_completions_reach_the_model_without_marks(serving: Serving) -> None:
    request, ignored = await asked(serving, "/chat/completions")
    assert request.stop == () and request.user == "u" * 300
    calls = request.messages[2].tool_calls
    assert [json.loads(call.arguments) for call in calls] == [{"path": "a"}, {}]
    assert request.messages[3].parts == () and isinstance(request.messages[4].parts[1], ImagePart)
    assert {"messages[].reasoning", "messages[].reasoning_details", "messages[].thinking_blocks"} <= set(ignored)
    assert {"messages[].id", "messages[].provider_specific_fields", "stream_options"} <= set(ignored)
    assert {"tools[].cache_control", "messages[].cache_control"} <= set(ignored)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_of_a_custom_tool_comes_back_as_one(serving: Serving, stream: bool) -> None:
    call = ToolCall(call_id="c9", name="apply_patch", arguments='{"input":"*** End"}')
    provider = PlainProvider(call, Finish("tool_calls"))
    response = await post(serving, "/responses", shapes.coding_agent_over_responses(stream=stream), provider=provider)
    if stream:
        events = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]
        kinds = [event["type"] for event in events]
        assert "response.custom_tool_call_input.delta" in kinds and "response.custom_tool_call_input.done" in kinds
        (item,) = events[-1]["response"]["output"]
        ids = {event["item_id"] for event in events if "item_id" in event}
        assert ids == {item["id"]}
    else:
        (item,) = response.json()["output"]
    assert (item["type"], item["call_id"], item["name"]) == ("custom_tool_call", "c9", "apply_patch")
    assert item["input"] == "*** End"


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        ({"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "shell"}]}, ["shell"]),
        ({"type": "custom", "name": "apply_patch"}, ["shell", "apply_patch"]),
        ("required", ["shell", "apply_patch"]),
    ],
)
async def test_a_choice_among_tools_is_understood(serving: Serving, choice: Any, left: list[str]) -> None:
    request, _ = await asked(serving, "/responses", tool_choice=choice)
    assert [tool.name for tool in request.tools if isinstance(tool, FunctionTool)] == left
    assert request.tool_choice is not None and request.tool_choice.mode in ("required", "function")


@pytest.mark.parametrize("choice", ["required", {"type": "web_search"}])
async def test_a_tool_of_the_vendors_that_must_be_called_is_refused(serving: Serving, choice: Any) -> None:
    body = shapes.coding_agent_over_responses(tools=[{"type": "web_search"}], tool_choice=choice)
    response = await post(serving, "/responses", body)
    assert response.status_code == 400 and response.json()["error"]["param"] == "tools.0.type"


async def test_words_without_sources_have_no_citations(serving: Serving) -> None:
    body = shapes.coding_agent_over_messages()
    whole = (await post(serving, "/messages", body)).json()
    assert whole["content"] == [{"type": "text", "text": "Hi"}]
    streamed = (await post(serving, "/messages", {**body, "stream": True})).text
    assert '"content_block":{"type":"text","text":""}' in streamed


async def test_a_stream_of_messages_begins_with_the_tokens_of_its_input(serving: Serving) -> None:
    provider = PlainProvider(*answer("Hi", usage=Usage(input_tokens=7, output_tokens=2)))
    body = shapes.coding_agent_over_messages(stream=True)
    streamed = (await post(serving, "/messages", body, provider=provider)).text
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: ")]
    assert (
        events[0]["message"]["usage"]["input_tokens"] > 100
    )  # the estimate: what the vendor counts is known at the end
    assert events[-2]["usage"]["input_tokens"] == 7


async def test_json_of_a_schema_that_stands_beside_its_type_is_asked_for(serving: Serving) -> None:
    wanted = {"type": "json_object", "schema": {"type": "object", "properties": {"a": {}}}}
    request, _ = await asked(serving, "/chat/completions", response_format=wanted)
    assert request.response_format is not None and request.response_format.schema == wanted["schema"]


PIECES = ('{"input":"*** Be', "gin\\nline", '"}')
STREAMED: dict[str, dict[str, Any]] = {
    "/chat/completions": {"tools": [{"type": "function", "function": {"name": "apply_patch"}}]},
    "/messages": {"max_tokens": 10, "tools": [{"name": "apply_patch", "input_schema": {"type": "object"}}]},
    "/responses": {"store": False, "tools": [{"type": "function", "name": "apply_patch", "parameters": None}]},
    "/responses custom": {"store": False, "tools": [shapes.PATCH]},
}


def grown(path: str, event: dict[str, Any]) -> str:
    """What an event adds to the arguments of a call."""
    if path == "/chat/completions":
        calls = [call for choice in event.get("choices", ()) for call in choice["delta"].get("tool_calls", ())]
        return "".join(call["function"]["arguments"] for call in calls)
    if path == "/messages":
        return str(event.get("delta", {}).get("partial_json", ""))
    delta = event["type"] in ("response.function_call_arguments.delta", "response.custom_tool_call_input.delta")
    return str(event["delta"]) if delta else ""


@pytest.mark.parametrize("shape", STREAMED)
async def test_arguments_go_out_while_the_model_writes_them(serving: Serving, shape: str) -> None:
    path, whole = shape.split()[0], "".join(PIECES)
    deltas = [ToolDelta(call_id="c9", name="apply_patch", arguments=piece) for piece in PIECES]
    gate = asyncio.Event()
    call = ToolCall(call_id="c9", name="apply_patch", arguments=whole)
    provider = PlainProvider(deltas[0], gate, *deltas[1:], call, Finish("tool_calls"))
    question = {"input": "Hi"} if path == "/responses" else {"messages": [{"role": "user", "content": "Hi"}]}
    body = {"model": "scripted/m", "stream": True, **question, **STREAMED[shape]}
    written, kinds = "", []
    async with (
        serving(provider) as client,
        httpx.AsyncClient(trust_env=False) as http,
        http.stream("POST", f"{str(client.base_url).rstrip('/')}{path}", json=body) as response,
    ):
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                event = json.loads(line[6:])
                kinds.append(event.get("type"))
                written += grown(path, event)
                if written:
                    gate.set()  # the rest comes only once the first piece was read
    assert written == ("*** Begin\nline" if "custom" in shape else whole)
    assert kinds.count("content_block_start") == (1 if path == "/messages" else 0)
    assert kinds.count("response.output_item.done") == (1 if path == "/responses" else 0)


async def test_parallel_calls_keep_their_places_in_chunks(serving: Serving) -> None:
    script: list[Any] = [
        ToolDelta(call_id="a", name="first", arguments='{"x"'),
        ToolDelta(call_id="b", name="second", arguments='{"y"'),
        ToolDelta(call_id="a", name="first", arguments=":1}"),
        ToolDelta(call_id="b", name="second", arguments=":2}"),
        ToolCall(call_id="a", name="first", arguments='{"x":1}', signature="sig"),
        ToolCall(call_id="b", name="second", arguments='{"y":2}'),
        Finish("tool_calls"),
    ]
    body = {"model": "scripted/m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    text = (await post(serving, "/chat/completions", body, provider=PlainProvider(*script))).text
    calls: dict[int, dict[str, Any]] = {}
    for line in text.splitlines():
        for choice in json.loads(line[6:])["choices"] if line.startswith("data: {") else ():
            for call in choice["delta"].get("tool_calls", ()):
                known = calls.setdefault(call["index"], {"arguments": ""})
                known["arguments"] += call.get("function", {}).get("arguments", "")
                known |= {name: call[name] for name in ("id", "extra_content") if name in call}
    assert calls == {
        0: {"id": "a", "arguments": '{"x":1}', "extra_content": {"google": {"thought_signature": "sig"}}},
        1: {"id": "b", "arguments": '{"y":2}'},
    }


@pytest.mark.parametrize("path", ["/messages", "/responses"])
async def test_a_stream_that_fails_in_the_middle_of_a_call_closes_it_first(serving: Serving, path: str) -> None:
    script = (ToolDelta(call_id="c9", name="shell", arguments='{"comm'), ProviderUnavailable("gone"))
    question = {"input": "Hi", "store": False} if path == "/responses" else {"messages": HELLO, "max_tokens": 10}
    body = {"model": "scripted/m", "stream": True, **question}
    text = (await post(serving, path, body, provider=PlainProvider(*script))).text
    kinds = [json.loads(line[6:])["type"] for line in text.splitlines() if line.startswith("data: ")]
    assert kinds[-2:] == (
        ["content_block_stop", "error"] if path == "/messages" else ["response.output_item.done", "response.failed"]
    )


async def test_a_signature_that_comes_with_the_end_of_a_call_is_sent_back_with_it(serving: Serving) -> None:
    call = ToolCall(call_id="c9", name="shell", arguments="{}", signature="sig")
    script = (ToolDelta(call_id="c9", name="shell", arguments="{}"), call, Finish("tool_calls"))
    provider = PlainProvider(*script)
    body = {"model": "scripted/m", "max_tokens": 10, "messages": HELLO, "stream": True}
    text = (await post(serving, "/messages", body, provider=provider)).text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    blocks = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert [block["type"] for block in blocks] == ["tool_use", "thinking"]
    signature = next(e["delta"]["signature"] for e in events if e.get("delta", {}).get("type") == "signature_delta")
    said = {"role": "assistant", "content": [blocks[0], {**blocks[1], "signature": signature}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c9", "content": "ok"}]}
    again = PlainProvider(*answer("Hi"))
    await post(serving, "/messages", {**body, "messages": [*HELLO, said, result]}, provider=again)
    assert again.requests[0].messages[1].tool_calls == (call,)
