"""Requests as Anthropic's Messages takes them: each body here is held to the types of Anthropic's own SDK."""

import base64
import re
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

from engine.api import (
    AudioPart,
    ChatRequest,
    EngineError,
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
from plugins.chat.providers.anthropic_body import REDACTED, anthropic_body
from plugins.chat.providers.anthropic_thinking import generation_of
from tests.emulators.validation import RequestCheck
from tests.plugins.vendors.kit import ask, user

# The newest models sample as they like, so the SDK's type has lost these fields; the older models take them.
CHECK = RequestCheck(MessageCreateParamsNonStreaming, ("temperature", "top_p"))
MARK = {"cache_control": {"type": "ephemeral"}}
WEATHER = FunctionTool(name="weather", description="Tells it.", parameters={"properties": {"city": {}}}, strict=True)
CALL = ToolCall(call_id="toolu_1", name="weather", arguments='{"city": "Oslo"}')


def body_of(request: ChatRequest, most: int | None = None) -> dict[str, Any]:
    body = anthropic_body(request, "anthropic", most)
    CHECK(body)
    return body


def content_of(*parts: Part | str) -> list[dict[str, Any]]:
    (message,) = body_of(ask(messages=(user(*parts),), provider_options={"cache_control": None}))["messages"]
    content: list[dict[str, Any]] = message["content"]
    return content


def thinks(model: str, **fields: Any) -> dict[str, Any]:
    return body_of(ask(model=model, **fields))


def test_a_plain_question_is_a_streamed_message_with_a_bound() -> None:
    assert body_of(ask("Hi")) == {
        "model": "test-model",
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi", **MARK}]}],
        "stream": True,
    }


def test_instructions_and_system_messages_are_the_system_prompt_in_order() -> None:
    messages = (
        Message(role="system", parts=(TextPart("Be kind."),)),
        user("Hi"),
        Message(role="developer", parts=(TextPart("Be short."),)),
    )
    body = body_of(ask(messages=messages, instructions="Be brief."))
    assert [block["text"] for block in body["system"]] == ["Be brief.", "Be kind.", "Be short."]
    assert [message["role"] for message in body["messages"]] == ["user"]


def test_speakers_alternate_and_blank_texts_are_left_out() -> None:
    messages = (user("one"), user(" ", "two"), Message(role="assistant"), user("three"))
    (only_turn,) = body_of(ask(messages=messages))["messages"][:1]
    assert [block["text"] for block in only_turn["content"]] == ["one", "two"]
    body = body_of(ask(messages=(user("one"), Message(role="assistant", parts=(TextPart("yes"),)), user("two"))))
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]


def test_results_of_parallel_calls_stand_in_one_message_before_anything_else() -> None:
    second = ToolCall(call_id="call.2:x", name="weather", arguments="{}")
    messages = (
        user("Weather?"),
        Message(role="assistant", tool_calls=(CALL, second)),
        Message(role="tool", tool_call_id="toolu_1", parts=(TextPart("sun"),)),
        Message(role="tool", tool_call_id="call.2:x", parts=(ImagePart(data="AAAA", media_type="image/png"),)),
        user("And?"),
    )
    _, calls, results = body_of(ask(messages=messages))["messages"]
    assert calls["content"][0] == {
        "type": "tool_use",
        "id": "toolu_1",
        "name": "weather",
        "input": {"city": "Oslo"},
    }
    assert [block["type"] for block in results["content"]] == ["tool_result", "tool_result", "text"]
    assert results["content"][0]["content"] == "sun"
    assert results["content"][1]["content"][0]["type"] == "image"
    assert [block["tool_use_id"] for block in results["content"][:2]] == [block["id"] for block in calls["content"]]


