"""Requests to vendors: what becomes of the connection, and of everything that can go wrong with it."""

import asyncio
import json
import ssl
import threading
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter

import aiohttp
import pytest
import trustme
from aiohttp import web

from engine.api import EngineError, InvalidRequest, ProviderError, ProviderRateLimited, ProviderUnavailable
from engine.wire.sse import SseEvent
from plugins.vendors.failures import Vendor
from plugins.vendors.framing import Framing
from plugins.vendors.pacing import TURN, pace
from plugins.vendors.transport import LONGEST_DOCUMENT, PIECE, EventStream, get_json, open_stream, vendor_http

KEY = "very-secret-key-1"
ACME = Vendor("Acme", secret=KEY)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def reads(stream: EventStream, *, enough: bool = False) -> list[list[SseEvent]]:
    """The events of each read, or of the first one where that is enough."""
    batches: list[list[SseEvent]] = []

    def take(events: list[SseEvent]) -> bool:
        batches.append(events)
        return enough

    await stream.read(take)
    return batches


async def read(url: str) -> list[SseEvent]:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with vendor_http() as session, open_stream(session, url, headers, b"{}", ACME) as stream:
        return [event for batch in await reads(stream) for event in batch]


async def failure_of(url: str) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await read(url)
    shown = "".join(traceback.format_exception(caught.value))
    assert KEY not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


async def test_all_events_of_one_read_are_one_batch() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"data: 1\n\ndata: 2\n\nevent: x\ndata: 3\n\n", content_type="text/event-stream")

    async with server(handler) as url, vendor_http() as session, open_stream(session, url, {}, b"{}", ACME) as stream:
        assert await reads(stream) == [[SseEvent(b"1"), SseEvent(b"2"), SseEvent(b"3", b"x")]]


async def test_the_request_asks_for_an_uncompressed_event_stream_and_keeps_no_cookie() -> None:
    seen: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        response = web.Response(body=b"data: 1\n\n", content_type="text/event-stream")
        response.set_cookie("track", "me")
        return response

    async with server(handler) as url, vendor_http() as session:
        for _ in range(2):
            async with open_stream(session, url, {"X-Own": "1"}, b"{}", ACME) as stream:
                assert await reads(stream)
    assert seen[1]["accept"] == "text/event-stream"
    assert seen[1]["accept-encoding"] == "identity"
    assert seen[1]["content-type"] == "application/json"
    assert seen[1]["x-own"] == "1"
    assert "cookie" not in seen[1]


async def test_a_body_that_is_still_to_be_made_is_made_in_a_thread_when_it_is_sent() -> None:
    threads: list[threading.Thread] = []
    bodies: list[bytes] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.read())
        return web.Response(body=b"data: 1\n\n", content_type="text/event-stream")

    def make() -> bytes:
        threads.append(threading.current_thread())
        return b'{"a":1}'

    async with server(handler) as url, vendor_http() as session:
        waiting = open_stream(session, url, {}, make, ACME)
        assert not threads
        async with waiting as stream:
            assert await reads(stream)
    assert bodies == [b'{"a":1}']
    assert threads != [threading.current_thread()] and len(threads) == 1


async def test_a_connection_is_used_again_after_a_whole_answer_even_if_its_end_was_not_read() -> None:
    ports: set[int] = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await response.write_eof()
        return response

    async with server(handler) as url, vendor_http() as session:
        for _ in range(3):
            async with open_stream(session, url, {}, b"{}", ACME) as stream:
                await reads(stream, enough=True)
    assert len(ports) == 1


async def test_a_vendor_that_never_ends_its_body_does_not_hold_up_an_answer_that_is_whole() -> None:
    left = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    async with server(handler) as url, vendor_http() as session:
        async with asyncio.timeout(5):
            async with open_stream(session, url, {}, b"{}", ACME) as stream:
                await reads(stream, enough=True)
            await left.wait()


async def test_leaving_by_an_error_closes_the_connection_at_once() -> None:
    left = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return response

    async with server(handler) as url, vendor_http() as session:
        async with asyncio.timeout(5):
            with pytest.raises(KeyError):
                async with open_stream(session, url, {}, b"{}", ACME) as stream:
                    await reads(stream, enough=True)
                    raise KeyError
            await left.wait()


