"""A stream's events as chunks that the official SDK reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from engine.api import (
    Citation,
    ErrorBody,
    Event,
    FinishReason,
    MessageSaved,
    ReasoningDelta,
    StatusChanged,
    StreamEnded,
    StreamStarted,
    TextDelta,
    ToolCall,
    Usage,
)
from plugins.openai_api.chunks import ChunkEncoder

LOGPROB = {"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": []}


def completed(reason: FinishReason | None = "stop", **fields: Any) -> StreamEnded:
    return StreamEnded(status="completed", reason="done", finish_reason=reason, **fields)


def told(events: Iterable[Event], *, choices: int = 1, include_usage: bool = False) -> list[str]:
    """The data of every server-sent event that the stream becomes."""
    encoder = ChunkEncoder("s_1", "local", created=1_790_000_000, choices=choices, include_usage=include_usage)
    sent = b"".join(encoder.encode(n, event) or b"" for n, event in enumerate(events, 1))
    assert not sent or sent.endswith(b"\n\n")
    blocks = sent.decode().split("\n\n")[:-1]
    assert all(block.startswith("data: ") and "\n" not in block for block in blocks)
    return [block.removeprefix("data: ") for block in blocks]


def chunks(events: Iterable[Event], *, choices: int = 1, include_usage: bool = False) -> list[ChatCompletionChunk]:
    """The chunks as the SDK's own model reads them."""
    data = told(events, choices=choices, include_usage=include_usage)
    assert data.pop() == "[DONE]"
    return [ChatCompletionChunk.model_validate_json(each) for each in data]


def content(chunks: Sequence[ChatCompletionChunk], choice: int = 0) -> str:
    return "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == choice)


def test_an_answer_begins_with_its_role_and_ends_with_its_finish_reason() -> None:
    read = chunks([StreamStarted(model="local"), TextDelta("Hel"), TextDelta("lo"), completed("length")])
    assert [chunk.choices[0].delta.role for chunk in read] == ["assistant", None, None, None]
    assert [chunk.choices[0].finish_reason for chunk in read] == [None, None, None, "length"]
    assert content(read) == "Hello"


def test_all_chunks_of_an_answer_have_one_id_made_of_its_stream() -> None:
    read = chunks([TextDelta("a"), TextDelta("b"), completed()])
    assert {(chunk.id, chunk.object, chunk.created) for chunk in read} == {
        ("chatcmpl-s_1", "chat.completion.chunk", 1_790_000_000)
    }


def test_closing_chunk_names_the_model_that_answered_and_what_the_vendor_told() -> None:
    extra = {"system_fingerprint": "fp_1", "service_tier": "default", "id": "other"}
    read = chunks([TextDelta("a"), completed(model="groq/llama", extra=extra)])
    assert [chunk.model for chunk in read] == ["local", "local", "groq/llama"]
    assert (read[-1].system_fingerprint, read[-1].service_tier, read[-1].id) == ("fp_1", "default", "chatcmpl-s_1")


def test_usage_comes_last_in_a_chunk_without_choices_when_it_was_asked_for() -> None:
    usage = Usage(input_tokens=9, output_tokens=4, cached_tokens=3, reasoning_tokens=2)
    read = chunks([TextDelta("a"), completed(usage=usage)], include_usage=True)
    assert [chunk.usage for chunk in read[:-1]] == [None] * 3
    last = read[-1].usage
    assert read[-1].choices == [] and last is not None
    assert (last.prompt_tokens, last.completion_tokens, last.total_tokens) == (9, 4, 13)
    assert last.prompt_tokens_details is not None and last.prompt_tokens_details.cached_tokens == 3
    assert last.completion_tokens_details is not None and last.completion_tokens_details.reasoning_tokens == 2


def test_every_chunk_has_a_usage_field_only_when_usage_was_asked_for() -> None:
    events = [TextDelta("a"), TextDelta("b"), completed(usage=Usage(input_tokens=1))]
    assert not any("usage" in json.loads(data) for data in told(events)[:-1])
    assert all("usage" in json.loads(data) for data in told(events, include_usage=True)[:-1])


def test_tool_calls_are_counted_within_their_choice() -> None:
    calls = [
        ToolCall(call_id="c1", name="weather", arguments='{"city":"Bern"}'),
        ToolCall(call_id="c2", name="time", arguments="{}"),
        ToolCall(call_id="c3", name="time", arguments="{}", choice=1),
    ]
    read = chunks([*calls, completed("tool_calls")], choices=2)
    deltas = [(c.index, call) for chunk in read for c in chunk.choices for call in c.delta.tool_calls or ()]
    assert [(choice, call.index, call.id, call.type) for choice, call in deltas] == [
        (0, 0, "c1", "function"),
        (0, 1, "c2", "function"),
        (1, 0, "c3", "function"),
    ]
    function = deltas[0][1].function
    assert function is not None and (function.name, function.arguments) == ("weather", '{"city":"Bern"}')
    finishes = [c.finish_reason for chunk in read for c in chunk.choices if c.finish_reason]
    assert finishes == ["tool_calls", "tool_calls"]


