"""OpenAI's requests as `chat.send`, each held to what that command takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from engine.api import EngineError, UnsupportedParameter
from engine.wire.validation import explain
from plugins.chat.bodies import ChatSend
from plugins.openai_api.chat_bodies import ChatCompletionsBody
from plugins.openai_api.chat_translation import chat_send

USER = {"role": "user", "content": "Hello"}


def body(**fields: Any) -> ChatCompletionsBody:
    """A body as the server reads it from JSON."""
    return ChatCompletionsBody.model_validate_json(json.dumps({"messages": [USER], **fields}))


def sent(**fields: Any) -> dict[str, Any]:
    """The command that a body becomes, once the command's own model has taken it."""
    made = chat_send(body(**fields), "local")
    ChatSend.model_validate(made)
    return made


def refusal(**fields: Any) -> EngineError:
    """The error that answers a body."""
    try:
        chat_send(body(**fields), "local")
    except ValidationError as error:
        return explain(error, ChatCompletionsBody)
    except EngineError as error:
        return error
    raise AssertionError("the body was taken")


def test_a_turn_is_not_kept_and_has_no_tools_of_the_server_unless_asked() -> None:
    assert sent() == {
        "input": [{"role": "user", "content": "Hello"}],
        "model": "local",
        "store": False,
        "client_tools": "return",
        "server_tools": [],
    }
    assert sent(store=True)["store"] is True


def test_messages_of_every_role_keep_their_places() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    made = sent(
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Weather?", "name": "ann"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "18 °C"},
        ]
    )
    assert made["input"] == [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Weather?", "name": "ann"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"call_id": "c1", "name": "weather", "arguments": "{}"}],
        },
        {"role": "tool", "content": "18 °C", "tool_call_id": "c1"},
    ]


