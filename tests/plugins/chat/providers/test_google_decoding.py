"""Chunks of streamGenerateContent that are rare or broken; each is one that Google's own SDK reads."""

import json
from typing import Any

import pytest
from google.genai import types

from engine.api import (
    ChatDelta,
    Citation,
    EngineError,
    Finish,
    ProviderError,
    ProviderUnavailable,
    ReasoningPart,
    StatusChanged,
    TextDelta,
    ToolCall,
    Usage,
)
from engine.wire.sse import SseEvent
from plugins.chat.providers.google_decoding import GoogleDecoder
from plugins.vendors.failures import Vendor
from plugins.vendors.google_faults import GoogleVendor, read_google_fault
from tests.plugins.vendors.kit import finish_of, only, reasoning_of, text_of, usage_of

VENDOR = GoogleVendor("Google", read_google_fault)


def chunk(*parts: dict[str, Any], index: int = 0, **candidate: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": list(parts)}
    return {"candidates": [{"content": content, "index": index, **candidate}]}


def events(*written: dict[str, Any]) -> list[SseEvent]:
    for one in written:
        types.GenerateContentResponse.model_validate(one)
    return [SseEvent(json.dumps(one).encode()) for one in written]


def decoded(*written: dict[str, Any], **options: Any) -> list[ChatDelta]:
    decoder = GoogleDecoder(VENDOR, "google", **options)
    deltas = decoder.feed(events(*written))
    if decoder.failure is not None:
        raise decoder.failure
    return deltas + decoder.end()


def test_signatures_of_text_and_of_thoughts_are_kept_for_the_next_step() -> None:
    deltas = decoded(
        chunk({"text": "Hm.", "thought": True, "thoughtSignature": "dGhvdWdodA=="}),
        chunk({"text": "Yes."}),
        chunk({"text": "", "thoughtSignature": "dGV4dA=="}, finishReason="STOP"),
    )
    assert reasoning_of(deltas) == "Hm."
    assert text_of(deltas) == "Yes."
    assert only(ReasoningPart, deltas) == [
        ReasoningPart(provider="google", text="Hm.", signature="dGhvdWdodA=="),
        ReasoningPart(provider="google", signature="dGV4dA=="),
    ]


def test_a_picture_in_the_answer_is_told_as_left_out() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "aGk="}}
    deltas = decoded(chunk({"text": "Look: "}), chunk(picture, finishReason="STOP"))
    assert text_of(deltas) == "Look: "
    (status,) = only(StatusChanged, deltas)
    assert (status.stage, "image/png" in (status.detail or "")) == ("left_out", True)


def test_calls_without_an_id_get_one_and_missing_arguments_are_none() -> None:
    call = {"functionCall": {"name": "f"}}
    calls = only(ToolCall, decoded(chunk(call, call, finishReason="STOP")))
    assert len({call.call_id for call in calls}) == 2
    assert all(call.call_id for call in calls)
    assert [call.arguments for call in calls] == ["{}", "{}"]


def test_each_choice_has_its_own_text_calls_and_finish() -> None:
    deltas = decoded(
        chunk({"text": "a"}),
        chunk({"text": "b"}, index=1),
        chunk({"functionCall": {"name": "f", "args": {}}}, index=1, finishReason="STOP"),
        chunk({"text": "A"}, finishReason="MAX_TOKENS"),
        choices=2,
    )
    assert [(delta.text, delta.choice) for delta in only(TextDelta, deltas)] == [("a", 0), ("b", 1), ("A", 0)]
    assert [call.choice for call in only(ToolCall, deltas)] == [1]
    assert only(Finish, deltas) == [Finish("tool_calls", 1), Finish("length", 0)]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("SPII", "content_filter"),
        ("OTHER", "stop"),
    ],
)
def test_each_finish_reason_has_its_finish(reason: str, finish: str) -> None:
    assert finish_of(decoded({"candidates": [{"finishReason": reason}]})) == finish


@pytest.mark.parametrize(
    ("reason", "retryable"), [("MALFORMED_FUNCTION_CALL", True), ("MISSING_THOUGHT_SIGNATURE", False)]
)
def test_a_model_that_went_wrong_is_a_failure(reason: str, retryable: bool) -> None:
    with pytest.raises(ProviderError, match=reason) as caught:
        decoded({"candidates": [{"finishReason": reason}]})
    assert caught.value.retryable is retryable