async def test_a_redirect_is_not_followed() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect("http://127.0.0.1:1/elsewhere")

    async with server(handler) as url:
        error = await failure_of(url)
    assert type(error) is ProviderError
    assert "redirect" in error.message


async def test_a_page_in_place_of_events_is_a_broken_protocol() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>Welcome</html>", content_type="text/html")

    async with server(handler) as url:
        error = await failure_of(url)
    assert error.message == "Acme broke its protocol: it answered text/html where an event stream was due."


WHOLE = b'{"a": 1,\n "b": 2}'


FORMS = [
    (WHOLE, [WHOLE]),
    (b"[" + WHOLE + b", {}]", [WHOLE, b"{}"]),
    (b'{"a": 1}\n{"b": 2}\n\n{"c": 3}', [b'{"a": 1}', b'{"b": 2}', b'{"c": 3}']),
    (b'data: {"a": 1}\n\ndata: {"b": 2}\n\n', [b'{"a": 1}', b'{"b": 2}']),
    (b'data: {"a": 1}\n\ndata: {"b": 2}', [b'{"a": 1}', b'{"b": 2}']),
    (b'data: {"a": 1}\ndata: {"b": 2}\ndata: [DONE]\n', [b'{"a": 1}', b'{"b": 2}', b"[DONE]"]),
    (b"\xef\xbb\xbf{}", [b"{}"]),
    (b'data: {"a": 1}\n\ndata: {"b"', [b'{"a": 1}']),
    (b'{"a"', []),
]


@pytest.mark.parametrize(("body", "events"), FORMS)
@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_the_first_byte_says_how_an_answer_is_cut_into_events(body: bytes, events: list[bytes], cut: int) -> None:
    framing = Framing()
    found = [event for at in range(0, len(body), cut) for event in framing.feed(body[at : at + cut])]
    assert [event.data for event in (*found, *framing.end())] == events


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson", "text/event-stream", "text/plain"])
async def test_a_wrong_content_type_does_not_lose_an_answer(kind: str) -> None:
    for body, events in FORMS:

        async def handler(request: web.Request, body: bytes = body) -> web.StreamResponse:
            return web.Response(body=body, content_type=kind)

        async with (
            server(handler) as url,
            vendor_http() as session,
            open_stream(session, url, {}, b"{}", ACME) as stream,
        ):
            taken = [event for batch in await reads(stream) for event in batch]
            taken += stream.end()
        assert [event.data for event in taken] == events


async def test_an_endless_event_is_a_broken_protocol() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(10):
            await response.write(b"data: " + b"x" * (1 << 20))
        return response

    async with server(handler) as url:
        assert "does not end" in (await failure_of(url)).message


async def test_an_answer_that_is_no_http_is_a_broken_protocol() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-nonsense\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        assert "not HTTP" in (await failure_of(f"http://127.0.0.1:{port}/")).message


async def test_a_closed_port_is_unreachable_and_worth_another_try() -> None:
    error = await failure_of("http://127.0.0.1:1/v1")
    assert type(error) is ProviderUnavailable
    assert error.retryable
    assert error.message == "Acme could not be reached: it refuses connections."
    # The address is for the operator's log, and not for whoever asked.
    assert "127.0.0.1" in (error.detail or "")


async def test_an_unknown_host_is_unreachable() -> None:
    error = await failure_of("http://no-such-host.invalid/v1")
    assert error.message == "Acme could not be reached: its host name is not known."


async def test_a_certificate_of_nobody_we_trust_is_unreachable() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response()

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with server(handler, tls) as url:
        error = await failure_of(url)
    assert type(error) is ProviderUnavailable
    assert "certificate" in error.message