def test_ids_that_anthropic_does_not_take_stay_apart_and_are_the_same_in_each_request() -> None:
    ids = ["call.2:x", "call_2_x", "call/2/x", "ë", "_"]
    calls = tuple(ToolCall(call_id=id, name="weather", arguments="{}") for id in ids)
    answers = tuple(Message(role="tool", tool_call_id=id, parts=(TextPart(id),)) for id in ids)
    conversation = (user("Weather?"), Message(role="assistant", tool_calls=calls), *answers)
    _, asked, answered = body_of(ask(messages=conversation))["messages"]
    sent = [block["id"] for block in asked["content"]]
    assert len(set(sent)) == len(ids) and all(re.fullmatch("[a-zA-Z0-9_-]+", id) for id in sent)
    assert sent[1] == "call_2_x" and sent[4] == "_"
    assert [block["tool_use_id"] for block in answered["content"]] == sent
    alone = (user("Weather?"), Message(role="assistant", tool_calls=calls[2:3]), answers[2])
    assert body_of(ask(messages=alone))["messages"][1]["content"][0]["id"] == sent[2]


@pytest.mark.parametrize("arguments", ["{broken", "[1]", "[" * 100_000])
def test_arguments_that_are_no_object_are_kept_as_text(arguments: str) -> None:
    call = ToolCall(call_id="c", name="f", arguments=arguments)
    body = body_of(ask(messages=(user("x"), Message(role="assistant", tool_calls=(call,)))))
    assert body["messages"][1]["content"][0]["input"] == {"invalid_arguments": arguments}


def test_only_claudes_own_signed_thinking_goes_back() -> None:
    parts = (
        ReasoningPart(provider="anthropic", text="Hm.", signature="sealed"),
        ReasoningPart(provider="anthropic", signature="secret", id=REDACTED),
        ReasoningPart(provider="anthropic", text="cut off"),
        ReasoningPart(provider="openai", text="theirs", signature="x"),
        TextPart("Yes."),
    )
    body = body_of(ask(messages=(user("x"), Message(role="assistant", parts=parts), user("y"))))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Hm.", "signature": "sealed"},
        {"type": "redacted_thinking", "data": "secret"},
        {"type": "text", "text": "Yes."},
    ]


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (ImagePart(url="https://x/a.png"), {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}),
        (
            ImagePart(url="data:image/webp;base64,AAAA"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": "AAAA"}},
        ),
        (
            ImagePart(data="AAAA"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        ),
        (
            FilePart(data="AAAA", name="a.pdf"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "AAAA"},
                "title": "a.pdf",
            },
        ),
        (
            FilePart(url="https://x/a.pdf"),
            {"type": "document", "source": {"type": "url", "url": "https://x/a.pdf"}},
        ),
        (
            FilePart(data=base64.b64encode("Grüße".encode()).decode(), media_type="text/markdown"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"}},
        ),
        (
            FilePart(data="AAAA", name="a.gif"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "AAAA"}},
        ),
    ],
)
def test_attachments_become_blocks(part: Part, sent: dict[str, Any]) -> None:
    assert content_of("Look", part)[1] == sent


