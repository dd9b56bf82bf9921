"""Server-sent events as an answer: a stream's events go out as they come, in one write a loop turn."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import HttpVersion11, web

from engine.api.errors import EngineError, ErrorBody, ShuttingDown, SlowConsumer
from engine.api.events import (
    Audio,
    Event,
    LaneEnded,
    LaneStarted,
    MessageSaved,
    StatusChanged,
    StreamEnded,
    StreamStarted,
)
from engine.api.routes import Encoder
from engine.api.streams import Partial, Said
from engine.bus.log import Entry
from engine.bus.stream import Cursor, Stream
from engine.sessions.outlet import HIGH_WATER
from engine.wire.control import StreamDetached
from engine.wire.frames import encode_event, encode_json
from engine.wire.sse import encode_sse

SSE = "text/event-stream"

COMMENT = b": keep-alive\n\n"
KEEP_ALIVE = 15.0
"""Seconds of silence after which a sign of life keeps proxies and clients from closing the connection."""


CLOSE_BEHIND = 0.25
"""Seconds in which an error that a vendor sends behind the head of its answer is still told by our status line."""


class NativeEncoder:
    """The engine's own form: `id` is the number, `data` the frame of the socket. Audio stays on the socket."""

    def __init__(self, stream: Stream, after: int) -> None:
        self._stream = stream
        self._sent = after

    def encode_entry(self, entry: Entry) -> bytes | None:
        """The bytes for one event."""
        if type(entry.event) is Audio:
            return None
        n, before = entry.n, self._sent
        self._sent = n
        frame = entry.frame(self._stream.prefix)
        if before != n - 1:
            frame = encode_event(self._stream.prefix, n, entry.event, before)
        return b"id: %d\ndata: %b\n\n" % (n, frame)

    def failed(self, error: EngineError) -> bytes:
        """What a reader is told that fell off the tail; it may resume."""
        return encode_sse(encode_json(StreamDetached(stream=self._stream.id, last=self._sent, error=error.body())))


class EventWriter:
    """Writes one stream to one connection until its end, or until the caller leaves.

    Takes entries synchronously when the stream wakes it; a full socket stops the taking, never the publishing.
    """

    def __init__(
        self,
        cursor: Cursor,
        transport: asyncio.Transport,
        encoder: Encoder | NativeEncoder,
        *,
        chunked: bool = True,
        quiet: bool = False,
        keep_alive: bytes = COMMENT,
    ) -> None:
        self._cursor = cursor
        self._quiet = quiet
        self._sign = keep_alive
        self._chunked = chunked
        self._transport = transport
        self._encoder = encoder
        self._loop = asyncio.get_running_loop()
        self._scheduled = False
        self._retry = 0.005
        self._wrote = False
        self.sent = 0
        """Bytes that were sent."""
        self.done: asyncio.Future[None] = self._loop.create_future()
        cursor.wake = self._wake

    async def run(self) -> None:
        """Return when the terminal event is written or the connection is gone."""
        self._wake(self._cursor)
        alive = self._loop.call_later(KEEP_ALIVE, self._keep_alive)
        self._alive = alive
        try:
            await self.done
        finally:
            self._alive.cancel()
            self._cursor.wake = _ignore

    def _wake(self, _: Cursor) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self.done.done():
            return
        if self._transport.is_closing():
            self.done.set_result(None)
            return
        if self._transport.get_write_buffer_size() > HIGH_WATER:
            self._scheduled = True
            self._loop.call_later(self._retry, self._flush)
            self._retry = min(self._retry * 2, 0.1)
            return
        self._retry = 0.005
        try:
            self._write(self._take())
        except Exception as error:
            self.done.set_exception(error)
            return
        if self.done.done():
            return
        if self._cursor.over:
            self.done.set_result(None)
        elif self._cursor.behind:
            self._wake(self._cursor)

    def _take(self) -> list[bytes]:
        encoder = self._encoder
        try:
            entries = self._cursor.take()
        except SlowConsumer as error:
            self.done.set_result(None)
            return [encoder.failed(error)]
        if isinstance(encoder, NativeEncoder):
            pieces = [encoder.encode_entry(entry) for entry in entries]
        else:
            pieces = [encoder.encode(entry.n, entry.event) for entry in entries]
        return [piece for piece in pieces if piece]

    def _write(self, pieces: list[bytes]) -> None:
        if pieces:
            self._wrote = True
            data = b"".join(pieces)
            self.sent += len(data)
            # A chunk of a chunked body (RFC 9112, section 7.1); HTTP/1.0 has none, there the end of the connection is the end.
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def _keep_alive(self) -> None:
        if not self._quiet and not self._wrote and not self._transport.is_closing() and not self.done.done():
            self._write([self._sign])
        if self._transport.is_closing() and not self.done.done():
            self.done.set_result(None)
        self._wrote = False
        self._alive = self._loop.call_later(KEEP_ALIVE, self._keep_alive)