async def test_events_come_as_they_are_sent_over_tls_and_the_connection_is_kept() -> None:
    ports: set[int] = set()
    taken = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername")[1])
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await taken.wait()
        await response.write(b"data: 2\n\n")
        return response

    def take(events: list[SseEvent]) -> bool:
        taken.set()
        seen.extend(events)
        return False

    authority = trustme.CA()
    tls, trusting = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.configure_trust(trusting)
    seen: list[SseEvent] = []
    async with (
        server(handler, tls) as url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting)) as session,
    ):
        for _ in range(2):
            taken.clear()
            async with open_stream(session, url, {}, b"{}", ACME) as stream:
                await stream.read(take)
    assert [event.data for event in seen] == [b"1", b"2"] * 2
    assert len(ports) == 1


async def test_a_bug_of_whoever_takes_the_events_is_raised_and_closes_the_connection() -> None:
    left = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b"data: 1\n\n")
                await asyncio.sleep(0)
        finally:
            left.set()

    def take(events: list[SseEvent]) -> bool:
        raise KeyError

    async with server(handler) as url, vendor_http() as session, asyncio.timeout(5):
        with pytest.raises(KeyError):
            async with open_stream(session, url, {}, b"{}", ACME) as stream:
                await stream.read(take)
        await left.wait()


async def test_a_body_that_breaks_off_is_unavailable_after_what_was_said() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\ndata: 2")
        request.transport.close()
        return response

    def take(events: list[SseEvent]) -> bool:
        seen.extend(events)
        return False

    seen: list[SseEvent] = []
    async with server(handler) as url, vendor_http() as session:
        with pytest.raises(ProviderUnavailable):
            async with open_stream(session, url, {}, b"{}", ACME) as stream:
                await stream.read(take)
    assert seen == [SseEvent(b"1")]


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/v1", "http://", "nonsense"])
async def test_an_address_that_is_none_is_named(url: str) -> None:
    assert "base_url" in (await failure_of(url)).message