@pytest.mark.parametrize(
    ("part", "error"),
    [
        (ImagePart(data="AAAA", media_type="image/bmp"), UnsupportedMedia),
        (FilePart(data="AAAA", media_type="application/zip"), UnsupportedMedia),
        (FilePart(data="/w==", media_type="text/plain"), InvalidRequest),
        (FilePart(data="%%%", media_type="text/plain"), InvalidRequest),
        (ImagePart(), InvalidRequest),
        (FilePart(name="a.pdf"), InvalidRequest),
        (AudioPart(data="AAAA", format="wav"), UnsupportedParameter),
    ],
)
def test_an_attachment_that_cannot_be_read_is_refused_by_name(part: Part, error: type[EngineError]) -> None:
    with pytest.raises(error) as caught:
        content_of(part)
    assert caught.value.field == "input"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"n": 2}, "n"),
        ({"seed": 1}, "seed"),
        ({"logprobs": 0}, "logprobs"),
        ({"response_format": ResponseFormat(kind="json")}, "response_format"),
        ({"temperature": 0.5, "reasoning": Reasoning(effort="low")}, "temperature"),
        ({"temperature": 0.5, "model": "claude-opus-4-7"}, "temperature"),
        ({"top_p": 0.5, "model": "claude-sonnet-5"}, "top_p"),
        (
            {
                "tools": (WEATHER,),
                "tool_choice": ToolChoice(mode="required"),
                "reasoning": Reasoning(effort="low"),
            },
            "tool_choice",
        ),
    ],
)
def test_what_anthropic_lacks_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        body_of(ask(**fields))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"temperature": 1.5}, "temperature"),
        ({"response_format": ResponseFormat(kind="json_schema")}, "response_format"),
        ({"reasoning": Reasoning(budget=500)}, "reasoning"),
        ({"reasoning": Reasoning(budget=4000), "max_output_tokens": 4000}, "max_output_tokens"),
        ({"reasoning": Reasoning(effort="low"), "max_output_tokens": 1000}, "max_output_tokens"),
        ({"provider_options": {"stream": False}}, "provider_options.stream"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        body_of(ask(**fields))
    assert caught.value.field == field


def test_sampling_stops_and_the_user_have_their_fields() -> None:
    body = body_of(ask(temperature=0.5, top_p=0.9, stop=("END",), user="u1", max_output_tokens=5))
    assert body["temperature"] == 0.5
    assert body["top_p"] == 0.9
    assert body["stop_sequences"] == ["END"]
    assert body["metadata"] == {"user_id": "u1"}
    assert body["max_tokens"] == 5


@pytest.mark.parametrize("fields", [{}, {"model": "claude-sonnet-5"}, {"reasoning": Reasoning(effort="low")}])
def test_the_sampling_that_holds_anyway_is_left_out(fields: dict[str, Any]) -> None:
    body = body_of(ask(temperature=1, top_p=1, **fields))
    assert not body.keys() & {"temperature", "top_p"}


@pytest.mark.parametrize(
    ("choice", "parallel", "sent"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(mode="auto"), None, {"type": "auto"}),
        (ToolChoice(mode="required"), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice(mode="none"), False, {"type": "none"}),
        (ToolChoice(mode="function", name="weather"), None, {"type": "tool", "name": "weather"}),
    ],
)
def test_the_choice_of_tools(choice: ToolChoice | None, parallel: bool | None, sent: dict[str, Any] | None) -> None:
    body = body_of(ask(tools=(WEATHER, WebSearch()), tool_choice=choice, parallel_tool_calls=parallel))
    assert body.get("tool_choice") == sent
    assert body["tools"] == [
        {
            "name": "weather",
            "input_schema": {"type": "object", "properties": {"city": {}}},
            "description": "Tells it.",
            "strict": True,
        },
        {"type": "web_search_20250305", "name": "web_search", **MARK},
    ]


@pytest.mark.parametrize("fields", [{"tool_choice": ToolChoice(mode="auto")}, {"parallel_tool_calls": False}])
def test_without_tools_there_is_no_choice(fields: dict[str, Any]) -> None:
    assert "tool_choice" not in body_of(ask(**fields))


def test_the_cache_is_marked_at_the_end_of_the_system_prompt_and_of_the_last_turn() -> None:
    messages = (user("one"), Message(role="assistant", parts=(TextPart("yes"),)), user("two", "three"))
    body = body_of(ask(messages=messages, instructions="Be brief.", tools=(WEATHER,)))
    assert body["system"][-1]["cache_control"] == {"type": "ephemeral"}
    marked = [block["text"] for turn in body["messages"] for block in turn["content"] if "cache_control" in block]
    assert marked == ["three"]
    assert "cache_control" not in body["tools"][0]


def test_a_cache_control_of_the_callers_own_replaces_the_marks() -> None:
    body = body_of(
        ask(instructions="Be brief.", provider_options={"cache_control": {"type": "ephemeral", "ttl": "1h"}})
    )
    assert body["cache_control"]["ttl"] == "1h"
    assert "cache_control" not in body["system"][0]
    assert "cache_control" not in body["messages"][0]["content"][0]


def test_provider_options_win_and_are_merged_into_objects() -> None:
    schema = {"type": "object"}
    asked = ask(
        model="claude-opus-4-6",
        response_format=ResponseFormat(kind="json_schema", schema=schema),
        reasoning=Reasoning(effort="low"),
        provider_options={
            "output_config": {"effort": "max"},
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "service_tier": "auto",
        },
    )
    body = body_of(asked)
    assert body["output_config"] == {"effort": "max", "format": {"type": "json_schema", "schema": schema}}
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert body["service_tier"] == "auto"


