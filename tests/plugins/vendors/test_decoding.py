"""Events become deltas, one read at a time; what was said before a failure is kept."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
import pytest
import structlog
from aiohttp import web

from engine.api import (
    ChatDelta,
    ChatDeltas,
    ChatRequest,
    Citation,
    Finish,
    InvalidRequest,
    Message,
    ReasoningDelta,
    TextDelta,
    TextPart,
)
from engine.wire.apart import LARGE, MANY
from engine.wire.sse import SseEvent
from plugins.vendors.decoding import (
    ANSWERING,
    MOST_AT_ONCE,
    MOST_CITATIONS,
    Answer,
    Batch,
    Decoder,
    answer_to,
    encode_body,
    encoded,
)
from plugins.vendors.failures import Vendor
from plugins.vendors.transport import open_stream, vendor_http
from tests.plugins.vendors.test_transport import server


class Digits(Decoder):
    """Each event is a piece of text; `!` fails, `.` is the end."""

    def event(self, event: SseEvent) -> None:
        if event.data == b"!":
            raise self.vendor.cut_off()
        self.over = event.data == b"."
        self.out.text(event.data.decode())

    def body_ended(self) -> None:
        raise self.vendor.cut_off()


def events(*pieces: bytes) -> list[SseEvent]:
    return [SseEvent(piece) for piece in pieces]


def test_adjacent_pieces_of_one_kind_and_choice_are_one_delta() -> None:
    batch = Batch()
    batch.reasoning("a")
    batch.reasoning("b")
    for piece, choice in (("c", 0), ("d", 0), ("e", 1), ("f", 0)):
        batch.text(piece, choice)
    batch.add(Finish("stop"))
    batch.text("g")

    assert batch.take() == [
        ReasoningDelta("ab"),
        TextDelta("cd"),
        TextDelta("e", 1),
        TextDelta("f"),
        Finish("stop"),
        TextDelta("g"),
    ]


def test_a_batch_is_empty_after_it_was_taken() -> None:
    batch = Batch()
    batch.text("a")
    batch.take()
    assert batch.take() == []


def test_what_stands_in_one_read_before_a_failure_is_given_out() -> None:
    decoder = Digits(Vendor("Acme"))
    assert decoder.feed(events(b"1", b"2", b"!", b"3")) == [TextDelta("12")]
    assert decoder.failure is not None


def test_bytes_that_are_no_text_are_a_broken_protocol() -> None:
    decoder = Digits(Vendor("Acme"))
    assert decoder.feed(events(b"1", b"\xff")) == [TextDelta("1")]
    assert decoder.failure is not None
    assert decoder.failure.message == "Acme broke its protocol: an event is not valid JSON."


def test_nothing_is_read_after_the_terminal_event() -> None:
    decoder = Digits(Vendor("Acme"))
    assert decoder.feed(events(b"1", b".", b"!")) == [TextDelta("1.")]
    assert decoder.over
    assert decoder.failure is None


def test_half_a_character_in_a_request_is_a_clear_error() -> None:
    with pytest.raises(InvalidRequest, match="surrogate"):
        encode_body({"text": "\ud800"})


def asked(messages: int, text: str = "Hi") -> ChatRequest:
    return ChatRequest(model="m", messages=(Message(role="user", parts=(TextPart(text),)),) * messages)


def test_a_small_body_is_encoded_at_once_and_a_large_one_when_it_is_sent() -> None:
    assert encoded({"a": 1}) == b'{"a":1}'
    for large in ({"a": [1] * 2_000}, {"a": {str(at): 1 for at in range(2_000)}}, {"a": "x" * 100_000}):
        later = encoded(large)
        assert not isinstance(later, bytes)
        assert msgspec.json.decode(later()) == large


class Made:
    """An answer that knows in which thread it was made."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()

    async def push(self, take: Callable[[ChatDeltas], object]) -> None:
        take(TextDelta(str(self.thread)))


@pytest.mark.parametrize(
    ("count", "text", "elsewhere"), [(1, "Hi", False), (MANY + 1, "Hi", True), (1, "x" * (LARGE + 1), True)]
)
async def test_the_body_of_a_long_request_is_made_in_a_thread(count: int, text: str, elsewhere: bool) -> None:
    said: list[Any] = []

    await answer_to(asked(count, text), Made).push(said.append)

    assert (said[0].text != str(threading.get_ident())) is elsewhere


@pytest.mark.parametrize("ended", [True, False])
async def test_very_many_deltas_of_one_event_are_given_out_in_turns_of_the_loop(ended: bool) -> None:
    count = 3 * MOST_AT_ONCE + 2

    class Citing(Decoder):
        def event(self, event: SseEvent) -> None:
            if event.data == b".":
                self.over = True
            else:
                self.body_ended()

        def body_ended(self) -> None:
            for at in range(count):
                self.out.add(Citation(url=f"https://example.org/{at}"))

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"data: 1\n\ndata: .\n\n" if ended else b"", content_type="text/event-stream")

    turns, taken = 0, list[tuple[int, list[ChatDelta]]]()

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    vendor = Vendor("Acme")
    async with server(handler) as url, vendor_http() as session:
        waiting = asyncio.create_task(others())
        answer = Answer(open_stream(session, url, {}, b"{}", vendor), Citing(vendor))
        await answer.push(
            lambda deltas: (
                taken.append((turns, list(cast("list[ChatDelta]", deltas))))
                if deltas and deltas is not ANSWERING
                else None
            )
        )
        waiting.cancel()

    assert [delta.url for _, deltas in taken for delta in deltas if isinstance(delta, Citation)] == [
        f"https://example.org/{at}" for at in range(count)
    ]
    assert max(len(deltas) for _, deltas in taken) == MOST_AT_ONCE
    assert len({turn for turn, _ in taken}) == len(taken)


async def test_a_connection_is_read_again_after_an_answer_that_took_several_turns_of_the_loop() -> None:
    class Citing(Decoder):
        def event(self, event: SseEvent) -> None:
            self.over = event.data == b"."
            for at in range(2 * MOST_AT_ONCE if self.over else 1):
                self.out.add(Citation(url=f"https://example.org/{at}"))

        def body_ended(self) -> None:
            raise self.vendor.cut_off()

    ports = set[int]()
    begun = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        first, last = b"data: 1\n\n", b"data: .\n\n"
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        response.content_length = len(first + last)
        await response.prepare(request)
        await response.write(first)
        await begun.wait()
        begun.clear()
        await response.write(last)
        return response

    taken: list[ChatDeltas] = []

    def take(deltas: ChatDeltas) -> None:
        if deltas is not ANSWERING:
            taken.append(deltas)
            begun.set()

    vendor = Vendor("Acme")
    async with server(handler) as url, vendor_http() as session, asyncio.timeout(20):
        for _ in range(3):
            begun.clear()
            await Answer(open_stream(session, url, {}, b"{}", vendor), Citing(vendor)).push(take)
    assert len(taken) == 9
    assert len(ports) == 1


def test_an_answer_has_a_bound_of_citations_and_the_rest_is_not_even_made() -> None:
    made: list[int] = []

    def sources() -> Iterator[Citation]:
        for at in range(3 * MOST_CITATIONS):
            made.append(at)
            yield Citation(url=f"https://example.org/{at}")

    decoder = Digits(Vendor("Acme"))
    with structlog.testing.capture_logs() as said:
        for _ in range(3):
            decoder.cite(sources())

    assert len(decoder.out.take()) == MOST_CITATIONS
    assert len(made) <= MOST_CITATIONS + 3
    assert [line["event"] for line in said] == ["citations_left_out"]