def test_signature_of_a_call_goes_to_the_client_where_google_has_it() -> None:
    data = told([ToolCall(call_id="c", name="f", arguments="{}", signature="abc"), completed("tool_calls")])
    call = json.loads(data[1])["choices"][0]["delta"]["tool_calls"][0]
    assert call["extra_content"] == {"google": {"thought_signature": "abc"}}


def test_thinking_is_told_as_reasoning_content() -> None:
    data = told([ReasoningDelta("Hmm"), TextDelta("42"), completed()])
    assert json.loads(data[1])["choices"][0]["delta"] == {"reasoning_content": "Hmm"}


def test_sources_are_told_as_annotations() -> None:
    data = told([TextDelta("a"), Citation(url="https://a.example", title="A", start=0, end=1), completed()])
    assert json.loads(data[2])["choices"][0]["delta"]["annotations"] == [
        {
            "type": "url_citation",
            "url_citation": {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 1},
        }
    ]


def test_log_probabilities_stand_beside_their_text() -> None:
    read = chunks([TextDelta("a"), TextDelta("Hi", logprobs=[LOGPROB]), TextDelta("b"), completed()])
    found = [chunk.choices[0].logprobs for chunk in read]
    assert [probs is not None for probs in found] == [False, False, True, False, False]
    assert found[2] is not None and found[2].content is not None and found[2].content[0].logprob == -0.25


def test_each_choice_has_its_own_role_text_and_end() -> None:
    events = [TextDelta("a"), TextDelta("x", 1), TextDelta("b"), TextDelta("y", 1), completed()]
    read = chunks(events, choices=3)
    assert [content(read, choice) for choice in range(3)] == ["ab", "xy", ""]
    roles = [c.index for chunk in read for c in chunk.choices if c.delta.role]
    ends = [c.index for chunk in read for c in chunk.choices if c.finish_reason]
    assert sorted(roles) == ends == [0, 1, 2]


def test_an_empty_answer_still_has_a_role_and_an_end() -> None:
    read = chunks([completed("content_filter")])
    assert [chunk.choices[0].delta.role for chunk in read] == ["assistant", None]
    assert read[-1].choices[0].finish_reason == "content_filter"


def test_a_failure_ends_the_stream_with_an_error_and_without_done() -> None:
    error = ErrorBody(code="provider_unavailable", message="Groq cut off its answer.", retryable=True)
    data = told([TextDelta("a"), StreamEnded(status="failed", reason="provider_error", error=error)])
    assert json.loads(data[-1]) == {
        "error": {
            "message": "Groq cut off its answer.",
            "type": "server_error",
            "param": None,
            "code": "provider_unavailable",
        }
    }


def test_a_turn_that_was_stopped_ends_with_an_error() -> None:
    data = told([TextDelta("a"), StreamEnded(status="cancelled", reason="client_cancel")])
    assert json.loads(data[-1])["error"]["code"] == "cancelled"


def test_events_that_the_dialect_has_no_word_for_are_not_sent() -> None:
    silent = [StreamStarted(model="m"), StatusChanged(stage="loading"), MessageSaved(conversation="c", message="m")]
    assert told(silent) == []


texts = st.text(st.characters(exclude_categories=["Cs"]))
spoken = st.one_of(
    st.builds(TextDelta, texts, st.integers(0, 3), st.none() | st.just([LOGPROB])),
    st.builds(ReasoningDelta, texts),
    st.builds(ToolCall, call_id=st.just("c"), name=st.just("f"), arguments=texts, choice=st.integers(0, 3)),
    st.builds(Citation, url=texts),
    st.builds(StatusChanged, stage=texts),
)


@given(st.lists(spoken), st.integers(1, 4), st.booleans())
def test_chunks_add_up_to_what_the_stream_said(said: list[Event], choices: int, include_usage: bool) -> None:
    read = chunks([*said, completed()], choices=choices, include_usage=include_usage)
    deltas = [event for event in said if isinstance(event, TextDelta)]
    calls = [event.arguments for event in said if isinstance(event, ToolCall)]
    for choice in range(4):
        assert content(read, choice) == "".join(delta.text for delta in deltas if delta.choice == choice)
    sent = [call.function for chunk in read for c in chunk.choices for call in c.delta.tool_calls or ()]
    assert [function.arguments for function in sent if function] == calls
    roles = [c.index for chunk in read for c in chunk.choices if c.delta.role]
    ends = [c.index for chunk in read for c in chunk.choices if c.finish_reason]
    assert len(set(roles)) == len(roles) and sorted(roles) == sorted(ends)
