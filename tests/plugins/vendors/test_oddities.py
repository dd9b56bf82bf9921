"""Answers of Chat Completions vendors that differ from the reference: harmless oddities are taken, failures are not answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import (
    ChatDelta,
    Citation,
    Finish,
    ProviderError,
    ProviderRateLimited,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    Usage,
)
from engine.wire.sse import SseDecoder, SseEvent
from plugins.vendors.chat_decoding import ChatDecoder
from plugins.vendors.failures import Vendor
from plugins.vendors.finishing import FINISH_REASONS
from tests.plugins.vendors.kit import only, text_of

DONE = b"[DONE]"


def decode(*data: bytes | str, choices: int = 1, name: bytes = b"") -> list[ChatDelta]:
    decoder = ChatDecoder(Vendor("Acme"), choices=choices)
    deltas: list[ChatDelta] = []
    for each in data:
        deltas += decoder.feed([SseEvent(each.encode() if isinstance(each, str) else each, name)])
        if decoder.failure is not None:
            raise decoder.failure
        if decoder.over:
            return deltas
    return [*deltas, *decoder.end()]


def chunk(delta: Any = None, finish: Any = None, **fields: Any) -> str:
    index = fields.pop("index", 0)
    return json.dumps({"choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}], **fields})


HELLO = chunk({"content": "hello"})
STOP = chunk(finish="stop")

HARMLESS = {
    "counts with a fraction": [chunk(usage={"prompt_tokens": 7.0, "completion_tokens": 2.4}), STOP],
    "counts as texts": [chunk(usage={"prompt_tokens": "7", "completion_tokens": "2"}), STOP],
    "counts that are none": [chunk(usage={"prompt_tokens": {"a": 1}, "completion_tokens": None}), STOP],
    "an id that is a number": [chunk(id=12), STOP],
    "a score that is no number": ['{"choices":[{"index":0,"delta":{},"score":NaN}]}', STOP],
    "a probability of minus infinity": ['{"choices":[{"index":0,"delta":{},"x":-Infinity}]}', STOP],
    "an index as a text": [chunk({}, index="0"), STOP],
    "no index": [chunk({}, index=None), STOP],
    "a number as the reason": [chunk(finish=0), STOP],
    "reasoning as an object": [chunk({"reasoning": {"effort": "low"}}), STOP],
    "an empty error": [chunk(error=""), chunk(error={}), STOP],
    "nothing in an event": ["", STOP],
    "a blank behind the end": [STOP, "[DONE] "],
    "choices that are null": ['{"choices":null}', STOP],
    "a delta that is null": ['{"choices":[{"index":0,"delta":null}]}', STOP],
    "an unknown choice": [chunk({"content": "other"}, index=300_000), STOP],
    "a negative choice": [chunk({"content": "other"}, index=-1), STOP],
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_is_not_needed_never_fails_an_answer(kind: str) -> None:
    deltas = decode(HELLO, *HARMLESS[kind], DONE)
    assert text_of(deltas) == "hello"
    assert only(Finish, deltas) == [Finish("stop")]


def test_odd_counts_are_read_where_they_are_numbers() -> None:
    for given_in in (7.0, 7.4, "7"):
        usage = {"prompt_tokens": given_in, "completion_tokens": 2}
        assert only(Usage, decode(HELLO, chunk(usage=usage), DONE)) == [Usage(input_tokens=7, output_tokens=2)]


def test_citations_are_read_in_every_form() -> None:
    for citations in (["https://a"], [{"url": "https://a", "title": "A"}], [7, {"url": "https://a"}]):
        assert only(Citation, decode(HELLO, chunk(citations=citations), DONE)) == [Citation(url="https://a")]


def test_halves_of_a_character_are_joined_and_lone_ones_replaced() -> None:
    first, second = (
        r'{"choices":[{"index":0,"delta":{"content":"a\ud83d"}}]}',
        r'{"choices":[{"index":0,"delta":{"content":"\ude00b"}}]}',
    )
    assert text_of(decode(first, second, DONE)) == "a😀b"
    assert text_of(decode(first, HELLO, DONE)) == "a\ufffdhello"
    assert text_of(decode(first, DONE)) == "a\ufffd"
    thought = r'{"choices":[{"index":0,"delta":{"reasoning":"\ud83d"}}]}'
    assert only(ReasoningDelta, decode(thought, chunk({"reasoning": "x"}), HELLO, DONE))[0].text == "\ufffdx"


def test_a_whole_answer_in_one_document_is_taken() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    message = {"role": "assistant", "content": "hello", "tool_calls": [call]}
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    document = {
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": usage,
    }
    deltas = decode(json.dumps(document))
    assert text_of(deltas) == "hello"
    assert only(ToolCall, deltas) == [ToolCall(call_id="c1", name="f", arguments='{"a":1}')]
    assert only(Usage, deltas) == [Usage(input_tokens=3, output_tokens=2)]


def test_the_only_answer_may_have_any_number() -> None:
    assert text_of(decode(chunk({"content": "a"}, index=1), chunk({"content": "b"}, index=1), DONE)) == "ab"


FAILURES = {
    "an error object": ['{"object":"error","message":"no such thing","code":40401}'],
    "a detail": ['{"detail":"no such thing"}'],
    "an error in the middle": [HELLO, '{"error":{"message":"no such thing"}}'],
    "an error of a choice": [HELLO, '{"choices":[{"index":0,"delta":{},"error":{"message":"no such thing"}}]}'],
    "a message alone": ['{"message":"no such thing","code":400}'],
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_is_no_answer(kind: str) -> None:
    with pytest.raises(Exception, match="no such thing"):
        decode(*FAILURES[kind], DONE)


def test_an_error_event_in_plain_words_is_a_failure() -> None:
    with pytest.raises(ProviderError, match="out of memory"):
        decode("out of memory", name=b"error")


def test_the_status_of_a_choices_error_is_heeded() -> None:
    with pytest.raises(ProviderRateLimited):
        decode(HELLO, '{"choices":[{"index":0,"delta":{},"error":{"code":429,"message":"slow down"}}]}')


@pytest.mark.parametrize(
    "written",
    [b'error: {"message":"no such thing"}', b'{"error":{"message":"no such thing"}}', b"error: no such thing"],
)
@pytest.mark.parametrize("blank", [b"", b"\n", b"\n\n"])
def test_an_error_that_is_no_event_is_a_failure_in_its_servers_words(written: bytes, blank: bytes) -> None:
    sse = SseDecoder()
    events = [*sse.feed(b"data: %b\n\n%b%b" % (HELLO.encode(), written, blank)), *sse.end()]
    decoder = ChatDecoder(Vendor("Acme"))
    assert text_of(decoder.feed(events)) == "hello"
    assert decoder.failure is not None
    assert "no such thing" in decoder.failure.message


@pytest.mark.parametrize("data", [["[DONE]"], [""], ["", "[DONE]"], ['{"id":"x"}', "[DONE]"]])
def test_an_end_without_an_answer_is_none(data: list[str]) -> None:
    with pytest.raises(ProviderError):
        decode(*data)


@pytest.mark.parametrize("content", [12, {"text": "x"}, [1]])
def test_what_changes_the_answer_is_never_guessed(content: Any) -> None:
    with pytest.raises(ProviderError, match="broke its protocol"):
        decode(chunk({"content": content}), DONE)


@pytest.mark.parametrize("word", FINISH_REASONS)
def test_the_words_of_all_vendors_are_understood_in_any_case(word: str) -> None:
    for spelling in (word, word.upper(), word.title()):
        assert only(Finish, decode(HELLO, chunk(finish=spelling), DONE)) == [Finish(FINISH_REASONS[word])]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PLACES = st.sampled_from(
    ["id", "model", "usage", "citations", "search_results", "error", "object", "choices", "system_fingerprint"]
)
IN_CHOICE = st.sampled_from(["index", "delta", "finish_reason", "logprobs", "message", "error"])
IN_DELTA = st.sampled_from(
    ["content", "reasoning", "reasoning_content", "refusal", "tool_calls", "annotations", "role"]
)


@given(st.dictionaries(PLACES, JUNK), st.dictionaries(IN_CHOICE, JUNK), st.dictionaries(IN_DELTA, JUNK))
def test_junk_in_any_field_is_taken_or_a_vendors_failure(top: Any, choice: Any, delta: Any) -> None:
    body = {"choices": [{"index": 0, "delta": {"content": "x", **delta}, **choice}], **top}
    decoder = ChatDecoder(Vendor("Acme"), choices=2)
    given_out = decoder.feed([SseEvent(json.dumps(body).encode()), SseEvent(STOP.encode()), SseEvent(DONE)])
    json.dumps([str(each) for each in given_out]).encode()
    for each in only(TextDelta, given_out):
        assert 0 <= each.choice < 2
        each.text.encode()


def test_a_long_event_in_small_pieces_costs_its_length() -> None:
    """Joining all that came before at each piece would copy gigabytes here."""
    decoder = SseDecoder()
    decoder.feed(b'data: {"a": "')
    for _ in range(200_000):
        assert decoder.feed(b"0123456789\n" * 2) == []
    assert len(decoder.feed(b'"}\n\n')) == 1