def test_parts_of_every_kind_are_taken() -> None:
    parts = [
        {"type": "text", "text": "Look"},
        {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": "AAAA"}},
    ]
    assert sent(messages=[{"role": "user", "content": parts}])["input"][0]["content"] == [
        {"type": "text", "text": "Look"},
        {"type": "image", "url": "https://a.example/b.png", "detail": "low"},
        {"type": "audio", "data": "AAAA", "format": "wav"},
        {"type": "file", "url": "data:application/pdf;base64,AAAA", "name": "a.pdf"},
        {"type": "file", "data": "AAAA"},
    ]


def test_an_answer_of_ours_can_be_sent_back_as_it_came() -> None:
    call = {
        "id": "c1",
        "index": 0,
        "type": "function",
        "function": {"name": "f", "arguments": "{}", "parsed_arguments": {}},
        "extra_content": {"google": {"thought_signature": "abc"}},
    }
    answer = {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "reasoning_content": "Hmm",
        "parsed": {"a": 1},
        "tool_calls": [call],
    }
    assert sent(messages=[USER, answer])["input"][1] == {
        "role": "assistant",
        "content": "Hi",
        "tool_calls": [{"call_id": "c1", "name": "f", "arguments": "{}", "signature": "abc"}],
    }


def test_an_earlier_refusal_stands_as_what_the_model_said() -> None:
    parts = [{"type": "text", "text": "No. "}, {"type": "refusal", "refusal": "Never."}]
    assert sent(messages=[USER, {"role": "assistant", "content": parts}])["input"][1]["content"] == "No. Never."
    assert sent(messages=[USER, {"role": "assistant", "refusal": "No."}])["input"][1]["content"] == "No."


def test_sampling_fields_are_translated() -> None:
    made = sent(
        temperature=1,
        top_p=0.5,
        n=2,
        seed=7,
        stop=["a", "b"],
        max_tokens=10,
        logprobs=True,
        top_logprobs=3,
        parallel_tool_calls=False,
        reasoning_effort="low",
        user="u1",
        metadata={"a": "b"},
    )
    assert made["temperature"] == 1 and made["top_p"] == 0.5 and made["n"] == 2 and made["seed"] == 7
    assert made["stop"] == ["a", "b"] and made["max_output_tokens"] == 10 and made["logprobs"] == 3
    assert made["parallel_tool_calls"] is False and made["reasoning"] == "low"
    assert made["user"] == "u1" and made["metadata"] == {"a": "b"}


def test_null_is_the_same_as_absent() -> None:
    fields = [name for name in ChatCompletionsBody.model_fields if name != "messages"]
    assert sent(**dict.fromkeys(fields), frequency_penalty=None, functions=None) == sent()


def test_tools_and_the_choice_among_them_are_translated() -> None:
    function = {"name": "weather", "description": "Tells it", "parameters": {"type": "object"}, "strict": True}
    made = sent(
        tools=[{"type": "function", "function": function}],
        tool_choice={"type": "function", "function": {"name": "weather"}},
        web_search_options={"search_context_size": "low"},
    )
    assert made["tools"] == [
        {"type": "function", **function},
        {"type": "web_search", "options": {"search_context_size": "low"}},
    ]
    assert made["tool_choice"] == {"name": "weather"}


def test_a_choice_of_tools_without_tools_asks_for_nothing() -> None:
    assert "tool_choice" not in sent(tool_choice="auto")
    assert refusal(tool_choice="required").field == "tool_choice"


def test_formats_of_the_answer_are_translated() -> None:
    assert "response_format" not in sent(response_format={"type": "text"})
    assert sent(response_format={"type": "json_object"})["response_format"] == {"type": "json"}
    schema = {"name": "a", "description": "What", "schema": {"type": "object"}, "strict": True}
    made = sent(response_format={"type": "json_schema", "json_schema": schema})
    assert made["response_format"] == {
        "type": "json_schema",
        "name": "a",
        "schema": {"description": "What", "type": "object"},
        "strict": True,
    }


def test_fields_that_are_not_ours_go_to_the_vendor_untouched() -> None:
    passed = {"frequency_penalty": 0.5, "logit_bias": {"50256": -100}, "service_tier": "flex", "top_k": {"a": [1]}}
    assert sent(**passed)["provider_options"] == passed


def test_values_that_ask_for_nothing_are_left_out() -> None:
    assert "provider_options" not in sent(frequency_penalty=0, presence_penalty=0.0, logit_bias={}, service_tier="auto")


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("functions", {"functions": [{"name": "f"}]}),
        ("function_call", {"function_call": "auto"}),
        ("audio", {"audio": {"voice": "alloy", "format": "wav"}}),
        ("modalities", {"modalities": ["text", "audio"]}),
        ("stream_options.include_obfuscation", {"stream": True, "stream_options": {"include_obfuscation": True}}),
        (
            "messages.0.content.0.file.file_id",
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        ),
    ],
)
def test_what_makes_no_sense_here_is_refused_by_name(field: str, fields: dict[str, Any]) -> None:
    error = refusal(**fields)
    assert isinstance(error, UnsupportedParameter)
    assert error.field == field


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("messages", {"messages": []}),
        ("messages.0.role", {"messages": [{"role": "function", "name": "f", "content": "x"}]}),
        ("messages.0.content", {"messages": [{"role": "user"}]}),
        ("messages.0.content.0.type", {"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}),
        ("temperature", {"temperature": 3}),
        ("max_tokens", {"max_tokens": 5, "max_completion_tokens": 6}),
        ("top_logprobs", {"top_logprobs": 2}),
        ("tools.0.type", {"tools": [{"type": "custom", "custom": {"name": "x"}}]}),
        ("tools.0.function.name", {"tools": [{"type": "function", "function": {"name": "a b"}}]}),
        ("n", {"n": 0}),
    ],
)
def test_a_mistake_names_its_field(field: str, fields: dict[str, Any]) -> None:
    assert refusal(**fields).field == field
