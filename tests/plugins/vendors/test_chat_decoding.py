"""Chat Completions streams with the habits of many vendors."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import (
    Answered,
    ChatDelta,
    Citation,
    Extra,
    Finish,
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
from plugins.vendors.chat_decoding import ChatDecoder
from plugins.vendors.failures import Vendor
from tests.plugins.vendors.kit import only, text_of

DONE = SseEvent(b"[DONE]")


def chunk(delta: dict[str, Any] | None = None, *, finish: str | None = None, index: int = 0, **top: Any) -> SseEvent:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return SseEvent(json.dumps({"choices": [choice], **top}).encode())


def bare(**top: Any) -> SseEvent:
    return SseEvent(json.dumps(top).encode())


def call(index: int | None, arguments: str = "", **fields: Any) -> dict[str, Any]:
    name = {"name": fields.pop("name")} if "name" in fields else {}
    return {"tool_calls": [{"index": index, "function": {**name, "arguments": arguments}, **fields}]}


def decode(*events: SseEvent, **options: Any) -> list[ChatDelta]:
    decoder = ChatDecoder(Vendor("Acme"), **options)
    deltas = decoder.feed(events)
    if decoder.failure is not None:
        raise decoder.failure
    return deltas if decoder.over else [*deltas, *decoder.end()]


def tools(*events: SseEvent) -> list[tuple[str, str, str]]:
    return [(call.call_id, call.name, call.arguments) for call in only(ToolCall, decode(*events))]


def test_the_model_and_unused_fields_are_told_once() -> None:
    top: dict[str, Any] = {"id": "c1", "model": "m-1", "system_fingerprint": "fp", "service_tier": "flex", "created": 1}
    assert decode(chunk({"content": "a"}, **top), chunk({"content": "b"}, **top), chunk(finish="stop"), DONE) == [
        Answered("m-1"),
        Extra({"id": "c1", "system_fingerprint": "fp", "service_tier": "flex"}),
        TextDelta("ab"),
        Finish("stop"),
    ]


def test_a_first_chunk_about_the_input_alone_does_not_hide_the_model() -> None:
    deltas = decode(bare(choices=[], model=""), chunk({"content": "a"}, model="m-1"), DONE)
    assert only(Answered, deltas) == [Answered("m-1")]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_both_spellings_of_reasoning_are_read(field: str) -> None:
    assert ReasoningDelta("hm, ") in decode(chunk({field: "hm, "}), chunk({"content": "a"}), DONE)


def test_thinking_in_parts_of_the_content_is_read() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}]
    assert decode(chunk({"content": parts}), DONE)[:2] == [ReasoningDelta("hm"), TextDelta("a")]


def test_thinking_is_kept_for_a_vendor_that_wants_it_back_with_tool_calls() -> None:
    thought, tool = chunk({"reasoning_content": "hm"}), chunk(call(0, "{}", id="c", name="f"), finish="tool_calls")
    assert ReasoningPart(provider="acme", text="hm") in decode(thought, tool, DONE, reasoning_of="acme")
    assert not only(ReasoningPart, decode(thought, tool, DONE))
    assert not only(ReasoningPart, decode(thought, chunk(finish="stop"), DONE, reasoning_of="acme"))


def test_arguments_come_in_pieces_and_each_call_whole_at_the_end() -> None:
    decoder = ChatDecoder(Vendor("Acme"))
    assert decoder.feed([chunk(call(0, '{"a"', id="c0", name="f")), chunk(call(0, ":"))]) == [
        ToolDelta(call_id="c0", name="f", arguments='{"a":')
    ]
    assert decoder.feed([chunk(call(1, "", id="c1", name="g"))]) == []
    assert decoder.feed([chunk(call(0, "1}"))]) == [ToolDelta(call_id="c0", name="f", arguments="1}")]
    assert decoder.feed([chunk(finish="tool_calls")]) == [
        ToolCall(call_id="c0", name="f", arguments='{"a":1}'),
        ToolCall(call_id="c1", name="g", arguments="{}"),
        Finish("tool_calls"),
    ]


def pieces(*calls: dict[str, Any]) -> SseEvent:
    return chunk({"tool_calls": list(calls)})


def piece(index: Any = None, id: str | None = None, name: str | None = None, arguments: Any = None) -> dict[str, Any]:
    fields = {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}
    return {field: value for field, value in fields.items() if value is not None}


X, Y = '{"x":1}', '{"y":"}{"}'
PARALLEL: dict[str, list[SseEvent]] = {
    "one after the other": [
        pieces(piece(0, "c1", "a", "")),
        pieces(piece(0, None, None, X)),
        pieces(piece(1, "c2", "b", "")),
        pieces(piece(1, None, None, Y)),
    ],
    "heads first": [
        pieces(piece(0, "c1", "a", "")),
        pieces(piece(1, "c2", "b", "")),
        pieces(piece(0, None, None, X)),
        pieces(piece(1, None, None, Y)),
    ],
    "interleaved": [
        pieces(piece(0, "c1", "a", X[:3]), piece(1, "c2", "b", Y[:4])),
        pieces(piece(1, None, None, Y[4:]), piece(0, None, None, X[3:])),
    ],
    "an id for each piece": [
        pieces(piece(0, "p1", "a", "")),
        pieces(piece(0, "p2", None, X)),
        pieces(piece(1, "p3", "b", Y[:2])),
        pieces(piece(1, "p4", None, Y[2:])),
    ],
    "index as a text": [pieces(piece("0", "c1", "a", X)), pieces(piece("1", "c2", "b", Y))],
    "counted from 1": [pieces(piece(1, "c1", "a", X)), pieces(piece(2, "c2", "b", Y))],
    "whole calls of one index": [pieces(piece(0, "c1", "a", X), piece(0, "c2", "b", Y))],
    "whole calls of one index without ids": [pieces(piece(0, "", "a", X)), pieces(piece(0, "", "b", Y))],
    "whole calls without index and ids": [pieces(piece(None, None, "a", X), piece(None, None, "b", Y))],
    "pieces without index, by their ids": [
        pieces(piece(None, "c1", "a", X[:3])),
        pieces(piece(None, "c2", "b", Y[:3])),
        pieces(piece(None, "c1", None, X[3:])),
        pieces(piece(None, "c2", None, Y[3:])),
    ],
    "pieces without index and ids": [
        pieces(piece(None, None, "a", X[:3])),
        pieces(piece(None, None, None, X[3:])),
        pieces(piece(None, None, "b", Y)),
    ],
    "names repeated": [
        pieces(piece(0, "c1", "a", X[:3])),
        pieces(piece(0, "c1", "a", X[3:])),
        pieces(piece(0, "c1", "a", "")),
        pieces(piece(1, "c2", "b", Y[:1])),
        pieces(piece(1, "c2", "b", Y[1:])),
    ],
    "arguments as objects": [pieces(piece(0, "c1", "a", {"x": 1})), pieces(piece(1, "c2", "b", {"y": "}{"}))],
    "names that come late": [
        pieces(piece(0, "c1", None, X[:2])),
        pieces(piece(0, None, "a", X[2:])),
        pieces(piece(1, "c2", "b", Y)),
    ],
}


@pytest.mark.parametrize("form", PARALLEL)
def test_parallel_calls_keep_their_names_and_arguments(form: str) -> None:
    deltas = decode(*PARALLEL[form], DONE)
    calls = only(ToolCall, deltas)
    assert [(each.name, each.arguments) for each in calls] == [("a", X), ("b", Y)]
    assert len({each.call_id for each in calls}) == 2
    for each in calls:
        joined = "".join(d.arguments for d in only(ToolDelta, deltas) if d.call_id == each.call_id)
        assert (joined, each.name) == (each.arguments, each.name)


def test_a_call_that_never_gets_a_name_is_no_answer() -> None:
    with pytest.raises(ProviderError, match="without a name"):
        decode(pieces(piece(0, "c1", None, X)), DONE)


def test_a_vendor_cannot_call_tools_without_end() -> None:
    with pytest.raises(ProviderError, match="1024 tools"):
        decode(*(pieces(piece(at, f"c{at}", "f", "{}")) for at in range(1_025)), DONE)


@given(st.data())
def test_every_interleaving_of_well_formed_calls_decodes_to_the_same_calls(data: st.DataObject) -> None:
    texts = data.draw(
        st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=6), max_size=3), min_size=1, max_size=4)
    )
    queues: list[list[dict[str, Any]]] = []
    for at, text in enumerate(texts):
        arguments = json.dumps(text)
        cuts = sorted(data.draw(st.lists(st.integers(0, len(arguments)), max_size=4)))
        bounds = [0, *cuts, len(arguments)]
        parts = [arguments[a:b] for a, b in pairwise(bounds)]
        queues.append([piece(at, f"c{at}", f"f{at}", ""), *(piece(at, None, None, part) for part in parts)])
    order = data.draw(st.permutations([at for at, queue in enumerate(queues) for _ in queue]))
    mixed = [pieces(queues[at].pop(0)) for at in order]
    found = sorted(tools(*mixed, DONE))
    assert found == [(f"c{at}", f"f{at}", json.dumps(text)) for at, text in enumerate(texts)]


def test_calls_that_all_carry_index_0_are_told_apart_by_their_ids() -> None:
    events = (chunk(call(0, "{}", id="a", name="f")), chunk(call(0, "{}", id="b", name="g")), DONE)
    assert tools(*events) == [("a", "f", "{}"), ("b", "g", "{}")]


def test_a_name_that_is_repeated_with_every_piece_is_taken_once() -> None:
    events = (chunk(call(0, "{", id="a", name="f")), chunk(call(0, "}", id="a", name="f")), DONE)
    assert tools(*events) == [("a", "f", "{}")]


def test_a_call_without_an_id_gets_one() -> None:
    ((first, *_), (second, *_)) = tools(chunk(call(0, name="f")), chunk(call(1, name="f")), DONE)
    assert first.startswith("call_")
    assert first != second


def test_a_stop_after_calls_is_told_as_tool_calls() -> None:
    assert Finish("tool_calls") in decode(chunk(call(0, id="a", name="f"), finish="stop"), DONE)


@pytest.mark.parametrize(
    ("reason", "told"),
    [("length", "length"), ("model_length", "length"), ("content_filter", "content_filter"), ("eos", "stop")],
)
def test_reasons_to_finish_are_told_in_our_words(reason: str, told: Any) -> None:
    assert only(Finish, decode(chunk({"content": "a"}, finish=reason), DONE)) == [Finish(told)]


def test_a_refusal_is_text() -> None:
    assert text_of(decode(chunk({"refusal": "I will not."}, finish="stop"), DONE)) == "I will not."


def test_several_choices_are_kept_apart_and_each_finishes() -> None:
    deltas = decode(
        chunk({"content": "a"}),
        chunk({"content": "b"}, index=1),
        chunk(finish="stop", index=1),
        chunk(finish="length"),
        DONE,
        choices=2,
    )
    assert deltas == [TextDelta("a"), TextDelta("b", 1), Finish("stop", 1), Finish("length")]


def test_pieces_with_log_probabilities_are_not_joined() -> None:
    def piece(text: str) -> SseEvent:
        logprobs = {"content": [{"token": text, "logprob": -0.5, "bytes": None, "top_logprobs": []}]}
        return bare(choices=[{"index": 0, "delta": {"content": text}, "logprobs": logprobs}])

    deltas = only(TextDelta, decode(piece("a"), piece("b"), DONE))
    assert [delta.text for delta in deltas] == ["a", "b"]
    assert deltas[1].logprobs == [{"token": "b", "logprob": -0.5, "bytes": None, "top_logprobs": []}]


def test_a_server_that_sends_empty_log_probabilities_unasked_still_has_its_pieces_joined() -> None:
    piece = bare(choices=[{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": None}}])
    assert only(TextDelta, decode(piece, piece, DONE)) == [TextDelta("aa")]


def test_usage_that_comes_with_every_chunk_is_told_once_and_last() -> None:
    def usage(output: int) -> dict[str, Any]:
        return {"prompt_tokens": 7, "completion_tokens": output, "prompt_cache_hit_tokens": 3}

    deltas = decode(chunk({"content": "a"}, usage=usage(1)), chunk(finish="stop", usage=usage(2)), DONE)
    assert deltas[-1] == Usage(input_tokens=7, output_tokens=2, cached_tokens=3)
    assert len(only(Usage, deltas)) == 1


def test_sources_of_the_whole_answer_are_told_once_with_their_titles() -> None:
    found: dict[str, Any] = {
        "citations": ["https://a", "https://b"],
        "search_results": [{"url": "https://a", "title": "A"}],
    }
    deltas = decode(chunk({"content": "x"}, **found), chunk(finish="stop", **found), DONE)
    assert only(Citation, deltas) == [Citation(url="https://a", title="A"), Citation(url="https://b")]


def test_done_without_a_reason_to_finish_is_a_whole_answer() -> None:
    assert decode(chunk({"content": "a"}), DONE) == [TextDelta("a"), Finish("stop")]


def test_a_reason_to_finish_without_done_is_a_whole_answer() -> None:
    assert decode(chunk({"content": "a"}, finish="stop")) == [TextDelta("a"), Finish("stop")]


def test_neither_done_nor_a_reason_to_finish_is_a_cut() -> None:
    with pytest.raises(ProviderUnavailable, match="Acme cut off its answer"):
        decode(chunk({"content": "a"}))


def test_one_unfinished_choice_of_two_is_a_cut() -> None:
    with pytest.raises(ProviderUnavailable):
        decode(chunk({"content": "a"}, finish="stop"), chunk({"content": "b"}, index=1), choices=2)


@pytest.mark.parametrize("reason", ["error", "insufficient_system_resource"])
def test_an_answer_that_the_vendor_says_broke_off_is_a_cut(reason: str) -> None:
    with pytest.raises(ProviderUnavailable):
        decode(chunk(finish=reason), DONE)


def test_an_error_inside_the_stream_is_the_vendors_failure() -> None:
    with pytest.raises(ProviderRateLimited, match="Slow down"):
        decode(chunk({"content": "a"}), bare(error={"code": 429, "message": "Slow down"}))


@pytest.mark.parametrize("data", [b'{"choices": [', b'{"choices": 7}', b"hello", b"\xff", b"[]"])
def test_what_is_no_chunk_is_a_broken_protocol(data: bytes) -> None:
    with pytest.raises(ProviderError, match="Acme broke its protocol") as caught:
        decode(SseEvent(data))
    assert type(caught.value) is ProviderError
