"""Answers of Anthropic, Google and OpenAI Responses, or of servers that imitate them, that differ from the reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import ChatDelta, Finish, ProviderError, TextDelta, ToolCall, ToolDelta, Usage
from engine.wire.sse import SseEvent
from plugins.chat.providers.anthropic_decoding import AnthropicDecoder
from plugins.chat.providers.google_decoding import GoogleDecoder
from plugins.chat.providers.responses_decoding import ResponsesDecoder
from plugins.vendors.chat_decoding import ChatDecoder
from plugins.vendors.decoding import Decoder
from plugins.vendors.failures import Vendor
from plugins.vendors.framing import Framing
from tests.plugins.vendors.kit import only, text_of

VENDOR = Vendor("Acme")
X, Y = '{"x":1}', '{"y":"}{"}'

DECODERS: dict[str, Callable[[], Decoder]] = {
    "anthropic": lambda: AnthropicDecoder(VENDOR, "anthropic"),
    "anthropic, worded": lambda: AnthropicDecoder(VENDOR, "anthropic", dialect="anthropic"),
    "google": lambda: GoogleDecoder(VENDOR, "google"),
    "responses": lambda: ResponsesDecoder(VENDOR, "openai"),
    "chat": lambda: ChatDecoder(VENDOR),
}


def decode(vendor: str, *documents: Any, names: bool = True) -> list[ChatDelta]:
    decoder = DECODERS[vendor]()
    if isinstance(decoder, AnthropicDecoder):
        decoder.begin(keep=True)
    deltas = decoder.feed([event(each, names=names) for each in documents])
    if decoder.failure is not None:
        raise decoder.failure
    return deltas if decoder.over else [*deltas, *decoder.end()]


def event(document: Any, *, names: bool = True) -> SseEvent:
    if isinstance(document, bytes):
        return SseEvent(document)
    name = document.get("type", "") if names and isinstance(document, dict) else ""
    return SseEvent(json.dumps(document).encode(), name.encode(errors="replace") if isinstance(name, str) else b"")


def calls(deltas: list[ChatDelta]) -> list[tuple[str, str]]:
    """Name and arguments of each call, whose pieces are its arguments and whose id no other has."""
    found = only(ToolCall, deltas)
    assert len({each.call_id for each in found}) == len(found)
    assert all(each.call_id for each in found)
    for each in found:
        pieces = "".join(piece.arguments for piece in only(ToolDelta, deltas) if piece.call_id == each.call_id)
        assert pieces in ("", each.arguments)
    return [(each.name, each.arguments) for each in found]


def added(place: int | None, id: str = "", call_id: str = "", name: str = "") -> dict[str, Any]:
    item = {"type": "function_call", "id": id, "call_id": call_id, "name": name, "arguments": ""}
    return {"type": "response.output_item.added", "output_index": place, "item": item}


def grown(place: int | None, id: str, piece: str) -> dict[str, Any]:
    return {"type": "response.function_call_arguments.delta", "output_index": place, "item_id": id, "delta": piece}


def ended(place: int | None, id: str, call_id: str, name: str, arguments: Any) -> dict[str, Any]:
    item = {"type": "function_call", "id": id, "call_id": call_id, "name": name, "arguments": arguments}
    return {"type": "response.output_item.done", "output_index": place, "item": item}


def completed(*output: dict[str, Any], kind: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "response": {"id": "r", "output": list(output), **fields}}


ENDED = (ended(0, "i0", "c0", "a", X), ended(1, "i1", "c1", "b", Y))
RESPONSES: dict[str, list[Any]] = {
    "in pieces, interleaved": [
        added(0, "i0", "c0", "a"),
        added(1, "i1", "c1", "b"),
        grown(1, "i1", Y[:3]),
        grown(0, "i0", X),
        grown(1, "i1", Y[3:]),
        *ENDED,
        completed(),
    ],
    "an item id for each event": [
        added(0, "p0", "c0", "a"),
        added(1, "p1", "c1", "b"),
        grown(0, "p2", X),
        grown(1, "p3", Y),
        ended(0, "p4", "c0", "a", X),
        ended(1, "p5", "c1", "b", Y),
        completed(),
    ],
    "no places": [
        added(None, "i0", "c0", "a"),
        grown(None, "i0", X),
        added(None, "i1", "c1", "b"),
        grown(None, "i1", Y),
        ended(None, "p4", "c0", "a", X),
        ended(None, "p5", "c1", "b", Y),
        completed(),
    ],
    "no ends": [
        added(0, "i0", "c0", "a"),
        grown(0, "i0", X),
        added(1, "i1", "c1", "b"),
        grown(1, "i1", Y),
        completed(),
    ],
    "ends without names": [
        added(0, "i0", "c0", "a"),
        added(1, "i1", "c1", "b"),
        ended(0, "i0", "", "", X),
        ended(1, "i1", "", "", Y),
        completed(),
    ],
    "arguments at their end alone": [
        added(0, "i0", "c0", "a"),
        {"type": "response.function_call_arguments.done", "output_index": 0, "item_id": "i0", "arguments": X},
        ended(0, "i0", "c0", "a", ""),
        ENDED[1],
        completed(),
    ],
    "ends alone": [*ENDED, completed()],
    "the whole alone": [completed(ENDED[0]["item"], ENDED[1]["item"])],
    "the whole again": [*ENDED, completed(ENDED[0]["item"], ENDED[1]["item"])],
    "no ids": [ended(0, "", "", "a", X), ended(1, "", "", "b", Y), completed()],
    "one id for all": [ended(0, "i0", "c0", "a", X), ended(1, "i1", "c9", "b", Y), completed()],
    "arguments as objects": [
        ended(0, "i0", "c0", "a", json.loads(X)),
        ended(1, "i1", "c1", "b", json.loads(Y)),
        completed(),
    ],
}


@pytest.mark.parametrize("form", RESPONSES)
def test_calls_of_responses_keep_their_names_and_arguments(form: str) -> None:
    for names in (True, False):
        deltas = decode("responses", *RESPONSES[form], names=names)
        assert calls(deltas) == [("a", X), ("b", Y)]
        assert only(Finish, deltas) == [Finish("tool_calls")]


def said(text: str, id: str = "m") -> dict[str, Any]:
    return {"type": "message", "id": id, "content": [{"type": "output_text", "text": text}]}


def piece(text: str, **place: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "delta": text, **place}


WORDS: dict[str, list[Any]] = {
    "in pieces": [piece("hel", output_index=0, item_id="m"), piece("lo", output_index=0, item_id="m"), completed()],
    "in pieces and at the end of the item": [
        piece("hello", output_index=0, item_id="m"),
        {"type": "response.output_item.done", "output_index": 0, "item": said("hello")},
        completed(said("hello")),
    ],
    "an item id for each event": [
        piece("hello", output_index=0, item_id="p1"),
        {"type": "response.output_item.done", "output_index": 0, "item": said("hello", "p2")},
        completed(said("hello", "p3")),
    ],
    "no places": [
        piece("hello"),
        {"type": "response.output_item.done", "item": said("hello", "p2")},
        completed(said("hello", "p3")),
    ],
    "at the end of the item": [
        {"type": "response.output_item.done", "output_index": 0, "item": said("hello")},
        completed(said("hello")),
    ],
    "in the whole": [completed(said("hello"))],
    "in the whole, cut off": [completed(said("hello"), kind="incomplete")],
    "the whole without its object": [piece("hello"), {"type": "response.completed"}],
}


@pytest.mark.parametrize("form", WORDS)
def test_words_of_responses_are_given_out_once_wherever_they_stand(form: str) -> None:
    assert text_of(decode("responses", *WORDS[form])) == "hello"


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_response_that_is_completed_and_failed_is_a_failure(status: str) -> None:
    failed = completed(status=status, error={"message": "no such thing"})
    with pytest.raises(ProviderError, match="no such thing"):
        decode("responses", piece("hello"), failed)


def test_a_response_that_is_completed_and_incomplete_was_cut_short() -> None:
    short = completed(said("hello"), status="incomplete", incomplete_details={"reason": "Content_Filter"})
    assert only(Finish, decode("responses", short)) == [Finish("content_filter")]


START = {"type": "message_start", "message": {"id": "m", "model": "c"}}
STOPPED = ({"type": "message_delta", "delta": {"stop_reason": "tool_use"}}, {"type": "message_stop"})


def block(index: Any, name: Any, id: str = "", input: Any = None) -> dict[str, Any]:
    opened = {"type": "tool_use", "id": id, "name": name, "input": input or {}}
    return {"type": "content_block_start", "index": index, "content_block": opened}


def lengthened(index: Any, text: str) -> dict[str, Any]:
    delta = {"type": "input_json_delta", "partial_json": text}
    return {"type": "content_block_delta", "index": index, "delta": delta}


def stopped(index: Any) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


ANTHROPIC: dict[str, list[Any]] = {
    "one after the other": [
        block(0, "a", "t0"),
        lengthened(0, X),
        stopped(0),
        block(1, "b", "t1"),
        lengthened(1, Y),
        stopped(1),
    ],
    "interleaved": [
        block(0, "a", "t0"),
        block(1, "b", "t1"),
        lengthened(1, Y[:4]),
        lengthened(0, X),
        lengthened(1, Y[4:]),
        stopped(0),
        stopped(1),
    ],
    "blocks that do not stop": [block(0, "a"), lengthened(0, X), block(1, "b"), lengthened(1, Y)],
    "indexes as texts": [block("0", "a"), lengthened("0", X), block("1", "b"), lengthened("1", Y)],
    "whole as they open": [
        block(0, "a", "t0", json.loads(X)),
        stopped(0),
        block(1, "b", "t1", json.loads(Y)),
        stopped(1),
    ],
}


@pytest.mark.parametrize("form", ANTHROPIC)
def test_calls_of_messages_keep_their_names_and_arguments(form: str) -> None:
    for vendor in ("anthropic", "anthropic, worded"):
        for names in (True, False):
            deltas = decode(vendor, START, *ANTHROPIC[form], *STOPPED, names=names)
            assert [(name, json.loads(text)) for name, text in calls(deltas)] == [("a", {"x": 1}), ("b", {"y": "}{"})]


def test_events_that_all_have_the_name_for_none_are_read_by_their_type() -> None:
    decoder = AnthropicDecoder(VENDOR, "anthropic")
    events = [START, block(0, "a"), lengthened(0, X), stopped(0), *STOPPED]
    deltas = decoder.feed([SseEvent(json.dumps(each).encode(), b"message") for each in events])
    assert decoder.over
    assert calls(deltas) == [("a", X)]


def test_the_end_of_a_message_that_never_began_is_no_answer() -> None:
    with pytest.raises(ProviderError, match="cut off"):
        decode("anthropic", {"type": "message_stop"})


def candidate(*parts: Any, **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"index": 0, "content": {"parts": list(parts)}, **fields}]}


def function(name: str, args: Any, **fields: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": args, **fields}}


@pytest.mark.parametrize("ids", [("", ""), ("f0", "f1"), ("f0", "f0")])
def test_calls_of_gemini_keep_their_names_and_arguments(ids: tuple[str, str]) -> None:
    parts = function("a", json.loads(X), id=ids[0]), function("b", Y, id=ids[1])
    for chunks in ([candidate(*parts)], [candidate(each) for each in parts]):
        deltas = decode("google", *chunks, candidate(finishReason="stop"))
        assert [(name, json.loads(text)) for name, text in calls(deltas)] == [("a", {"x": 1}), ("b", {"y": "}{"})]
        assert only(Finish, deltas) == [Finish("tool_calls")]


NAMELESS = {
    "responses": [ended(0, "i", "c", "", X), completed()],
    "anthropic": [START, block(0, ""), lengthened(0, X), stopped(0), *STOPPED],
    "google": [candidate(function("", {})), candidate(finishReason="STOP")],
}


@pytest.mark.parametrize("vendor", NAMELESS)
def test_a_call_without_a_name_is_no_answer(vendor: str) -> None:
    with pytest.raises(ProviderError, match="without a name"):
        decode(vendor, *NAMELESS[vendor])


PLAIN: dict[str, list[Any]] = {
    "anthropic": [
        {"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 7}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hel"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "lo ä"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ],
    "google": [
        candidate({"text": "hel"}),
        {**candidate({"text": "lo ä"}, finishReason="STOP"), "usageMetadata": {"promptTokenCount": 7}},
    ],
    "responses": [
        {"type": "response.created", "response": {"id": "r", "model": "g"}},
        piece("hel", output_index=0, item_id="m"),
        piece("lo ä", output_index=0, item_id="m"),
        completed(said("hello ä"), usage={"input_tokens": 7, "output_tokens": 3}),
    ],
    "chat": [
        {"id": "x", "choices": [{"index": 0, "delta": {"content": "hel"}}]},
        {"choices": [{"index": 0, "delta": {"content": "lo ä"}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ],
}

ENDS = st.sampled_from([("\n", 1), ("\n", 2), ("\r\n", 2), ("\r", 2)])


@given(st.sampled_from(sorted(PLAIN)), ENDS, st.booleans(), st.lists(st.integers(1, 2_000), max_size=12))
def test_bytes_that_come_cut_anywhere_and_framed_anyhow_are_the_same_answer(
    vendor: str, ends: tuple[str, int], marked: bool, cuts: list[int]
) -> None:
    line, blank = ends
    body = (line * blank).join(f"data: {json.dumps(each, ensure_ascii=False)}" for each in PLAIN[vendor])
    raw = (b"\xef\xbb\xbf" if marked else b"") + body.encode()
    decoder, framing = DECODERS[vendor](), Framing()
    deltas: list[ChatDelta] = []
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    for start, end in pairwise(places):
        deltas += decoder.feed(framing.feed(raw[start:end]))
    if not decoder.over:
        deltas += decoder.feed(framing.end())
    assert decoder.failure is None
    if not decoder.over:
        deltas += decoder.end()
    assert text_of(deltas) == "hello ä"
    assert only(Finish, deltas) == [Finish("stop")]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(["\ud83d", "7"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)


def _spoiled(draw: st.DataObject, value: Any) -> Any:
    """The document with junk in the place of one of its values, at any depth."""
    if isinstance(value, (dict, list)) and value and draw.draw(st.integers(0, 3)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw.draw(st.sampled_from(keys))
        spoiled: Any = dict(value) if isinstance(value, dict) else list(value)
        spoiled[key] = _spoiled(draw, value[key])
        return spoiled
    return draw.draw(JUNK)


EVERY: dict[str, list[Any]] = {
    "anthropic": [*PLAIN["anthropic"][:5], *ANTHROPIC["one after the other"], *PLAIN["anthropic"][5:]],
    "anthropic, worded": [*PLAIN["anthropic"][:5], *ANTHROPIC["one after the other"], *PLAIN["anthropic"][5:]],
    "google": [candidate({"text": "hm", "thought": True}), candidate(function("a", {})), *PLAIN["google"]],
    "responses": [PLAIN["responses"][1], *RESPONSES["in pieces, interleaved"][:-1], PLAIN["responses"][3]],
    "chat": [
        {
            "choices": [
                {"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]}}
            ]
        },
        *PLAIN["chat"],
        {"choices": [], "usage": {"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 2}}},
    ],
}


@given(st.data(), st.sampled_from(sorted(EVERY)), st.booleans())
def test_junk_anywhere_is_taken_or_the_vendors_failure_and_never_a_crash(
    data: st.DataObject, vendor: str, names: bool
) -> None:
    documents = list(EVERY[vendor])
    at = data.draw(st.integers(0, len(documents) - 1))
    documents[at] = _spoiled(data, documents[at])
    try:
        deltas = decode(vendor, *documents, names=names)
    except ProviderError:
        return
    for delta in deltas:
        msgspec.json.encode(delta)  # what no client could be sent would fail here
        if isinstance(delta, (TextDelta, ToolCall)):
            assert delta.choice == 0
    assert len(only(Finish, deltas)) == 1
    assert len(only(Usage, deltas)) <= 1
