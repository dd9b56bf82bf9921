"""Requests as Gemini's generateContent takes them: each body here is held to the types of Google's own SDK."""

from typing import Any

import msgspec
import pytest

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
from plugins.chat.providers.google_body import UNSIGNED, google_body
from tests.emulators.google import check_generate_content
from tests.plugins.vendors.kit import ask, user

WEATHER = FunctionTool(name="weather", description="Tells it.", parameters={"type": "object"})
CALL = ToolCall(call_id="call_1", name="weather", arguments='{"city": "Oslo"}')


def body_of(request: ChatRequest) -> dict[str, Any]:
    body = google_body(request, "google")
    check_generate_content(msgspec.json.encode(body))
    return body


def config_of(**fields: Any) -> dict[str, Any]:
    config: dict[str, Any] = body_of(ask(**fields)).get("generationConfig", {})
    return config


def thinking_of(model: str, **fields: Any) -> Any:
    return config_of(model=model, reasoning=Reasoning(**fields)).get("thinkingConfig")


def parts_of(*parts: Part | str) -> list[dict[str, Any]]:
    (content,) = body_of(ask(messages=(user(*parts),)))["contents"]
    sent: list[dict[str, Any]] = content["parts"]
    return sent


def model_parts(model: str, **message: Any) -> list[dict[str, Any]]:
    body = body_of(ask(model=model, messages=(user("x"), Message(role="assistant", **message))))
    sent: list[dict[str, Any]] = body["contents"][1]["parts"]
    return sent


def test_a_plain_question_is_contents_alone() -> None:
    assert body_of(ask("Hi")) == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_instructions_and_system_messages_are_the_system_instruction_in_order() -> None:
    messages = (
        Message(role="system", parts=(TextPart("Be kind."),)),
        user("Hi"),
        Message(role="developer", parts=(TextPart("Be short."),)),
    )
    body = body_of(ask(messages=messages, instructions="Be brief."))
    assert body["systemInstruction"] == {"parts": [{"text": "Be brief."}, {"text": "Be kind."}, {"text": "Be short."}]}
    assert [content["role"] for content in body["contents"]] == ["user"]


def test_every_field_of_sampling_has_its_place() -> None:
    asked = config_of(
        temperature=0.5, top_p=0.9, stop=("END",), seed=1, n=2, max_output_tokens=5, logprobs=3, user="u1"
    )
    assert asked == {
        "temperature": 0.5,
        "topP": 0.9,
        "stopSequences": ["END"],
        "seed": 1,
        "maxOutputTokens": 5,
        "candidateCount": 2,
        "responseLogprobs": True,
        "logprobs": 3,
    }
    assert config_of(logprobs=0) == {"responseLogprobs": True}


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        (ResponseFormat(kind="text"), {}),
        (ResponseFormat(kind="json"), {"responseMimeType": "application/json"}),
        (
            ResponseFormat(kind="json_schema", schema={"type": "object"}),
            {"responseMimeType": "application/json", "responseJsonSchema": {"type": "object"}},
        ),
    ],
)
def test_the_form_of_the_answer(wanted: ResponseFormat, sent: dict[str, Any]) -> None:
    assert config_of(response_format=wanted) == sent


