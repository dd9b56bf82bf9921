"""Bodies of Chat Completions are what the official SDK itself would send."""

from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParams

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
from plugins.vendors.chat_body import chat_body
from plugins.vendors.dialect import COMMON, OPENAI, Dialect
from tests.emulators.validation import RequestCheck
from tests.plugins.vendors.kit import ask, user

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = FunctionTool(name="weather", description="Tells the weather.", parameters=SCHEMA, strict=True)
CALL = ToolCall(call_id="call_1", name="weather", arguments='{"city":"Oslo"}')

FULL = ask(
    messages=(
        Message(role="system", parts=(TextPart("Be brief."),)),
        Message(role="developer", parts=(TextPart("Be kind."),)),
        user(
            "Look:",
            ImagePart(url="https://example.org/a.png", detail="low"),
            ImagePart(data="aGk=", media_type="image/jpeg"),
            AudioPart(data="aGk=", format="wav"),
            FilePart(data="aGk=", media_type="application/pdf", name="a.pdf"),
        ),
        Message(role="assistant", parts=(TextPart("I look."),), tool_calls=(CALL,)),
        Message(role="tool", tool_call_id="call_1", parts=(TextPart("rain"),)),
    ),
    instructions="Answer.",
    tools=(WEATHER, FunctionTool(name="time"), WebSearch(options={"search_context_size": "low"})),
    tool_choice=ToolChoice(mode="function", name="weather"),
    parallel_tool_calls=False,
    temperature=0.5,
    top_p=0.9,
    stop=("END",),
    seed=7,
    n=2,
    max_output_tokens=100,
    reasoning=Reasoning(effort="max"),
    response_format=ResponseFormat(kind="json_schema", name="city", schema=SCHEMA, strict=True),
    logprobs=2,
    user="u1",
    provider_options={"service_tier": "flex"},
)


@pytest.fixture(scope="module")
def sdk() -> RequestCheck:
    return RequestCheck(CompletionCreateParams)


def message_of(message: Message, dialect: Dialect = COMMON) -> dict[str, Any]:
    (sent,) = chat_body(ask(messages=(message,)), dialect, "acme")["messages"]
    assert isinstance(sent, dict)
    return sent


@pytest.mark.parametrize(
    "request_",
    [
        ask(),
        FULL,
        ask(logprobs=0),
        ask(response_format=ResponseFormat(kind="json")),
        ask(response_format=ResponseFormat(kind="text")),
        ask(tools=(WEATHER,), tool_choice=ToolChoice(mode="required"), parallel_tool_calls=True),
        ask(reasoning=Reasoning(budget=2000)),
        ask(reasoning=Reasoning()),
        ask(messages=(user("a", "b"),)),
    ],
)
@pytest.mark.parametrize("dialect", [OPENAI, Dialect(web_search="web_search_options")], ids=["openai", "common"])
def test_the_sdk_would_send_every_body(request_: ChatRequest, dialect: Dialect, sdk: RequestCheck) -> None:
    sdk(chat_body(request_, dialect, "acme"))


def test_every_field_of_the_request_is_in_the_body() -> None:
    body = chat_body(FULL, OPENAI, "openai")
    assert body["model"] == "test-model"
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}
    assert body["temperature"] == 0.5
    assert body["top_p"] == 0.9
    assert body["stop"] == ["END"]
    assert body["seed"] == 7
    assert body["n"] == 2
    assert body["max_completion_tokens"] == 100
    assert body["reasoning_effort"] == "max"
    assert (body["logprobs"], body["top_logprobs"]) == (True, 2)
    assert body["user"] == "u1"
    assert body["service_tier"] == "flex"
    assert body["parallel_tool_calls"] is False
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert body["web_search_options"] == {"search_context_size": "low"}
    assert body["response_format"]["json_schema"] == {"name": "city", "schema": SCHEMA, "strict": True}
    assert [tool["function"]["name"] for tool in body["tools"]] == ["weather", "time"]
    assert [message["role"] for message in body["messages"]] == [
        "system",
        "system",
        "developer",
        "user",
        "assistant",
        "tool",
    ]
    assert body["messages"][3]["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,aGk="}},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
    ]
    assert body["messages"][4] == {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
        ],
    }
    assert body["messages"][5] == {"role": "tool", "tool_call_id": "call_1", "content": "rain"}


def test_what_was_not_asked_is_not_sent() -> None:
    assert set(chat_body(ask(), COMMON, "acme")) == {"model", "messages", "stream", "stream_options"}


def test_a_choice_of_no_tool_needs_no_tools_and_is_not_sent() -> None:
    assert "tool_choice" not in chat_body(ask(tool_choice=ToolChoice(mode="none")), COMMON, "acme")


def test_an_assistant_message_of_calls_alone_has_no_text() -> None:
    assert message_of(Message(role="assistant", tool_calls=(CALL,)))["content"] is None


def test_a_vendor_without_the_role_developer_gets_system() -> None:
    assert message_of(Message(role="developer", parts=(TextPart("x"),)))["role"] == "system"


def test_names_of_fields_follow_the_dialect() -> None:
    request = ask(max_output_tokens=5, seed=1)
    body = chat_body(request, Dialect(seed="random_seed", include_usage=False), "mistral")
    assert (body["max_tokens"], body["random_seed"]) == (5, 1)
    assert "stream_options" not in body


