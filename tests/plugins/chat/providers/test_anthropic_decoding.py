"""Events of Messages that are rare or broken, one by one."""

import json
from typing import Any

import pytest

from engine.api import (
    ChatDelta,
    Citation,
    EngineError,
    Extra,
    InvalidRequest,
    ProviderError,
    ProviderUnavailable,
    ReasoningPart,
    StatusChanged,
    ToolCall,
    ToolDelta,
    Usage,
)
from engine.wire.sse import SseEvent
from plugins.chat.providers.anthropic_body import REDACTED
from plugins.chat.providers.anthropic_decoding import AnthropicDecoder
from plugins.chat.providers.anthropic_faults import read_anthropic_fault
from plugins.vendors.failures import Vendor
from tests.plugins.vendors.kit import finish_of, only, text_of, usage_of

VENDOR = Vendor("Anthropic", read_anthropic_fault)
START = {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 7}}}
STOP = {"type": "message_stop"}


def block(opening: dict[str, Any], *deltas: dict[str, Any], index: int = 0) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": opening},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def ending(reason: str, **usage: Any) -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": usage or None}, STOP]


def events(*written: dict[str, Any], named: bool = True) -> list[SseEvent]:
    return [SseEvent(json.dumps(event).encode(), event["type"].encode() if named else b"") for event in written]


def decoded(*written: dict[str, Any], named: bool = True) -> list[ChatDelta]:
    decoder = AnthropicDecoder(VENDOR, "anthropic")
    deltas = decoder.feed(events(*written, named=named))
    if decoder.failure is not None:
        raise decoder.failure
    assert decoder.over
    return deltas


def test_thinking_that_only_anthropic_can_read_is_kept_for_the_next_step() -> None:
    deltas = decoded(START, *block({"type": "redacted_thinking", "data": "sealed"}), *ending("end_turn"))
    assert only(ReasoningPart, deltas) == [ReasoningPart(provider="anthropic", signature="sealed", id=REDACTED)]


def test_a_signature_in_pieces_is_put_together_and_unsigned_thinking_is_not_kept() -> None:
    signed = block(
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "signature_delta", "signature": "se"},
        {"type": "signature_delta", "signature": "aled"},
    )
    unsigned = block({"type": "thinking", "thinking": "Hm."}, index=1)
    deltas = decoded(START, *signed, *unsigned, *ending("end_turn"))
    assert only(ReasoningPart, deltas) == [ReasoningPart(provider="anthropic", signature="sealed")]


@pytest.mark.parametrize(
    ("opening", "pieces", "arguments"),
    [
        ({}, ['{"a"', ": 1}"], '{"a": 1}'),
        ({}, [""], "{}"),
        ({"a": 1}, [], '{"a": 1}'),
        (None, [], "{}"),
    ],
)
def test_arguments_come_in_pieces_or_whole(opening: Any, pieces: list[str], arguments: str) -> None:
    use = {"type": "tool_use", "id": "t", "name": "f", "input": opening}
    deltas = decoded(
        START,
        *block(use, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces)),
        *ending("tool_use"),
    )
    assert only(ToolCall, deltas) == [ToolCall(call_id="t", name="f", arguments=arguments)]
    streamed = ToolDelta(call_id="t", name="f", arguments="".join(pieces))
    assert only(ToolDelta, deltas) == ([streamed] if any(pieces) else [])
    assert finish_of(deltas) == "tool_calls"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("of_a_later_version", "stop"),
    ],
)
def test_each_stop_reason_has_its_finish(reason: str, finish: str) -> None:
    assert finish_of(decoded(START, *ending(reason))) == finish


def test_counts_are_cumulative_and_what_the_end_does_not_tell_is_known_from_the_start() -> None:
    told: dict[str, Any] = {"input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1}
    start = {"type": "message_start", "message": {"usage": told}}
    deltas = decoded(start, *ending("end_turn", output_tokens=9, output_tokens_details={"thinking_tokens": 4}))
    assert usage_of(deltas) == Usage(input_tokens=10, output_tokens=9, cached_tokens=3, reasoning_tokens=4)


def test_the_output_that_the_beginning_tells_is_not_that_of_the_answer() -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}}
    assert usage_of(decoded(start, *ending("end_turn"))) == Usage(input_tokens=7)


