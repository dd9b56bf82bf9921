"""HTTP to the vendors: one pool of connections, and answers read as batches of server-sent events."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from time import perf_counter
from types import TracebackType
from typing import Self, TypeAlias, cast

import aiohttp
from yarl import URL

from engine.api import EngineError, Shared
from engine.wire.apart import apart
from engine.wire.sse import SseEvent, UnfinishedEvent
from engine.wire.trace import trace_headers
from plugins.vendors.failures import Vendor
from plugins.vendors.faults import Fault, retry_after
from plugins.vendors.framing import Framing
from plugins.vendors.pacing import pace

CONNECT_TIMEOUT = 10.0
KEEP_ALIVE = 30.0
LONGEST_ERROR_BODY = 64 << 10
ERROR_BODY_WITHIN = 2.0
LONGEST_DOCUMENT = 1 << 20
# Between an answer's last event and the end of its body there is at most a network delay.
TRAILER_TIMEOUT = 0.25

_STREAMING = {
    "Accept": "text/event-stream",
    # Compression would hold pieces back until a block is full.
    "Accept-Encoding": "identity",
    "Content-Type": "application/json",
}
_NO_EVENTS = frozenset({"application/json", "text/html"})


@asynccontextmanager
async def vendor_http() -> AsyncIterator[aiohttp.ClientSession]:
    """The pool that all vendors share: `context.shared(vendor_http)`.

    It has no bound on connections (turns are bounded elsewhere), keeps no cookies, and sets no deadline but the one to
    connect: deadlines of a call belong to its caller.
    """
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE, ttl_dns_cache=60)
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT),
        headers={"User-Agent": "betterai-engine"},
    ) as session:
        yield session


Body: TypeAlias = bytes | Callable[[], bytes]
"""The body of a request: made, or to be made in a thread when the request is sent."""

Http: TypeAlias = aiohttp.ClientSession | Shared[aiohttp.ClientSession]
"""The pool of connections: open, or opened with the first request."""


async def send(
    http: Http, url: str | URL, headers: Mapping[str, str], body: bytes | AsyncIterable[bytes], vendor: Vendor
) -> aiohttp.ClientResponse:
    """A POST, answered as far as its status line; what keeps it from that is raised as the vendor's failure."""
    session = http if isinstance(http, aiohttp.ClientSession) else await http.get()
    with connecting(vendor):
        return await session.post(url, data=body, headers={**headers, **trace_headers()}, allow_redirects=False)


@contextmanager
def connecting(vendor: Vendor) -> Iterator[None]:
    """What aiohttp raises in the block, as the vendor's failures. Nothing is chained: its errors hold the request's headers,
    and with them the key.
    """
    try:
        yield
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
        raise vendor.broke_protocol("its base_url is no HTTP address") from None
    except aiohttp.ClientConnectorDNSError:
        raise vendor.unreachable("its host name is not known") from None
    except (aiohttp.ClientSSLError, ssl.SSLError):
        raise vendor.unreachable("no secure connection, its certificate or TLS version is not accepted") from None
    except TimeoutError:
        raise vendor.unreachable("it does not accept connections in time") from None
    except aiohttp.ClientConnectorError as error:
        raise vendor.unreachable(_plain(error), detail=error.strerror) from None
    except aiohttp.WSServerHandshakeError as error:
        wait = retry_after(error.headers or {})
        # A refused upgrade has lost its body, and aiohttp's own words say less than the status.
        said = error.message if error.status == 101 else ""
        raise vendor.failure(Fault(said), status=error.status, retry_after=wait) from None
    except aiohttp.ClientResponseError:
        broken = vendor.broke_protocol("its answer is not HTTP")
        broken.begun = True
        raise broken from None
    except (aiohttp.ClientError, OSError):
        failure = vendor.unreachable("it closed the connection without an answer")
        failure.begun = True
        raise failure from None


async def failure_of(response: aiohttp.ClientResponse, vendor: Vendor, due: str = "an event stream") -> EngineError:
    """The failure that an answer tells; `due` is what it should have been."""
    try:
        body = await _up_to(LONGEST_ERROR_BODY, response.content, ERROR_BODY_WITHIN)
    except (aiohttp.ClientError, OSError, RuntimeError):
        body = b""
    if response.status < 300 and not vendor.read_fault(body).message:
        return vendor.broke_protocol(f"it answered {response.content_type} where {due} was due")
    status = response.status if response.status >= 300 else None
    return vendor.failure(body, status=status, retry_after=retry_after(response.headers))


async def _up_to(most: int, content: aiohttp.StreamReader, within: float | None = None) -> bytes:
    """The body to its end, however many pieces it comes in; of one that has more than `most` bytes, some that are more.

    What has not come `within` so many seconds is left out.
    """
    pieces: list[bytes] = []
    size = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            while size <= most and (piece := await content.readany()):
                pieces.append(piece)
                size += len(piece)
    return b"".join(pieces)


