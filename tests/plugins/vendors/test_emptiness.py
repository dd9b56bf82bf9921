"""What says nothing has a bound: comments and blank lines are signs of life, and events without content are, too."""

import json
from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web

from engine.api import ChatDeltas, ProviderError, TextDelta
from engine.wire.apart import LARGE
from engine.wire.extent import DEEPEST, MOST_EVENT_VALUES
from engine.wire.sse import SseEvent
from plugins.vendors.chat_decoding import ChatDecoder
from plugins.vendors.decoding import Answer
from plugins.vendors.emptiness import BURST, MOST, RATE, Emptiness
from plugins.vendors.failures import Vendor
from plugins.vendors.framing import Framing
from plugins.vendors.transport import open_stream, vendor_http
from tests.plugins.vendors.test_transport import server

ACME = Vendor("Acme")
FULL = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
EMPTY = b'data: {"choices":[{"index":0,"delta":{"content":""}}]}\n\n'
DONE = b"data: [DONE]\n\n"


async def answer_of(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
    said: list[str] = []

    def take(deltas: ChatDeltas) -> None:
        given = [deltas] if isinstance(deltas, TextDelta) else deltas if isinstance(deltas, list) else ()
        said.extend(each.text for each in given if isinstance(each, TextDelta))

    async with server(handler) as url, vendor_http() as session:
        await Answer(open_stream(session, url, {}, b"{}", ACME), ChatDecoder(ACME)).push(take)
    return "".join(said)


def endless(first: bytes, piece: bytes) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(first)
        while True:
            await response.write(piece)

    return handler


@pytest.mark.parametrize("first", [b"", FULL])
@pytest.mark.parametrize("piece", [b": c\n\n", b"\n", EMPTY], ids=["comments", "blank lines", "empty events"])
async def test_a_vendor_that_says_nothing_for_ever_fails(first: bytes, piece: bytes) -> None:
    with pytest.raises(ProviderError, match="Acme sends nothing but comments, blank lines and empty events") as caught:
        await answer_of(endless(first, piece * (60_000 // len(piece))))
    assert caught.value.code == "provider_error"
    assert not caught.value.retryable


async def test_signs_of_life_among_an_answer_do_it_no_harm() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        life = (b": c\n\n" * 1_000) + (EMPTY * 100) + b"\n" * 1_000
        return web.Response(body=(life + FULL) * 50 + DONE, content_type="text/event-stream")

    assert await answer_of(handler) == "a" * 50


def test_what_became_an_event_said_something() -> None:
    emptiness = Emptiness()
    for _ in range(20):
        for _ in range(7):
            assert not emptiness.is_too_much(1 << 20, now=0)
        emptiness.said([SseEvent(b"x" * (7 << 20))])
    assert emptiness.mebibytes == 0


def test_what_comes_slowly_may_be_more_but_not_without_end() -> None:
    emptiness = Emptiness()
    begun = emptiness._begun
    assert not emptiness.is_too_much(BURST, now=begun)
    assert emptiness.is_too_much(RATE, now=begun)
    assert not emptiness.is_too_much(0, now=begun + 1)
    assert not emptiness.is_too_much(MOST - BURST - RATE, now=begun + 10_000)
    assert emptiness.is_too_much(1, now=begun + 10_000)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"[" * LARGE + b"[", f"nests more than {DEEPEST} levels deep"),
        (b'{"choices":[],"x":[' + b"{}," * MOST_EVENT_VALUES + b"{}]}", f"x has more than {MOST_EVENT_VALUES} values"),
        (
            b'{"choices":[' + b",".join([b'{"delta":{"content":"a"}}'] * MOST_EVENT_VALUES) + b"]}",
            f"choices has more than {MOST_EVENT_VALUES} values",
        ),
    ],
)
def test_an_event_that_would_become_too_much_is_refused_before_it_is_decoded(data: bytes, words: str) -> None:
    decoder = ChatDecoder(ACME)
    assert decoder.feed([SseEvent(data)]) == []
    assert decoder.failure is not None
    assert decoder.failure.code == "provider_error"
    assert words in decoder.failure.message


def test_a_long_event_of_few_values_is_taken() -> None:
    text = "x" * (1 << 20)
    chunk = {"choices": [{"index": 0, "delta": {"content": text}}]}
    assert ChatDecoder(ACME).feed([SseEvent(json.dumps(chunk).encode())]) == [TextDelta(text)]


def test_a_list_of_very_many_documents_is_not_taken_apart() -> None:
    framing = Framing()
    body = b"[" + b"{}," * MOST_EVENT_VALUES + b"{}]"
    assert framing.feed(body) == []
    assert framing.end() == [SseEvent(body)]
    assert Framing().feed(b"\xef\xbb\xbf" + b" " * 1_000) == []