def test_a_stop_sequence_is_passed_on() -> None:
    delta = {"stop_reason": "stop_sequence", "stop_sequence": "END"}
    deltas = decoded(START, {"type": "message_delta", "delta": delta}, STOP)
    assert only(Extra, deltas) == [Extra({"id": "m", "stop_sequence": "END"})]


def test_pages_that_were_found_are_sources_only_of_an_answer_that_cites_none() -> None:
    hits = [{"type": "web_search_result", "url": "https://a", "title": "A"}]
    found = block({"type": "web_search_tool_result", "content": hits})
    text = {"type": "text_delta", "text": "Sun."}
    quote = {"type": "web_search_result_location", "url": "https://b", "title": "B", "cited_text": "q"}
    plain = decoded(START, *found, *block({"type": "text", "text": ""}, text, index=1), *ending("end_turn"))
    cited = decoded(
        START,
        *found,
        *block({"type": "text", "text": "Hm. "}, index=1),
        *block({"type": "text", "text": ""}, {"type": "citations_delta", "citation": quote}, text, index=2),
        *ending("end_turn"),
    )
    assert only(Citation, plain) == [Citation(url="https://a", title="A")]
    assert only(Citation, cited) == [Citation(url="https://b", title="B", text="q", start=4, end=8)]


def test_a_search_that_failed_is_told() -> None:
    failed = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
    deltas = decoded(START, *block({"type": "web_search_tool_result", "content": failed}), *ending("end_turn"))
    assert only(StatusChanged, deltas) == [
        StatusChanged(stage="web_search", detail="The search failed: max_uses_exceeded.")
    ]


def test_a_quote_from_a_document_of_the_callers_has_no_address_and_is_left_out() -> None:
    quote = {"type": "char_location", "cited_text": "q", "document_index": 0}
    cited = block({"type": "text", "text": "Sun."}, {"type": "citations_delta", "citation": quote})
    assert not only(Citation, decoded(START, *cited, *ending("end_turn")))


def test_events_are_known_by_their_type_where_the_names_were_lost_on_the_way() -> None:
    text = block({"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"})
    assert text_of(decoded(START, *text, *ending("end_turn"), named=False)) == "Hi"


def test_events_of_a_later_version_are_passed_over() -> None:
    text = block({"type": "text", "text": ""}, {"type": "mood_delta", "mood": 1}, {"type": "text_delta", "text": "Hi"})
    assert text_of(decoded(START, {"type": "ping"}, {"type": "mood"}, *text, *ending("end_turn"))) == "Hi"


def test_an_answer_without_its_last_event_was_cut_off() -> None:
    decoder = AnthropicDecoder(VENDOR, "anthropic")
    decoder.feed(events(START, ending("end_turn")[0]))
    with pytest.raises(ProviderUnavailable, match="cut off"):
        decoder.end()


@pytest.mark.parametrize(
    "broken",
    [
        {"type": "content_block_delta", "index": 3, "delta": {"type": "input_json_delta", "partial_json": "{"}},
        {"type": "content_block_delta", "index": 0, "delta": "x"},
    ],
)
def test_an_event_that_the_protocol_does_not_allow_is_named(broken: dict[str, Any]) -> None:
    with pytest.raises(ProviderError, match="broke its protocol"):
        decoded(START, broken)


@pytest.mark.parametrize(
    ("kind", "message", "error", "field"),
    [
        ("timeout_error", "Too slow", "provider_unavailable", None),
        ("billing_error", "Pay", "provider_rate_limited", None),
        ("not_found_error", "model: claude-x", "model_not_found", "model"),
        ("not_found_error", "Not Found", "provider_error", None),
        ("invalid_request_error", "thinking.enabled.budget_tokens: too small", "invalid_request", "reasoning"),
        ("invalid_request_error", "input length and `max_tokens` exceed context limit: 9", "context_too_long", "input"),
    ],
)
def test_anthropics_words_for_a_failure(kind: str, message: str, error: str, field: str | None) -> None:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    failure: EngineError = VENDOR.failure(body)
    assert (failure.code, failure.field) == (error, field)


def test_a_failure_that_is_no_json_is_still_an_error() -> None:
    assert isinstance(VENDOR.failure(b"nonsense", status=400), InvalidRequest)