@pytest.mark.parametrize(
    ("part", "sent"),
    [
        (ImagePart(data="AAAA"), {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
        (
            ImagePart(url="data:image/webp;base64,AAAA"),
            {"inlineData": {"mimeType": "image/webp", "data": "AAAA"}},
        ),
        (
            ImagePart(url="https://x/a.jpg?size=1"),
            {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x/a.jpg?size=1"}},
        ),
        (FilePart(data="AAAA"), {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}}),
        (FilePart(data="AAAA", name="a.txt"), {"inlineData": {"mimeType": "text/plain", "data": "AAAA"}}),
        (
            FilePart(url="https://x/a", media_type="video/mp4"),
            {"fileData": {"mimeType": "video/mp4", "fileUri": "https://x/a"}},
        ),
        (AudioPart(data="AAAA", format="mp3"), {"inlineData": {"mimeType": "audio/mpeg", "data": "AAAA"}}),
        (AudioPart(data="AAAA", format="wav"), {"inlineData": {"mimeType": "audio/wav", "data": "AAAA"}}),
    ],
)
def test_attachments_become_parts(part: Part, sent: dict[str, Any]) -> None:
    assert parts_of("Look", part)[1] == sent


def test_calls_and_their_answers_are_told_apart_by_id_and_name() -> None:
    messages = (
        user("Weather?"),
        Message(role="assistant", parts=(TextPart("Wait."),), tool_calls=(CALL,)),
        Message(role="tool", tool_call_id="call_1", parts=(TextPart("sun"), ImagePart(data="AAAA"))),
        user("And?"),
    )
    _, model, results = body_of(ask(model="gemini-2.5-flash", messages=messages))["contents"]
    assert model == {
        "role": "model",
        "parts": [
            {"text": "Wait."},
            {"functionCall": {"id": "call_1", "name": "weather", "args": {"city": "Oslo"}}},
        ],
    }
    assert results["role"] == "user"
    assert results["parts"] == [
        {
            "functionResponse": {
                "id": "call_1",
                "name": "weather",
                "response": {"output": "sun"},
                "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}],
            }
        },
        {"text": "And?"},
    ]


def test_an_answer_to_no_call_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="'call_9'") as caught:
        body_of(ask(messages=(user("x"), Message(role="tool", tool_call_id="call_9"))))
    assert caught.value.field == "input"


@pytest.mark.parametrize(
    ("model", "signatures"),
    [
        ("gemini-3-flash", [UNSIGNED, None]),
        ("gemini-2.5-flash", [None, None]),
        ("gemini-flash-latest", [UNSIGNED, None]),
    ],
)
def test_calls_that_gemini_did_not_make_are_let_through(model: str, signatures: list[str | None]) -> None:
    parts = model_parts(model, tool_calls=(CALL, CALL))
    assert [part.get("thoughtSignature") for part in parts] == signatures


def test_signatures_go_back_to_where_they_were() -> None:
    parts = (
        ReasoningPart(provider="google", text="Hm.", signature="dGhvdWdodA=="),
        TextPart("Yes."),
        ReasoningPart(provider="google", signature="dGV4dA=="),
        ReasoningPart(provider="google", text="unsigned"),
        ReasoningPart(provider="openai", text="theirs", signature="eA=="),
    )
    signed = ToolCall(call_id="c", name="f", arguments="{}", signature="Y2FsbA==")
    assert model_parts("gemini-3-flash", parts=parts, tool_calls=(signed,)) == [
        {"text": "Hm.", "thought": True, "thoughtSignature": "dGhvdWdodA=="},
        {"text": "Yes.", "thoughtSignature": "dGV4dA=="},
        {"functionCall": {"id": "c", "name": "f", "args": {}}, "thoughtSignature": "Y2FsbA=="},
    ]


def test_a_signature_without_a_text_before_it_stands_alone() -> None:
    (part,) = model_parts("gemini-3-flash", parts=(ReasoningPart(provider="google", signature="dGV4dA=="),))
    assert part == {"text": "", "thoughtSignature": "dGV4dA=="}


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (None, None),
        (ToolChoice(mode="auto"), None),
        (ToolChoice(mode="required"), {"mode": "ANY"}),
        (ToolChoice(mode="none"), {"mode": "NONE"}),
        (ToolChoice(mode="function", name="weather"), {"mode": "ANY", "allowedFunctionNames": ["weather"]}),
    ],
)
def test_the_choice_of_tools(choice: ToolChoice | None, config: dict[str, Any] | None) -> None:
    body = body_of(ask(tools=(WEATHER, WebSearch()), tool_choice=choice))
    declared = {"name": "weather", "description": "Tells it.", "parametersJsonSchema": {"type": "object"}}
    assert body["tools"] == [{"functionDeclarations": [declared]}, {"googleSearch": {}}]
    assert body.get("toolConfig") == (config and {"functionCallingConfig": config})