@pytest.mark.parametrize(
    ("model", "generation"),
    [
        ("claude-3-7-sonnet-20250219", "budget"),
        ("claude-opus-4-20250514", "budget"),
        ("claude-haiku-4-5-20251001", "budget"),
        ("claude-sonnet-4-5", "budget"),
        ("MiniMax-M2", "budget"),
        ("claude-opus-4-6", "both"),
        ("anthropic.claude-sonnet-4-6", "both"),
        ("claude-sonnet-latest", "both"),
        ("claude-opus-4-7", "adaptive"),
        ("claude-opus-5", "adaptive"),
        ("claude-fable-5-2", "adaptive"),
        ("claude-mythos-preview", "adaptive"),
        ("claude-sonnet-5-20270101", "adaptive"),
    ],
)
def test_the_generation_of_a_model_is_read_from_its_name(model: str, generation: str) -> None:
    assert generation_of(model) == generation


@pytest.mark.parametrize(("effort", "budget"), [("low", 2048), ("medium", 8000), ("high", 16000)])
def test_an_effort_is_a_budget_to_older_models_with_room_for_the_answer(effort: Any, budget: int) -> None:
    body = thinks("claude-sonnet-4-5", reasoning=Reasoning(effort=effort))
    assert body["thinking"] == {"type": "enabled", "budget_tokens": budget}
    assert body["max_tokens"] == 8192 + budget


def test_an_effort_shrinks_to_the_callers_bound_and_a_budget_wins_over_it() -> None:
    small = thinks("claude-sonnet-4-5", reasoning=Reasoning(effort="high"), max_output_tokens=4000)
    assert (small["thinking"]["budget_tokens"], small["max_tokens"]) == (2000, 4000)
    exact = thinks("claude-opus-4-6", reasoning=Reasoning(effort="low", budget=5000))
    assert exact["thinking"] == {"type": "enabled", "budget_tokens": 5000}


def test_the_catalogues_bound_holds_while_thinking() -> None:
    body = body_of(ask(model="claude-sonnet-4-5", reasoning=Reasoning(effort="high")), most=10000)
    assert (body["thinking"]["budget_tokens"], body["max_tokens"]) == (5000, 10000)


@pytest.mark.parametrize(
    ("asked", "effort"),
    [
        (Reasoning(effort="minimal"), "low"),
        (Reasoning(effort="high"), "high"),
        (Reasoning(effort="max"), "max"),
        (Reasoning(budget=7000), "medium"),
        (Reasoning(budget=100), "low"),
    ],
)
def test_newer_models_think_adaptively_with_an_effort(asked: Reasoning, effort: str) -> None:
    body = thinks("claude-sonnet-5", reasoning=asked)
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": effort}


def test_thinking_that_nobody_asked_to_see_is_left_out_of_the_answer() -> None:
    body = thinks("claude-sonnet-5", reasoning=Reasoning(effort="low", summary=False))
    assert body["thinking"]["display"] == "omitted"


@pytest.mark.parametrize(
    ("model", "thinking", "output"),
    [
        ("claude-sonnet-4-5", None, None),
        ("claude-opus-4-7", None, None),
        ("claude-sonnet-5", {"type": "disabled"}, None),
        ("claude-mythos-5", None, {"effort": "low"}),
    ],
)
def test_no_thinking_is_the_least_that_the_model_can_do(model: str, thinking: Any, output: Any) -> None:
    body = thinks(model, reasoning=Reasoning(effort="none"))
    assert (body.get("thinking"), body.get("output_config")) == (thinking, output)


@pytest.mark.parametrize(
    "thoughts",
    [
        (),
        (ReasoningPart(provider="openai", text="theirs", signature="x"),),
        (ReasoningPart(provider="anthropic", text="unsigned"),),
    ],
)
def test_a_step_that_began_without_thinking_of_claudes_goes_on_without_it(thoughts: tuple[Part, ...]) -> None:
    messages = (
        user("x"),
        Message(role="assistant", parts=thoughts, tool_calls=(CALL,)),
        Message(role="tool", tool_call_id="toolu_1", parts=(TextPart("sun"),)),
    )
    asked: dict[str, Any] = {"messages": messages, "reasoning": Reasoning(effort="low")}
    assert "thinking" not in thinks("claude-sonnet-4-5", **asked)
    assert thinks("claude-sonnet-5", **asked)["thinking"]["type"] == "adaptive"
