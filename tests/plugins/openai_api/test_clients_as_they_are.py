"""Requests of widely used clients, for a model whose vendor has nothing of what they take for granted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from engine.api import ChatRequest, Finish, FunctionTool, ImagePart, ToolCall, Usage
from engine.testing import ScriptedProvider, answer
from tests.plugins.openai_api import shapes
from tests.plugins.openai_api.conftest import Serving

IGNORED = "x-betterai-ignored"
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
