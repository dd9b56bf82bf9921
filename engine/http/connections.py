"""Connections before anybody is known on them: few at a time, briefly, and answered in our own words when they send junk."""

from __future__ import annotations

import asyncio
import re
import resource
import time
from collections import OrderedDict
from functools import partial
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest

from engine.api.errors import EngineError, FrameTooLarge, InvalidRequest
from engine.http import answers
from engine.http.framing import SMALLEST_CHUNK, Framing
from engine.http.guard import REQUEST_ID, request_id
from engine.http.problem import answer_error
from engine.log import get_logger
from engine.stats import Stats

log = get_logger(__name__)

SPARE_FILES = 64
"""Descriptors that are left to the database, to vendors and to files."""

LONGEST_LINE = 8190
"""Bytes of a header, and of the address, that are read."""

LONGEST_START = 1 << 10
"""Bytes of a head that are kept to know whose address it asks, where the rest of it cannot be read."""

_TARGET = re.compile(rb"[\r\n]*[!-~]+ (?:[A-Za-z]+://[^/ ?#]*)?([^ ?#\r\n]*)[^ \r\n]*")

TOLD_EVERY = 60.0
"""Seconds between two lines of the log about the same kind of trouble with strangers."""


PIECE = 16 << 10
"""Bytes of a WebSocket that are parsed in one turn of the loop. They may be 2,700 frames, each a ping to be answered."""


class Strangers:
    """The connections on which nobody is known: that sent no whole head yet, or none since the last answer, or no key.

    Where there are more than `most`, the one that has been so for longest is closed: an honest client is known within
    milliseconds, or connects again.
    """

    def __init__(self, most: int, patience: float, stats: Stats) -> None:
        self.most = most
        self.patience = patience
        self._waiting: OrderedDict[Connection, None] = OrderedDict()
        self._told: dict[str, float] = {}
        self._stats = stats

    def __len__(self) -> int:
        return len(self._waiting)

    def came(self, connection: Connection) -> None:
        """Nobody is known on this connection from now on."""
        self._waiting[connection] = None
        while len(self._waiting) > self.most:
            oldest, _ = self._waiting.popitem(last=False)
            self.tell("stranger_dropped")
            oldest.drop()

    def left(self, connection: Connection) -> None:
        """The connection is closed, or it is known who is there."""
        self._waiting.pop(connection, None)

    def tell(self, kind: str) -> None:
        """Count trouble with a stranger; the log gets a line a minute of each kind, with nothing of what was sent."""
        count = self._stats.troubled(kind)
        now = time.monotonic()
        if now - self._told.get(kind, -TOLD_EVERY) >= TOLD_EVERY:
            self._told[kind] = now
            log.warning(kind, count=count)


