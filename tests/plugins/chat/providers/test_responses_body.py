"""Bodies of Responses are what the official SDK itself would send."""

from typing import Any, get_type_hints

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.responses.response_create_params import ResponseCreateParams, ResponseCreateParamsStreaming

from engine.api import (
    AudioPart,
    ChatRequest,
    EngineError,
    FilePart,
    FunctionTool,
    ImagePart,
    InvalidRequest,
    Message,
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
from plugins.chat.providers.responses_body import CHAT_COMPLETIONS_FIELDS, chat_completions_only, responses_body
from tests.emulators.validation import RequestCheck
from tests.plugins.vendors.kit import ask, user

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = FunctionTool(name="weather", description="Tells the weather.", parameters=SCHEMA, strict=True)
AUDIO = AudioPart(data="aGk=", format="wav")

FULL = ask(
    messages=(
        Message(role="system", parts=(TextPart("Be brief."),)),
        Message(role="developer", parts=(TextPart("Be kind."),)),
        user(
            "Look:",
            ImagePart(url="https://example.org/a.png", detail="low"),
            ImagePart(data="aGk=", media_type="image/jpeg"),
            FilePart(url="https://example.org/a.pdf"),
            FilePart(data="aGk=", name="a.pdf"),
        ),
        Message(
            role="assistant",
            parts=(
                ReasoningPart(provider="openai", text="Hm.", signature="sealed", id="rs_1"),
                ReasoningPart(provider="other", text="foreign", signature="x"),
                TextPart("I look."),
            ),
            tool_calls=(ToolCall(call_id="call_1", name="weather", arguments='{"city":"Oslo"}'),),
        ),
        Message(
            role="tool", tool_call_id="call_1", parts=(TextPart("rain"), ImagePart(url="https://example.org/b.png"))
        ),
    ),
    instructions="Answer.",
    tools=(WEATHER, FunctionTool(name="time"), WebSearch(options={"search_context_size": "low"})),
    tool_choice=ToolChoice(mode="function", name="weather"),
    parallel_tool_calls=False,
    temperature=0.5,
    top_p=0.9,
    max_output_tokens=100,
    reasoning=Reasoning(effort="high"),
    response_format=ResponseFormat(kind="json_schema", name="city", schema=SCHEMA, strict=True),
    user="u1",
    provider_options={"prompt_cache_key": "k"},
)


@pytest.fixture(scope="module")
def sdk() -> RequestCheck:
    return RequestCheck(ResponseCreateParams)


def body_of(**fields: Any) -> dict[str, Any]:
    return responses_body(ask(**fields), "openai")


@pytest.mark.parametrize(
    "request_",
    [
        ask(),
        FULL,
        ask(response_format=ResponseFormat(kind="json")),
        ask(response_format=ResponseFormat(kind="text")),
        ask(tools=(WEATHER,), tool_choice=ToolChoice(mode="required"), parallel_tool_calls=True),
        ask(reasoning=Reasoning(budget=2000, summary=False)),
        ask(reasoning=Reasoning()),
        ask(model="gpt-5.2", messages=(user("a", "b"),)),
    ],
)
def test_the_sdk_would_send_every_body(request_: ChatRequest, sdk: RequestCheck) -> None:
    sdk(responses_body(request_, "openai"))


def test_every_field_of_the_request_is_in_the_body() -> None:
    body = responses_body(FULL, "openai")
    assert body["input"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": "Be kind."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look:"},
                {"type": "input_image", "image_url": "https://example.org/a.png", "detail": "low"},
                {"type": "input_image", "image_url": "data:image/jpeg;base64,aGk=", "detail": "auto"},
                {"type": "input_file", "file_url": "https://example.org/a.pdf"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "Hm."}],
            "encrypted_content": "sealed",
        },
        {"role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Oslo"}'},
        {
            "type": "function_call_output",
            "call_id": "call_1",
            "output": [
                {"type": "input_text", "text": "rain"},
                {"type": "input_image", "image_url": "https://example.org/b.png", "detail": "auto"},
            ],
        },
    ]
    rest = {name: value for name, value in body.items() if name not in ("input", "tools")}
    assert rest == {
        "model": "test-model",
        "stream": True,
        "store": False,
        "instructions": "Answer.",
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 100,
        "user": "u1",
        "tool_choice": {"type": "function", "name": "weather"},
        "parallel_tool_calls": False,
        "reasoning": {"effort": "high", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "text": {"format": {"type": "json_schema", "name": "city", "schema": SCHEMA, "strict": True}},
        "prompt_cache_key": "k",
    }
    weather, time, search = body["tools"]
    assert weather == {
        "type": "function",
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": SCHEMA,
        "strict": True,
    }
    assert time["strict"] is False
    assert search == {"type": "web_search", "search_context_size": "low"}


def test_what_was_not_asked_is_not_sent() -> None:
    assert set(body_of()) == {"model", "input", "stream", "store"}


@pytest.mark.parametrize(
    ("model", "thinks"), [("gpt-5.2", True), ("o4-mini", True), ("gpt-4.1", False), ("gpt-5-chat-latest", False)]
)
def test_encrypted_thinking_is_asked_of_models_that_think(model: str, thinks: bool) -> None:
    assert ("include" in body_of(model=model)) is thinks


def test_a_budget_becomes_an_effort_and_no_thinking_has_no_summary() -> None:
    assert body_of(reasoning=Reasoning(budget=2000))["reasoning"] == {"effort": "low", "summary": "auto"}
    assert body_of(reasoning=Reasoning(effort="none"))["reasoning"] == {"effort": "none"}


def test_the_fields_that_only_chat_completions_has_are_those_of_the_official_types() -> None:
    chat, responses = get_type_hints(CompletionCreateParamsStreaming), get_type_hints(ResponseCreateParamsStreaming)
    assert chat.keys() - responses.keys() - {"messages"} == CHAT_COMPLETIONS_FIELDS


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"n": 2}, "n"),
        ({"stop": ("END",)}, "stop"),
        ({"seed": 0}, "seed"),
        ({"logprobs": 0}, "logprobs"),
        ({"messages": (user("a", AUDIO),)}, "audio"),
        ({"provider_options": {"logit_bias": {"1": 2}}}, "provider_options.logit_bias"),
        ({"provider_options": {"truncation": "auto"}}, None),
        ({}, None),
    ],
)
def test_what_only_chat_completions_can_do_is_known_and_refused(fields: dict[str, Any], field: str | None) -> None:
    assert chat_completions_only(ask(**fields)) == field
    if field:
        with pytest.raises(UnsupportedParameter, match="Chat Completions") as caught:
            body_of(**fields)
        assert caught.value.field == field


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"messages": (Message(role="assistant", parts=(ImagePart(url="u"),)),)}, UnsupportedMedia),
        ({"messages": (user(FilePart()),)}, InvalidRequest),
        ({"tool_choice": ToolChoice(mode="function", name="f")}, InvalidRequest),
        ({"provider_options": {"stream": False}}, InvalidRequest),
        ({"response_format": ResponseFormat(kind="json_schema")}, InvalidRequest),
    ],
)
def test_what_cannot_be_sent_is_refused(fields: dict[str, Any], error: type[EngineError]) -> None:
    with pytest.raises(error):
        body_of(**fields)