def in_pieces(body: bytes, status: int = 200) -> Handler:
    """Answers with a body whose second half comes once the first was read."""

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"content-type": "application/json"})
        await response.prepare(request)
        for begin in range(0, len(body), max(1, len(body) // 2)):
            await response.write(body[begin : begin + max(1, len(body) // 2)])
            # One turn of the loop polls the client's socket, the next one runs its reader.
            for _ in range(3):
                await asyncio.sleep(0)
        await response.write_eof()
        return response

    return handler


async def test_a_document_that_comes_in_pieces_is_read_whole() -> None:
    body = json.dumps({"voices": ["x" * 100] * 2_000}).encode()
    async with server(in_pieces(body)) as url, vendor_http() as session:
        assert await get_json(session, url, {}, ACME) == body


async def test_a_document_that_is_too_long_is_refused() -> None:
    async with server(in_pieces(b" " * (LONGEST_DOCUMENT + 1))) as url, vendor_http() as session:
        with pytest.raises(ProviderError, match="longer than 1 MiB"):
            await get_json(session, url, {}, ACME)


async def test_a_reason_that_comes_in_pieces_is_told_whole() -> None:
    body = json.dumps({"padding": "x" * 60_000, "error": {"message": "The voice is not there."}}).encode()
    async with server(in_pieces(body, 400)) as url, vendor_http() as session:
        with pytest.raises(InvalidRequest, match="The voice is not there"):
            await get_json(session, url, {}, ACME)


async def test_a_reason_whose_end_never_comes_is_waited_for_no_longer() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=429, headers={"content-type": "text/plain", "retry-after": "7"})
        await response.prepare(request)
        await response.write(b"Slow down")
        await asyncio.Event().wait()
        return response

    async with server(handler) as url, vendor_http() as session, asyncio.timeout(10):
        with pytest.raises(ProviderRateLimited, match="Slow down") as caught:
            await get_json(session, url, {}, ACME)
    assert caught.value.retry_after == 7


async def test_a_vendor_that_sends_fast_leaves_others_their_turn() -> None:
    count = 40_000
    body = b'data: {"a": "0123456789"}\n\n' * count

    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, content_type="text/event-stream")

    turns = 0

    async def bystander() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    seen: list[tuple[int, int]] = []

    def take(events: list[SseEvent]) -> bool:
        seen.append((turns, len(events)))
        return sum(range(500 * len(events))) < 0  # what decoding costs, and never enough

    async with server(handler) as url, vendor_http() as session:
        running = asyncio.create_task(bystander())
        async with open_stream(session, url, {}, b"{}", ACME) as stream:
            await stream.read(take)
        running.cancel()
    assert sum(events for _, events in seen) == count
    in_one_turn: dict[int, int] = {}
    for turn, events in seen:
        in_one_turn[turn] = in_one_turn.get(turn, 0) + events
    assert max(in_one_turn.values()) <= 2 * (PIECE // 20)


@asynccontextmanager
async def counting_turns() -> AsyncIterator[Callable[[], int]]:
    """Tells how many turns the loop has had."""
    turns = 0

    async def bystander() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    running = asyncio.create_task(bystander())
    try:
        yield lambda: turns
    finally:
        running.cancel()


def spend_a_turn() -> None:
    """Decode for as long as all answers may in one turn of the loop."""
    begun = perf_counter()
    while perf_counter() - begun <= TURN:
        pass


async def test_vendors_that_send_fast_share_one_budget_and_get_their_pieces_in_turn() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"data: 1\n\n" * (20 * PIECE // 9), content_type="text/event-stream")

    async def ask(number: int) -> None:
        def take(events: list[SseEvent]) -> bool:
            spend_a_turn()
            taken.append((turns(), number))
            return False

        async with open_stream(session, url, {}, b"{}", ACME) as stream:
            await everybody.wait()
            await stream.read(take)

    count = 6
    everybody = asyncio.Barrier(count)
    taken: list[tuple[int, int]] = []
    async with server(handler) as url, vendor_http() as session, counting_turns() as turns:
        await asyncio.gather(*(ask(number) for number in range(count)))
    # A turn has one piece, and now and then the small end of a read.
    assert len(taken) >= 20 * count
    assert len({turn for turn, _ in taken}) > len(taken) / 2
    # Nobody is far ahead: what each has had when the first of them is at half of its pieces.
    had = Counter[int]()
    for _, number in taken:
        had[number] += 1
        if had[number] == 10:
            break
    assert len(had) == count
    assert min(had.values()) >= 5


async def test_a_small_read_is_taken_at_once_while_others_wait_for_their_turn() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await may_go_on.wait()
        await response.write(b"data: 2\n\n")
        await asyncio.Event().wait()
        return response

    def take(events: list[SseEvent]) -> bool:
        seen.extend(event.data for event in events)
        if not may_go_on.is_set():
            for _ in range(waiting):
                pace().line_up(wait)
            may_go_on.set()
        return b"2" in seen

    waiting = 10_000  # so many turns of the loop; the read comes in a few

    def wait() -> None:
        nonlocal waiting
        waiting -= 1
        pace().spend(2 * TURN)

    may_go_on = asyncio.Event()
    seen: list[bytes] = []
    async with (
        asyncio.timeout(10),
        server(handler) as url,
        vendor_http() as session,
        open_stream(session, url, {}, b"{}", ACME) as stream,
    ):
        await stream.read(take)
        assert waiting > 0
    assert seen == [b"1", b"2"]


async def test_an_answer_that_waits_for_its_turn_can_be_cancelled_and_leaves_the_others_theirs() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"data: 1\n\n" * (10 * PIECE // 9), content_type="text/event-stream")

    async def ask(number: int) -> int:
        found = 0

        def take(events: list[SseEvent]) -> bool:
            nonlocal found
            found += len(events)
            spend_a_turn()
            if number == 0 and running[1].cancel():
                running[2].cancel()
            return False

        async with open_stream(session, url, {}, b"{}", ACME) as stream:
            await stream.read(take)
        return found

    async with server(handler) as url, vendor_http() as session, asyncio.timeout(20):
        running = [asyncio.create_task(ask(number)) for number in range(4)]
        results = await asyncio.gather(*running, return_exceptions=True)
    assert [results[0], results[3]] == [10 * PIECE // 9] * 2
    assert all(isinstance(result, asyncio.CancelledError) for result in results[1:3])
