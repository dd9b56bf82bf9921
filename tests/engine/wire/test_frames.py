"""Frames go out and come in as the protocol says."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.events import Audio, Event, ReasoningDelta, StatusChanged, TextDelta, ToolDelta
from engine.wire.frames import (
    BINARY,
    TEXT,
    BinaryFrame,
    decode_binary,
    encode_audio,
    encode_event,
    join_deltas,
    stream_prefix,
    websocket_header,
)

PREFIX = stream_prefix("s_1")
u32 = st.integers(0, 2**32 - 1)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(words, st.integers(1, 2**40))
def test_an_event_is_one_json_object_with_stream_and_number(text: str, n: int) -> None:
    frame = json.loads(encode_event(PREFIX, n, TextDelta(text)))
    assert frame == {"stream": "s_1", "n": n, "type": "text.delta", "text": text}


def test_the_number_before_is_told_only_where_it_is_not_the_one_before() -> None:
    assert "prev" not in json.loads(encode_event(PREFIX, 5, TextDelta("a"), 4))
    assert json.loads(encode_event(PREFIX, 5, TextDelta("a"), 2))["prev"] == 2
    assert json.loads(encode_event(PREFIX, 5, TextDelta("a"), 0))["prev"] == 0


@given(u32, u32, st.integers(0, 255), st.binary(max_size=50), u32, st.none() | u32)
def test_audio_comes_back_as_it_went(number: int, n: int, lane: int, data: bytes, at: int, prev: int | None) -> None:
    frame = decode_binary(encode_audio(number, n, lane, Audio(lane="speech", data=data, at=at), prev))
    assert frame == BinaryFrame(number, n, lane, at, data, None if prev == n - 1 else prev)


def test_a_binary_frame_begins_with_sixteen_bytes_big_endian() -> None:
    frame = encode_audio(7, 9, 2, Audio(lane="speech", data=b"pcm", at=40))
    assert frame == struct.pack(">IIBBHI", 7, 9, 1, 2, 0, 40) + b"pcm"


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (b"", "has a header of 16 bytes, this one has 0 in all"),
        (b"\0" * 15, "this one has 15 in all"),
        (struct.pack(">IIBBHI", 1, 1, 9, 0, 0, 0), "version 9 .* the server speaks 1"),
        (struct.pack(">IIBBHI", 1, 1, 1, 0, 1, 0), "announces a previous number that is not there"),
    ],
)
def test_a_binary_frame_that_does_not_fit_is_named(frame: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        decode_binary(frame)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_frame_or_a_value_error(data: bytes) -> None:
    try:
        frame = decode_binary(data)
    except ValueError:
        return
    assert data.endswith(frame.payload)


def piece(call: str, arguments: str, choice: int = 0) -> ToolDelta:
    return ToolDelta(call_id=call, name="f", arguments=arguments, choice=choice)


@pytest.mark.parametrize(
    ("events", "joined"),
    [
        ([TextDelta("a"), TextDelta("b")], TextDelta("ab")),
        ([TextDelta("a", 1), TextDelta("b", 1)], TextDelta("ab", 1)),
        ([ReasoningDelta("a"), ReasoningDelta("b")], ReasoningDelta("ab")),
        ([TextDelta("a"), TextDelta("b", 1)], None),
        ([TextDelta("a"), ReasoningDelta("b")], None),
        ([TextDelta("a"), TextDelta("b", 0, [])], None),
        ([StatusChanged(stage="a")], None),
        ([piece("c", "{"), piece("c", "}")], piece("c", "{}")),
        ([piece("c", "{"), piece("d", "}")], None),
        ([piece("c", "{"), piece("c", "}", 1)], None),
        ([piece("c", "{"), TextDelta("b")], None),
    ],
)
def test_pieces_of_one_kind_are_joined_and_others_are_not(events: list[Event], joined: Event | None) -> None:
    assert join_deltas(events) == joined


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_lengths_are_written_in_the_shortest_form(length: int, header: bytes) -> None:
    assert websocket_header(TEXT, length) == header
    assert websocket_header(BINARY, length) == b"\x82" + header[1:]