def _ignore(_: Cursor) -> None:
    pass


def event_stream(request: web.Request, headers: Mapping[str, str], content_type: str = SSE) -> web.StreamResponse:
    """A response that is ready for events."""
    response = web.StreamResponse(headers={**headers, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
    response.content_type = content_type
    if content_type == SSE:
        response.charset = "utf-8"
    if takes_chunks(request):
        response.enable_chunked_encoding()
    return response


def takes_chunks(request: web.Request) -> bool:
    """False for HTTP/1.0, which some proxies still speak to what is behind them."""
    return request.version >= HttpVersion11


async def first_word(cursor: Cursor, patience: float = CLOSE_BEHIND) -> EngineError | None:
    """Wait for the first delta or the end, without taking anything; once the vendor's answer has begun, for `patience` seconds.

    Gives the error of a stream that failed before it said anything.
    """
    loop = asyncio.get_running_loop()
    stream = cursor.stream
    until: float | None = None
    while True:
        started = any(_is_word(entry.event) for entry in stream.log.read(max(cursor.after, stream.log.tail), 64))
        if started or stream.ended is not None:
            ended = stream.ended
            return None if started or ended is None else failure(ended)
        if not stream.begun:
            until = None
        elif until is None:
            until = loop.time() + patience
        elif loop.time() >= until:
            return None
        waiter: asyncio.Future[None] = loop.create_future()
        cursor.wake = lambda _, waiter=waiter: waiter.done() or waiter.set_result(None)  # type: ignore[misc]
        await asyncio.wait((waiter,), timeout=None if until is None else max(0.0, until - loop.time()))


def failure(ended: StreamEnded) -> EngineError | None:
    """The error of a failed stream as it was raised, so that its HTTP status can be told."""
    if ended.status == "completed" or (ended.error is None and ended.status != "cancelled"):
        return None
    return StreamFailed(ended)


class StreamFailed(EngineError):
    """A stream that failed, as an HTTP error: vendor trouble is 502, its limits 429, silence 504.

    What it had said stands in `partial`; `stream` is its id.
    """

    stream: str | None = None

    def __init__(self, ended: StreamEnded, said: Said | None = None) -> None:
        body = ended.error or _STOPPED.get(ended.reason)
        super().__init__(
            body.message if body else "the turn was stopped before its answer was whole",
            field=body.field if body else None,
            retry_after=body.retry_after if body else None,
            retryable=body.retryable if body else False,
            limit=body.limit if body else None,
            remaining=body.remaining if body else None,
        )
        self.code = body.code if body else "cancelled"  # type: ignore[misc]
        self.status = STATUS_OF.get(self.code, 500)  # type: ignore[misc]
        if said is not None and (said.text or said.tool_calls or said.reasoning or any(said.choices)):
            self.partial = Partial(
                text=said.text, choices=said.choices, reasoning=said.reasoning, tool_calls=said.tool_calls
            )


_STOPPED = {
    "shutdown": ErrorBody(
        code=ShuttingDown.code, message="the server went down before the answer was whole", retryable=True
    )
}


def _statuses(root: type[EngineError]) -> dict[str, int]:
    known = {root.code: root.status}
    for child in root.__subclasses__():
        known = {**known, **_statuses(child)}
    return known


STATUS_OF = _statuses(EngineError)
"""HTTP status of every code of the public door."""


_BESIDE = (StreamStarted, StatusChanged, LaneStarted, LaneEnded, MessageSaved, StreamEnded)


def _is_word(event: Event) -> bool:
    return not isinstance(event, _BESIDE)


def snapshot_event(stream: Stream, n: int) -> bytes:
    """What a reader gets who cannot have the events any more."""
    return encode_sse(encode_json(stream.snapshot(n)), number=n)