def test_what_google_says_of_a_failure_is_told() -> None:
    candidate = {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": "Malformed function call: f("}
    with pytest.raises(ProviderError, match=r"Google broke off its answer: Malformed function call: f\(\.$"):
        decoded({"candidates": [candidate]})


def test_the_last_count_holds_and_contains_thoughts_and_the_input_of_tools() -> None:
    first = {**chunk({"text": "a"}), "usageMetadata": {"promptTokenCount": 1}}
    told = {
        "promptTokenCount": 10,
        "toolUsePromptTokenCount": 4,
        "cachedContentTokenCount": 3,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 2,
    }
    deltas = decoded(first, {**chunk(finishReason="STOP"), "usageMetadata": told})
    assert usage_of(deltas) == Usage(input_tokens=14, output_tokens=7, cached_tokens=3, reasoning_tokens=2)


def test_log_probabilities_come_in_the_form_of_openai() -> None:
    result = {
        "chosenCandidates": [{"token": "ø", "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "o", "logProbability": -1.0}]}],
    }
    (delta,) = only(TextDelta, decoded(chunk({"text": "ø"}, logprobsResult=result, finishReason="STOP")))
    assert delta == TextDelta(
        "ø",
        0,
        [
            {
                "token": "ø",
                "logprob": -0.5,
                "bytes": [195, 184],
                "top_logprobs": [{"token": "o", "logprob": -1.0, "bytes": [111]}],
            }
        ],
    )


def test_sources_without_a_place_are_cited_once_each() -> None:
    pages = [{"web": {"uri": "https://a", "title": "A"}}, {"retrievedContext": {}}]
    grounding = {"groundingChunks": pages, "groundingSupports": [{"groundingChunkIndices": [7]}]}
    deltas = decoded(chunk({"text": "x"}, finishReason="STOP", groundingMetadata=grounding), grounded=True)
    assert only(Citation, deltas) == [Citation(url="https://a", title="A")]


def test_a_place_with_several_sources_is_cited_for_each() -> None:
    pages = [{"web": {"uri": "https://a"}}, {"web": {"uri": "https://b"}}]
    support = {"segment": {"endIndex": 3}, "groundingChunkIndices": [0, 1]}
    grounding = {"groundingChunks": pages, "groundingSupports": [support]}
    deltas = decoded(
        chunk({"text": "ø"}), chunk({"text": "x"}, finishReason="STOP", groundingMetadata=grounding), grounded=True
    )
    assert only(Citation, deltas) == [
        Citation(url="https://a", start=0, end=2),
        Citation(url="https://b", start=0, end=2),
    ]


@pytest.mark.parametrize("written", [[], [chunk({"text": "half"})], [chunk(finishReason="STOP"), chunk(index=1)]])
def test_an_answer_without_a_finish_reason_was_cut_off(written: list[dict[str, Any]]) -> None:
    with pytest.raises(ProviderUnavailable, match="cut off"):
        decoded(*written, choices=2)


@pytest.mark.parametrize("data", [b'{"candidates": "x"}', b"[]", b'{"candidates": [{"content": {"parts": [1]}}]}'])
def test_a_chunk_that_the_protocol_does_not_allow_is_named(data: bytes) -> None:
    decoder = GoogleDecoder(VENDOR, "google")
    decoder.feed([SseEvent(data)])
    assert isinstance(decoder.failure, ProviderError)
    assert "broke its protocol" in decoder.failure.message


def rpc(status: str, message: str = "No.", code: int | None = None, *details: dict[str, Any]) -> bytes:
    error: dict[str, Any] = {"status": status, "message": message, "details": list(details)}
    return json.dumps({"error": error if code is None else {**error, "code": code}}).encode()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("UNAUTHENTICATED", "provider_refused"),
        ("PERMISSION_DENIED", "provider_refused"),
        ("FAILED_PRECONDITION", "provider_refused"),
        ("RESOURCE_EXHAUSTED", "provider_rate_limited"),
        ("INVALID_ARGUMENT", "invalid_request"),
        ("UNAVAILABLE", "provider_unavailable"),
        ("INTERNAL", "provider_unavailable"),
        ("DEADLINE_EXCEEDED", "provider_unavailable"),
        ("OF_A_LATER_VERSION", "provider_error"),
    ],
)
def test_a_failure_inside_a_stream_is_known_by_its_name(status: str, code: str) -> None:
    assert VENDOR.failure(rpc(status)).code == code


def test_the_field_that_google_blames_is_told_by_our_name() -> None:
    violations = {"fieldViolations": [{"field": "generation_config.max_output_tokens", "description": "No."}]}
    failure: EngineError = VENDOR.failure(rpc("INVALID_ARGUMENT", "No.", 400, violations), status=400)
    assert (failure.code, failure.field) == ("invalid_request", "max_output_tokens")


def test_a_failure_in_a_list_is_read_as_well() -> None:
    body = b"[" + rpc("RESOURCE_EXHAUSTED", "No.", 429, {"retryDelay": "7s"}) + b"]"
    failure = VENDOR.failure(body, status=429)
    assert (failure.code, failure.retry_after) == ("provider_rate_limited", 7.0)


@pytest.mark.parametrize("body", [b"nonsense", b"[]", b"{}", b'{"error": "No."}', b'{"error": {"details": [1]}}'])
def test_a_failure_of_any_other_form_is_still_an_error(body: bytes) -> None:
    assert VENDOR.failure(body, status=500).code == "provider_unavailable"
    assert isinstance(VENDOR, Vendor)
