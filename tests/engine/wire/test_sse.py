"""Server-sent events come out the same however the network cuts them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.wire.sse import SseDecoder, SseEvent, encode_sse

ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=12).map(str.encode)
names = st.sampled_from([b"", b"message_start", b"content_block_delta"])
noise = st.sampled_from([b": keep-alive", b"id: 7", b"retry: 100", b"unknown", b":", b"dataset: no"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[SseEvent]]:
    """The bytes of a stream with any line ends, and the events that it means."""
    raw = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    events = []
    for _ in range(draw(st.integers(0, 5))):
        lines, name = draw(st.lists(noise, max_size=2)), draw(names)
        data = draw(st.lists(values, max_size=3))
        if name:
            lines.append(b"event: " + name)
        lines += [b"data: " + value for value in data]
        for line in draw(st.permutations(lines[:1])) + lines[1:]:
            raw += line + draw(ENDS)
        # A CR that ends the line before and an LF as the empty line would read as one line end.
        raw += b"\n" if not raw.endswith(b"\r") else b"\r\n" if not lines else draw(st.sampled_from([b"\r", b"\r\n"]))
        if data:
            events.append(SseEvent(b"\n".join(data), name))
    return raw, events


def decoded(chunks: list[bytes]) -> list[SseEvent]:
    decoder = SseDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@given(streams(), st.lists(st.integers(0, 400), max_size=8))
def test_any_chunking_of_a_stream_gives_its_events(stream: tuple[bytes, list[SseEvent]], cuts: list[int]) -> None:
    raw, events = stream
    places = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    assert decoded([raw[start:end] for start, end in pairwise(places)]) == events


@given(streams())
def test_one_byte_at_a_time_gives_the_same_events(stream: tuple[bytes, list[SseEvent]]) -> None:
    raw, events = stream
    decoder = SseDecoder()
    assert [event for byte in raw for event in decoder.feed(bytes((byte,)))] == events
    assert not events or decoder.rest() == b""


@given(
    st.lists(
        st.tuples(values, st.sampled_from(["", "text.delta"]), st.none() | st.integers(0, 2**31)),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_encoded_comes_back(events: list[tuple[bytes, str, int | None]]) -> None:
    raw = b"".join(encode_sse(data, name=name, number=number) for data, name, number in events)
    assert decoded([raw]) == [SseEvent(data, name.encode()) for data, name, _ in events]


def test_an_encoded_event_has_number_name_and_data_in_this_order() -> None:
    assert encode_sse(b"{}", name="text.delta", number=3) == b"id: 3\nevent: text.delta\ndata: {}\n\n"


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"data: one\ndata: two\n\n", b"one\ntwo"),
        (b"data:tight\n\n", b"tight"),
        (b"data:  spaced\n\n", b" spaced"),
        (b"data\n\n", b""),
        (b"data: a:b\n\n", b"a:b"),
        (b"\n\n\ndata: late\n\n", b"late"),
        (b"\xef\xbb\xbfdata: marked\n\n", b"marked"),
        (b"data: cr\r\r", b"cr"),
        (b"data: crlf\r\n\r\n", b"crlf"),
    ],
)
def test_the_forms_of_an_event(raw: bytes, data: bytes) -> None:
    assert decoded([raw]) == [SseEvent(data)]


def test_an_event_that_was_cut_stands_in_the_rest() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: whole\n\ndata: ha") == [SseEvent(b"whole")]
    assert decoder.rest() == b"data: ha"


def test_an_event_without_an_end_is_refused_at_the_bound() -> None:
    decoder = SseDecoder(limit=100)
    assert decoder.feed(b"data: " + b"x" * 90) == []
    with pytest.raises(ValueError, match="does not end"):
        decoder.feed(b"x" * 10)


def test_comments_and_blank_lines_between_events_are_left_out() -> None:
    decoder = SseDecoder()
    text = b"\n\n\n: c\n\ndata: 1\n\n\n\n: a\ndata: 2\n\n:\n\n"
    assert decoder.feed(text) == [SseEvent(b"1"), SseEvent(b"2")]
    for byte in text:
        decoder.feed(bytes([byte]))
    assert decoder.feed(b"data: 3\n\n") == [SseEvent(b"3")]