async def post_bytes(
    http: Http,
    url: str | URL,
    headers: Mapping[str, str],
    body: bytes | AsyncIterable[bytes],
    vendor: Vendor,
    *,
    due: str,
) -> AsyncIterator[bytes]:
    """A POST whose answer is given out as it comes; leaving it early closes the connection."""
    response = await send(http, url, headers, body, vendor)
    try:
        if response.status >= 300 or (due == "audio" and response.content_type in _NO_EVENTS):
            raise await failure_of(response, vendor, due)
        while piece := await response.content.readany():
            yield piece
    except (aiohttp.ClientError, OSError, RuntimeError):
        raise vendor.cut_off() from None
    finally:
        if not response.content.is_eof():
            response.close()


class EventStream:
    """A POST whose answer is a stream of events: `async with` sends it, `read` gives what each read brought.

    The events are told by the bytes and not by the content type, which many servers and proxies have wrong.

    Leaving the block after the end of the answer keeps the connection for the next request; leaving it earlier, by an
    error, a cancel or a close, closes the connection, which is how the vendor learns to stop.
    """

    __slots__ = ("_body", "_framing", "_headers", "_http", "_response", "_url", "_vendor")

    def __init__(self, http: Http, url: str | URL, headers: Mapping[str, str], body: Body, vendor: Vendor) -> None:
        self._http = http
        self._url = url
        self._headers = headers
        self._body = body
        self._vendor = vendor
        self._framing = Framing()
        self._response: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> Self:
        """Send the request and wait for the status line; any other than 2xx is raised as the vendor's failure."""
        body = self._body if isinstance(self._body, bytes) else await apart(self._body)
        response = await send(self._http, self._url, {**_STREAMING, **self._headers}, body, self._vendor)
        try:
            if response.status >= 300 or response.content_type == "text/html":
                raise await failure_of(response, self._vendor)
        except BaseException:
            response.close()
            raise
        self._response = response
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (response := self._response) is None:
            return
        if kind is None:
            await self._read_trailer(response)
        if not response.content.is_eof():
            response.close()

    async def read(self, take: Callable[[list[SseEvent]], bool | None]) -> None:
        """Call `take` with the whole events of each read, which may be none, until it returns true or the body is over.

        Where it returns None it has more to do with the events that it has: it is called again without any, once everybody else
        has had a turn of the loop. `take` runs within the callback that brought the bytes, so that no coroutine is resumed for
        them; what it raises is raised here. A body that breaks off is `ProviderUnavailable`.
        """
        assert self._response is not None
        try:
            await _Tap(self._response, self._framing, take).over
        except (aiohttp.ClientError, OSError, RuntimeError):
            raise self._vendor.cut_off() from None
        except UnfinishedEvent:
            raise self._vendor.broke_protocol("an event of its stream does not end") from None

    def count(self) -> int:
        """Bytes that were read since the last call."""
        framing = self._framing
        fed, framing.fed = framing.fed, 0
        return fed

    def end(self) -> list[SseEvent]:
        """The events that stand whole at the end of the body, though nothing marks their end."""
        return self._framing.end()

    async def _read_trailer(self, response: aiohttp.ClientResponse) -> None:
        try:
            async with asyncio.timeout(TRAILER_TIMEOUT):
                while not response.content.is_eof() and await response.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, OSError, RuntimeError):
            # The answer is whole; only the connection is not worth keeping.
            return


async def get_json(http: Http, url: str, headers: Mapping[str, str], vendor: Vendor) -> bytes:
    """A GET whose answer is one JSON document of at most 1 MiB."""
    session = http if isinstance(http, aiohttp.ClientSession) else await http.get()
    with connecting(vendor):
        response = await session.get(url, headers={**headers, **trace_headers()}, allow_redirects=False)
    try:
        if response.status >= 300:
            raise await failure_of(response, vendor, "a document")
        document = await _up_to(LONGEST_DOCUMENT, response.content)
    except (aiohttp.ClientError, OSError, RuntimeError):
        raise vendor.cut_off() from None
    finally:
        # Waits for nothing: what was read to its end keeps its connection, what was not is hung up on.
        response.release()
    if len(document) > LONGEST_DOCUMENT:
        raise vendor.broke_protocol(f"its document is longer than {LONGEST_DOCUMENT >> 20} MiB")
    return document


async def post_json(http: Http, url: str | URL, headers: Mapping[str, str], body: bytes, vendor: Vendor) -> bytes:
    """A POST whose answer is one JSON document of at most 1 MiB; failures are raised as those of a stream are."""
    told = {"Accept-Encoding": "identity", "Content-Type": "application/json", **headers, "Accept": "application/json"}
    whole = b""
    async with aclosing(post_bytes(http, url, told, body, vendor, due="a document")) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            whole += piece
            if len(whole) > LONGEST_DOCUMENT:
                break
    return whole


