"""What one request may hold, in objects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from engine.api import InvalidRequest
from engine.wire.bounds import first_repeated
from engine.wire.validation import explain
from plugins.chat.bodies import ChatSend
from plugins.openai_api.chat_bodies import ChatCompletionsBody
from plugins.openai_api.messages_bodies import MessagesBody
from plugins.openai_api.responses_bodies import ResponsesBody

MESSAGE = {"role": "user", "content": "hi"}
TEXT = {"type": "text", "text": "a"}
TOOL = {"type": "function", "name": "look"}


def refused(model: type[BaseModel], body: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(body))
    return explain(caught.value, model)


@pytest.mark.parametrize(
    ("model", "body", "field", "limit"),
    [
        (ChatSend, {"input": [MESSAGE] * 50_001}, "input", 50_000),
        (ChatSend, {"input": [TEXT] * 10_001}, "input", 10_000),
        (ChatSend, {"input": "hi", "tools": [TOOL] * 1_025}, "tools", 1_024),
        (ChatSend, {"input": "hi", "stop": ["."] * 65}, "stop", 64),
        (ChatSend, {"input": "hi", "metadata": {str(at): "" for at in range(65)}}, "metadata", 64),
        (ChatCompletionsBody, {"messages": [MESSAGE] * 50_001}, "messages", 50_000),
        (ResponsesBody, {"input": [MESSAGE] * 50_001}, "input", 50_000),
        (MessagesBody, {"max_tokens": 1, "messages": [MESSAGE] * 50_001}, "messages", 50_000),
    ],
)
def test_a_list_above_its_bound_is_refused_by_name_with_the_bound(
    model: type[BaseModel], body: dict[str, Any], field: str, limit: int
) -> None:
    error = refused(model, body)
    assert (error.code, error.field, error.limit) == ("invalid_request", field, limit)


def test_as_many_as_the_bound_are_taken() -> None:
    body = {"input": [MESSAGE] * 50_000, "tools": [{**TOOL, "name": f"t{at}"} for at in range(1_024)]}
    assert len(ChatSend.model_validate_json(json.dumps(body)).tools) == 1_024


def test_parts_are_counted_over_all_messages() -> None:
    error = refused(ChatSend, {"input": [{"role": "user", "content": [TEXT] * 101}] * 100})
    assert error.limit == 10_000
    assert "not 10100" in error.message


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


@pytest.mark.parametrize(("schema", "limit"), [(nested(40), 32), ({"enum": ["a"] * 20_001}, 20_000)])
def test_a_schema_has_a_depth_and_a_size(schema: dict[str, Any], limit: int) -> None:
    error = refused(ChatSend, {"input": "hi", "tools": [{**TOOL, "parameters": schema}]})
    assert (error.field, error.limit) == ("tools.0.parameters", limit)


@pytest.mark.parametrize(
    ("input", "field"),
    [
        (5, "input"),
        ([5], "input.0"),
        ([{"type": "text"}], "input.0.text"),
        ([{"role": "user", "content": [{"type": "text"}]}], "input.0.content.0.text"),
        ([MESSAGE, {"type": "text", "text": "a"}], "input.1.role"),
    ],
)
def test_a_mistake_in_the_input_is_one_of_what_was_meant(input: Any, field: str) -> None:
    assert refused(ChatSend, {"input": input}).field == field


def test_the_first_name_that_stands_twice_is_found_in_one_pass() -> None:
    assert first_repeated(["a", "b", "b", "a"]) == "b"
    assert first_repeated(f"t{at}" for at in range(1_000_000)) is None