def test_a_strict_function_holds_its_arguments_to_the_schema() -> None:
    strict = FunctionTool(name="f", strict=True)
    body = body_of(ask(tools=(strict,)))
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    assert body["tools"] == [{"functionDeclarations": [{"name": "f", "description": ""}]}]


def test_a_search_alone_leaves_nothing_to_choose() -> None:
    body = body_of(ask(tools=(WebSearch(),), tool_choice=ToolChoice(mode="required")))
    assert "toolConfig" not in body


@pytest.mark.parametrize(
    ("model", "asked", "sent"),
    [
        ("gemini-2.5-flash", {"effort": "low"}, {"thinkingBudget": 2048, "includeThoughts": True}),
        ("gemini-2.5-flash", {"effort": "medium"}, {"thinkingBudget": 8000, "includeThoughts": True}),
        ("gemini-2.5-flash", {"effort": "high"}, {"thinkingBudget": 16000, "includeThoughts": True}),
        ("gemini-2.5-flash", {"effort": "none"}, {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-2.5-flash", {"budget": 0}, {"thinkingBudget": 0, "includeThoughts": False}),
        ("gemini-2.5-flash", {"effort": "low", "budget": 99}, {"thinkingBudget": 99, "includeThoughts": True}),
        ("gemini-2.5-pro", {"effort": "none"}, {"thinkingBudget": 128, "includeThoughts": False}),
        ("gemini-2.5-pro", {"effort": "max"}, {"thinkingBudget": 32768, "includeThoughts": True}),
        ("gemini-3-flash-preview", {"effort": "minimal"}, {"thinkingLevel": "MINIMAL", "includeThoughts": True}),
        ("gemini-3-flash-preview", {"effort": "max"}, {"thinkingLevel": "HIGH", "includeThoughts": True}),
        ("gemini-3-flash-preview", {"effort": "none"}, {"thinkingLevel": "MINIMAL", "includeThoughts": False}),
        ("gemini-3-flash-preview", {"budget": 9000}, {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        ("gemini-3-flash-preview", {"budget": -1}, {"includeThoughts": True}),
        ("gemini-3-pro-preview", {"effort": "minimal"}, {"thinkingLevel": "LOW", "includeThoughts": True}),
        ("gemini-3.1-pro-preview", {"effort": "medium"}, {"thinkingLevel": "MEDIUM", "includeThoughts": True}),
        ("gemini-flash-latest", {"effort": "low"}, {"thinkingLevel": "LOW", "includeThoughts": True}),
        (
            "gemini-3-flash-preview",
            {"effort": "low", "summary": False},
            {"thinkingLevel": "LOW", "includeThoughts": False},
        ),
        ("gemini-3-flash-preview", {}, None),
    ],
)
def test_thinking_is_asked_for_as_the_generation_takes_it(model: str, asked: dict[str, Any], sent: Any) -> None:
    assert thinking_of(model, **asked) == sent


def test_provider_options_win_and_are_merged_into_objects() -> None:
    options = {"generationConfig": {"topK": 40, "temperature": 0}, "safetySettings": []}
    body = body_of(ask(temperature=0.5, top_p=0.9, provider_options=options))
    assert body["generationConfig"] == {"temperature": 0, "topP": 0.9, "topK": 40}
    assert body["safetySettings"] == []


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"parallel_tool_calls": False}, UnsupportedParameter, "parallel_tool_calls"),
        ({"response_format": ResponseFormat(kind="json_schema")}, InvalidRequest, "response_format"),
        ({"messages": (user(ImagePart()),)}, InvalidRequest, "input"),
        ({"messages": (Message(role="assistant", parts=(ImagePart(data="A"),)),)}, UnsupportedMedia, "input"),
    ],
)
def test_what_gemini_lacks_is_refused_by_name(fields: dict[str, Any], error: type[EngineError], field: str) -> None:
    with pytest.raises(error) as caught:
        body_of(ask(**fields))
    assert caught.value.field == field