def test_thinking_goes_back_only_to_the_vendor_whose_it_is_and_that_wants_it() -> None:
    message = Message(
        role="assistant",
        parts=(ReasoningPart(provider="acme", text="own"), ReasoningPart(provider="other", text="foreign")),
        tool_calls=(CALL,),
    )
    assert message_of(message, Dialect(reasoning_back="reasoning_content"))["reasoning_content"] == "own"
    assert "reasoning_content" not in message_of(message)


@pytest.mark.parametrize(
    ("reasoning", "sent"),
    [(Reasoning(effort="high"), {"effort": "high"}), (Reasoning(budget=500), {"max_tokens": 500})],
)
def test_reasoning_may_be_an_object(reasoning: Reasoning, sent: dict[str, Any]) -> None:
    assert chat_body(ask(reasoning=reasoning), Dialect(reasoning_object=True), "openrouter")["reasoning"] == sent


def test_search_is_switched_on_as_the_vendor_wants_it() -> None:
    request = ask(tools=(WebSearch(options={"max_results": 3}),))
    assert chat_body(request, Dialect(web_search="plugin"), "o")["plugins"] == [{"id": "web", "max_results": 3}]
    assert "tools" not in chat_body(ask(tools=(WebSearch(),)), Dialect(web_search="always"), "p")


def test_provider_options_win() -> None:
    body = chat_body(ask(temperature=1.0, provider_options={"temperature": 0.1, "x": [1]}), COMMON, "acme")
    assert (body["temperature"], body["x"]) == (0.1, [1])


@pytest.mark.parametrize(
    ("request_", "error", "field"),
    [
        (ask(tools=(WebSearch(),)), UnsupportedParameter, "tools"),
        (ask(messages=(user(ImagePart()),)), InvalidRequest, "input"),
        (ask(messages=(user(FilePart(url="https://example.org/a.pdf")),)), UnsupportedMedia, "input"),
        (ask(response_format=ResponseFormat(kind="json_schema")), InvalidRequest, "response_format"),
        (ask(tool_choice=ToolChoice(mode="required")), InvalidRequest, "tool_choice"),
        (ask(provider_options={"stream": False}), InvalidRequest, "provider_options.stream"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name(request_: ChatRequest, error: type[EngineError], field: str) -> None:
    with pytest.raises(error) as caught:
        chat_body(request_, COMMON, "acme")
    assert caught.value.field == field


def test_effort_at_a_vendor_that_has_none_is_refused() -> None:
    with pytest.raises(UnsupportedParameter):
        chat_body(ask(reasoning=Reasoning(effort="low")), Dialect(efforts=()), "acme")


def test_a_picture_of_a_tool_follows_the_run_of_results_in_a_message_of_the_user() -> None:
    first = Message(role="tool", tool_call_id="call_1", parts=(TextPart("seen"), ImagePart(url="https://a/b.png")))
    second = Message(role="tool", tool_call_id="call_2", parts=(TextPart("rain"),))
    calls = Message(role="assistant", tool_calls=(CALL, ToolCall(call_id="call_2", name="time", arguments="{}")))
    sent = chat_body(ask(messages=(user("Go"), calls, first, second)), COMMON, "vendor")["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "user"]
    assert sent[2]["content"].startswith("seen\n[1 attached")
    assert sent[3]["content"] == "rain"
    words, picture = sent[4]["content"]
    assert "call_1" in words["text"]
    assert picture == {"type": "image_url", "image_url": {"url": "https://a/b.png"}}


@pytest.mark.parametrize("after", [user("And?"), Message(role="assistant", parts=(TextPart("I see."),))])
def test_what_follows_a_picture_of_a_tool_keeps_its_place(after: Message) -> None:
    result = Message(role="tool", tool_call_id="call_1", parts=(ImagePart(url="https://a/b.png"),))
    asked = ask(messages=(user("Go"), Message(role="assistant", tool_calls=(CALL,)), result, after))
    sent = chat_body(asked, COMMON, "vendor")["messages"]
    if after.role == "user":  # no two messages of the user in a row
        assert [part["type"] for part in sent[3]["content"]] == ["text", "image_url", "text"]
        assert len(sent) == 4
    else:
        assert [message["role"] for message in sent[3:]] == ["user", "assistant"]


def test_marks_for_the_prompt_cache_go_only_to_a_vendor_that_takes_them() -> None:
    mark = {"type": "ephemeral"}
    asked = ask(
        messages=(Message(role="system", parts=(TextPart("Be brief.", mark),)), user(TextPart("Hi", mark))),
        tools=(FunctionTool(name="time", cache=mark),),
    )
    marked = chat_body(asked, Dialect(cache_control=True), "vendor")
    assert [message["content"][0]["cache_control"] for message in marked["messages"]] == [mark, mark]
    assert marked["tools"][0]["cache_control"] == mark
    assert "cache_control" not in str(chat_body(asked, COMMON, "vendor"))


def test_top_k_is_sent_where_there_is_such_a_field() -> None:
    assert chat_body(ask(top_k=5), COMMON, "vendor")["top_k"] == 5
    assert "top_k" not in chat_body(ask(top_k=5), OPENAI, "vendor")


def test_a_message_without_words_is_an_empty_text() -> None:
    assert chat_body(ask(messages=(user(),)), COMMON, "vendor")["messages"] == [{"role": "user", "content": ""}]
