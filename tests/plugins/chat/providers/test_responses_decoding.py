"""The event stream of Responses becomes deltas."""

import json
from typing import Any

import pytest

from engine.api import (
    Answered,
    ChatDelta,
    Extra,
    Finish,
    InvalidRequest,
    ProviderError,
    ProviderRateLimited,
    ProviderUnavailable,
    ReasoningDelta,
    ReasoningPart,
    TextDelta,
    ToolCall,
    ToolDelta,
    Usage,
)
from engine.wire.sse import SseEvent
from plugins.chat.providers.responses_decoding import ResponsesDecoder
from plugins.vendors.failures import Vendor


def event(name: str, **fields: Any) -> SseEvent:
    return SseEvent(json.dumps({"type": name, **fields}).encode(), name.encode())


def completed(status: str = "completed", **fields: Any) -> SseEvent:
    return event(f"response.{status}", response={"id": "resp_1", **fields})


def item_done(**item: Any) -> SseEvent:
    return event("response.output_item.done", output_index=0, item=item)


def decode(*events: SseEvent) -> list[ChatDelta]:
    decoder = ResponsesDecoder(Vendor("OpenAI"), "openai")
    deltas = decoder.feed(events)
    if decoder.failure is not None:
        raise decoder.failure
    return deltas if decoder.over else [*deltas, *decoder.end()]


def test_text_streams_between_the_model_and_the_usage() -> None:
    usage = {
        "input_tokens": 9,
        "output_tokens": 5,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens_details": {"reasoning_tokens": 2},
    }
    assert decode(
        event("response.created", response={"id": "resp_1", "model": "gpt-5.2-2026"}),
        event("response.output_text.delta", delta="Hel"),
        event("response.output_text.delta", delta="lo"),
        completed(service_tier="default", usage=usage),
    ) == [
        Answered("gpt-5.2-2026"),
        TextDelta("Hello"),
        Finish("stop"),
        Extra({"id": "resp_1", "service_tier": "default"}),
        Usage(input_tokens=9, output_tokens=5, cached_tokens=4, reasoning_tokens=2),
    ]


def test_parts_of_a_summary_are_paragraphs() -> None:
    def part(index: int, text: str) -> list[SseEvent]:
        return [
            event("response.reasoning_summary_part.added", summary_index=index),
            event("response.reasoning_summary_text.delta", delta=text),
        ]

    assert decode(*part(0, "one"), *part(1, "two"), completed())[0] == ReasoningDelta("one\n\ntwo")


def test_thinking_comes_back_sealed_for_the_next_step() -> None:
    summary = [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}]
    deltas = decode(item_done(type="reasoning", id="rs_1", summary=summary, encrypted_content="sealed"), completed())
    assert deltas[0] == ReasoningPart(provider="openai", id="rs_1", signature="sealed", text="one\n\ntwo")


def test_thinking_that_cannot_be_sent_back_is_not_kept() -> None:
    assert decode(item_done(type="reasoning", id="rs_1", summary=[]), completed())[0] == Finish("stop")


def test_a_call_is_given_out_whole_and_names_the_reason_to_finish() -> None:
    call = item_done(type="function_call", id="fc_1", call_id="call_1", name="f", arguments='{"a":1}')
    assert decode(event("response.function_call_arguments.delta", delta='{"a'), call, completed())[:2] == [
        ToolCall(call_id="call_1", name="f", arguments='{"a":1}'),
        Finish("tool_calls"),
    ]


def test_the_arguments_of_a_call_come_in_pieces_before_it() -> None:
    item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f"}
    begun = event("response.output_item.added", item={**item, "arguments": ""})
    grown = [event("response.function_call_arguments.delta", item_id="fc_1", delta=each) for each in ('{"a"', ":1}")]
    other = event("response.function_call_arguments.delta", item_id="fc_9", delta="lost")
    assert decode(begun, *grown, other, item_done(**item, arguments='{"a":1}'), completed())[:2] == [
        ToolDelta(call_id="call_1", name="f", arguments='{"a":1}'),
        ToolCall(call_id="call_1", name="f", arguments='{"a":1}'),
    ]


@pytest.mark.parametrize(
    ("reason", "told"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("something_else", "length")],
)
def test_an_incomplete_answer_says_why(reason: str, told: Any) -> None:
    assert Finish(told) in decode(completed("incomplete", incomplete_details={"reason": reason}))


def test_a_failed_response_is_the_vendors_failure() -> None:
    with pytest.raises(ProviderUnavailable, match="Oops"):
        decode(completed("failed", error={"code": "server_error", "message": "Oops"}))


@pytest.mark.parametrize(
    "failure",
    [
        event("error", code="rate_limit_exceeded", message="Slow down", param=None),
        event("error", error={"code": "rate_limit_exceeded", "message": "Slow down"}),
        SseEvent(b'{"error":{"code":"rate_limit_exceeded","message":"Slow down"}}'),
    ],
)
def test_an_error_event_in_each_of_its_forms_is_the_vendors_failure(failure: SseEvent) -> None:
    with pytest.raises(ProviderRateLimited, match="Slow down"):
        decode(failure)


def test_an_answer_that_the_policy_forbids_is_the_requests_fault() -> None:
    with pytest.raises(InvalidRequest):
        decode(completed("failed", error={"code": "image_content_policy_violation", "message": "No"}))


def test_events_that_lost_their_names_are_known_by_their_type() -> None:
    events = [event("response.output_text.delta", delta="a"), completed()]
    assert decode(*(SseEvent(each.data) for each in events))[0] == TextDelta("a")


def test_events_of_other_kinds_are_left_out_whatever_is_in_them() -> None:
    odd = [
        event("response.future.thing", delta={"not": "text"}),
        item_done(type="tool_search_call", arguments={"an": "object"}, name=7),
        SseEvent(b"[DONE]"),
    ]
    assert decode(*odd, completed())[0] == Finish("stop")


def test_a_missing_terminal_event_is_a_cut() -> None:
    with pytest.raises(ProviderUnavailable, match="OpenAI cut off its answer"):
        decode(event("response.output_text.delta", delta="a"))


def test_even_an_event_of_no_use_must_be_json() -> None:
    with pytest.raises(ProviderError, match="not valid JSON"):
        decode(SseEvent(b'{"type": ', b"response.output_item.added"), completed())


@pytest.mark.parametrize("data", [b'{"delta": ', b'{"delta": 7}', b"\xff"])
def test_what_is_no_event_is_a_broken_protocol(data: bytes) -> None:
    with pytest.raises(ProviderError, match="OpenAI broke its protocol") as caught:
        decode(SseEvent(data, b"response.output_text.delta"))
    assert type(caught.value) is ProviderError