PIECE = 16 << 10
"""Bytes that are decoded between two looks at the clock."""

SMALL = 4 << 10
"""Bytes of a read that is decoded at once, also where answers wait for their turn: no flood holds up a stream of tokens."""


class _Tap(asyncio.Protocol):
    """Stands between a connection and aiohttp's protocol, which parses all that comes, and takes the body from it at once.

    A reader that waits costs a future, a turn of the loop and every coroutine above it for each piece of an answer. `over`
    is done when `take` wants no more, when the body is over, and when either fails.
    """

    def __init__(
        self, response: aiohttp.ClientResponse, framing: Framing, take: Callable[[list[SseEvent]], bool | None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._held = b""
        self._at = 0
        self._paused = self._unfinished = self._stopped = False
        self._pace = pace()
        self._transport: asyncio.Transport | None = None
        self._content = response.content
        self._framing = framing
        self._take = take
        self._drain(perf_counter())
        if self.over.done():
            return
        connection = response.connection
        if connection is None or (transport := connection.transport) is None:
            if self._paused:
                return  # the body is whole, and the rest of it is taken in the next turns of the loop
            self.over.set_exception(aiohttp.ClientConnectionError())
            return
        self._protocol = cast("asyncio.Protocol", connection.protocol)
        self._transport = transport
        transport.set_protocol(self)
        self.over.add_done_callback(self._leave)
        if self._paused:
            self._stop_reading()

    def _leave(self, over: asyncio.Future[None]) -> None:
        transport = self._transport
        assert transport is not None
        if transport.get_protocol() is self:
            transport.set_protocol(self._protocol)
        if self._stopped and not transport.is_closing():
            transport.resume_reading()  # the connection may be another request's next
        if not over.cancelled():
            over.exception()  # whoever waited may have been cancelled in this very moment, and asks no more

    def _drain(self, begun: float, *, small: bool = False) -> None:
        """Take what has come, in pieces, as far as the budget of all answers goes; its time counts since `begun`."""
        if self._paused:
            return  # what has come is taken when its turn comes
        over, pace = self.over, self._pace
        try:
            # Taking may let aiohttp parse more, so there may be more to take.
            while not over.done() and (self._unfinished or self._has_more()):
                if not small and not pace.is_free:
                    self._pause()
                    return
                small = False
                enough = self._take([] if self._unfinished else self._framing.feed(self._next()))
                now = perf_counter()
                pace.spend(now - begun)
                begun = now
                if enough:
                    break
                self._unfinished = enough is None
                if self._unfinished:
                    self._pause()
                    return
            else:
                if not self._content.at_eof():
                    return
        except Exception as error:
            if not over.done():
                # This frame holds the future: what is answered and not logged goes without its frames.
                over.set_exception(error.with_traceback(None) if isinstance(error, EngineError) else error)
        # What takes the events may have had the call cancelled.
        if not over.done():
            over.set_result(None)

    def _has_more(self) -> bool:
        """Whether bytes of the body wait to be taken."""
        if self._at >= len(self._held):
            self._held, self._at = self._content.read_nowait(), 0
        return bool(self._held)

    def _next(self) -> bytes:
        """The next piece of the body, at most `PIECE` bytes: a vendor that sends fast must not hold the loop."""
        held, at = self._held, self._at
        if not at and len(held) <= PIECE:
            self._held = b""
            return held
        self._at = at + PIECE
        return held[at : at + PIECE]

    def _pause(self) -> None:
        """Read no more until everybody else has had a turn of the loop, and those that wait already their piece."""
        self._paused = True
        self._stop_reading()
        self._pace.line_up(self._resume)

    def _stop_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            self._stopped = True

    def _resume(self) -> None:
        self._paused = False
        if self.over.done():
            return
        self._drain(perf_counter(), small=True)  # one piece in any case: that is its turn
        transport = self._transport
        if not self._paused and not self.over.done() and transport is not None and not transport.is_closing():
            transport.resume_reading()
            self._stopped = False

    def data_received(self, data: bytes) -> None:
        begun = perf_counter()  # the parser is a part of the cost
        self._protocol.data_received(data)
        self._drain(begun, small=len(data) <= SMALL)

    def eof_received(self) -> bool | None:
        return self._protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)
        self._drain(perf_counter())

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


def open_stream(http: Http, url: str | URL, headers: Mapping[str, str], body: Body, vendor: Vendor) -> EventStream:
    """A POST to be sent on entering; the vendor's failures are raised as errors of the engine that hold no header."""
    return EventStream(http, url, headers, body, vendor)


def _plain(error: OSError) -> str:
    """Why a connection failed, without the address that the library's own words hold."""
    if error.errno == errno.ECONNREFUSED:
        return "it refuses connections"
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else "the connection failed"