class Connection(RequestHandler):
    """One connection; it has `patience` seconds for each head, and its handlers as long as they take.

    No deadline runs from the end of a head to the end of its answer, nor while the rest of its body comes after the answer.
    """

    __slots__ = ("_body", "_deadline", "_feeding", "_framing", "_pending", "_rest", "_start", "_start_of", "_strangers")

    def __init__(self, manager: Any, *, strangers: Strangers, **options: Any) -> None:
        super().__init__(manager, **options)
        self._strangers = strangers
        self._deadline: asyncio.TimerHandle | None = None
        self._pending = False  # a head has come, and its answer is not over
        self._body: StreamReader | None = None  # of the latest request
        self._rest = b""  # of what was read of a WebSocket, not parsed yet; nothing more is read meanwhile
        self._feeding = False
        self._framing: Framing | None = None  # of the latest request, where its body comes in chunks
        self._start = b""  # of the latest head that began in a read of its own
        self._start_of = -1  # how many heads had come before that one

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._expect_head()
        self._strangers.came(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._expect_nothing()
        self._strangers.left(self)
        super().connection_lost(exc)
        # Each of these holds the connection: without it they are freed at once, with what is left of a body.
        self._body = self._framing = None
        self._rest = b""
        self._data_received_cb = None

    def data_received(self, data: bytes) -> None:
        if self._payload_parser is not None and (self._rest or len(data) > PIECE):
            self._rest += data
            if not self._buffer_paused:
                self._pause_reading_for_buffer()
                self._feed()
            return
        before, between = self._request_count, self._between_requests()
        if between:
            self._keep_start(data)
        super().data_received(data)
        if self._request_count > before:
            self._pending = True
            self._expect_nothing()
            self._follow_body()
        elif data and between and self._deadline is None:
            self._expect_head()
        elif self._framing is not None and self._framing.wasteful(len(data), self._reading_paused):
            self._refuse_chunks(self._framing.body)

    def _feed(self) -> None:
        """Have a piece of a WebSocket parsed, and the next one in the next turn of the loop."""
        self._feeding = False
        if self.transport is None or self._reading_paused:
            return  # over, or frames wait to be taken: `resume_reading` goes on
        piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
        super().data_received(piece)
        if self._rest:
            self._feed_soon()
        else:
            self._resume_reading_for_buffer()

    def _feed_soon(self) -> None:
        if not self._feeding:
            self._feeding = True
            self._loop.call_soon(self._feed)

    def resume_reading(self, resume_parser: bool = True) -> None:
        super().resume_reading(resume_parser)
        if self._rest:
            self._feed_soon()

    def _keep_start(self, data: bytes) -> None:
        if self._start_of != self._request_count:
            self._start, self._start_of = b"", self._request_count
        if (room := LONGEST_START - len(self._start)) > 0:
            self._start += data[:room]

    def _follow_body(self) -> None:
        """The latest head has come: its body comes next."""
        message, body = self._messages[-1]
        self._framing = Framing(body) if getattr(message, "chunked", False) else None

    def _refuse_chunks(self, body: StreamReader) -> None:
        """Whoever reads the body gets an error to answer with; nothing more is read from this connection."""
        self._framing = None
        self._strangers.tell("chunks_too_small")
        if not self._pending:  # the answer is over, and only the rest of the body is awaited
            self.drop()
            return
        body.set_exception(InvalidRequest(f"chunks of a body have {SMALLEST_CHUNK} bytes or more on average"))
        body.feed_eof()
        self.close()

    def _between_requests(self) -> bool:
        """What comes next belongs to a new head."""
        return not self._pending and not self._upgraded and (self._body is None or self._body.is_eof())

    async def _handle_request(self, request: BaseRequest, start_time: float | None, request_handler: Any) -> Any:
        """Answer one request. aiohttp calls this in a task of its own, a moment after it took the request from its queue."""
        try:
            if self.transport is None or self.transport.is_closing():
                raise ConnectionResetError("the client left before its request was handled")
            return await super()._handle_request(request, start_time, request_handler)
        finally:
            if self.transport is not None:
                self._body = request.content
            self._pending = bool(self._messages)

    def known(self) -> None:
        """It is known who is there, until the answer is over."""
        self._strangers.left(self)

    def answered(self) -> None:
        """The answer is over: who is there has to be said again."""
        if self.transport is not None and not self.transport.is_closing():
            self._strangers.came(self)

    def drop(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to what is no HTTP, in the form of the address that it asks; nothing that was sent is repeated."""
        if status != 400:
            return super().handle_error(request, status, exc, message)
        self._strangers.tell("malformed_request")
        id = request_id(None)
        told = answer_error(malformed(self._start, exc), id, path=asked_path(self._start))
        answer = answers.whole(told, {REQUEST_ID: id})
        answer.force_close()
        return answer

    def _expect_head(self) -> None:
        self._deadline = self._loop.call_later(self._strangers.patience, self._late)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        self._strangers.tell("head_too_slow")
        self.drop()


def asked_path(start: bytes) -> str:
    """The path that a head asks which cannot be read whole, as far as its start tells; empty where it tells nothing."""
    found = _TARGET.match(start)
    return found[1].decode("latin-1") if found is not None else ""


def malformed(start: bytes, reason: BaseException | None) -> EngineError:
    """What is wrong with a head that begins so: too long is 431, or 414 where it is the address that does not end."""
    if not isinstance(reason, LineTooLong):
        return InvalidRequest("the request is malformed: its line or its headers are not those of HTTP/1.1")
    found = _TARGET.match(start)
    address = found is not None and found.end() == LONGEST_START
    what = "the request's address is too long" if address else "a header of the request is too long"
    error: EngineError = FrameTooLarge(f"{what}; a line of a head has at most {LONGEST_LINE} bytes", limit=LONGEST_LINE)
    error.status = 414 if address else 431  # type: ignore[misc]
    return error


def most_strangers(wanted: int) -> int:
    """As many as are wanted, and as leave half of this process's descriptors to those who are known."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(8, min(wanted, (soft - SPARE_FILES) // 2))


class Listening(web.TCPSite):
    """A port whose connections begin as strangers."""

    def __init__(self, runner: web.AppRunner, host: str, port: int, strangers: Strangers) -> None:
        super().__init__(runner, host, port, backlog=4096)
        self._strangers = strangers

    async def start(self) -> None:
        await web.BaseSite.start(self)
        server = self._runner.server
        assert server is not None
        loop = asyncio.get_running_loop()
        made = partial(Connection, server, loop=loop, strangers=self._strangers, **server._kwargs)
        self._server = await loop.create_server(made, self._host, self._port, backlog=self._backlog)
