"""Closed-loop clients on raw protocols: each asks, checks that the answer is whole, and asks again."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, cast

from bench.dialects import AnswerError, Dialect
from bench.framing import CLOSE, PING, PONG, FramingError, HttpAnswer, WsFrames, client_frame, http_request, ws_upgrade
from bench.traffic import STAMP

RETRY_PAUSE = 0.1
"""Seconds before a client whose answer was wrong connects again, so that a refusing server is not hammered."""


@dataclass(slots=True)
class Tally:
    """What all clients of one run saw; times and counts only while `measuring`, errors always."""

    measuring: bool = False
    stopping: bool = False
    chunks: int = 0
    answers: int = 0
    connects: int = 0
    first_token_s: list[float] = field(default_factory=list)
    latency_us: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


class Target(NamedTuple):
    """Where clients go and what they ask for; `want` chunks make a whole answer, 0: a WebSocket asks nothing by itself."""

    port: int
    path: str
    key: str
    ask: bytes
    want: int


class Client(asyncio.Protocol):
    """One connection; `gone` is done when it is closed, `failed` tells whether by a wrong answer."""

    transport: asyncio.Transport

    def __init__(self, target: Target, tally: Tally, start_at: float) -> None:
        self.target, self.tally, self.start_at = target, tally, start_at
        self.loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self.loop.create_future()
        self.failed = False
        self.waiting = False
        self.asked = 0.0
        self.got = 0
        self.last_stamp = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do what asyncio.Transport says without being one.
        self.transport = cast("asyncio.Transport", transport)
        self.tally.connects += 1
        self.open()

    def open(self) -> None:
        """Do what comes before the first question."""
        self.loop.call_at(self.start_at, self.ask)

    def question(self) -> bytes:
        raise NotImplementedError

    def feed(self, data: bytes, now: float) -> None:
        raise NotImplementedError

    def ask(self) -> None:
        if self.tally.stopping or self.transport.is_closing():
            self.transport.close()
            return
        self.waiting, self.got, self.last_stamp = True, 0, 0
        self.asked = time.monotonic()
        self.transport.write(self.question())

    def data_received(self, data: bytes) -> None:
        try:
            self.feed(data, time.monotonic())
        except (AnswerError, FramingError, ValueError) as error:
            self.fail(str(error))

    def count(self, stamps: Sequence[bytes], now: float) -> None:
        times = [int(stamp) for stamp in stamps]
        if times[0] < self.last_stamp or (len(times) > 1 and times != sorted(times)):
            raise AnswerError("chunks out of order")
        self.last_stamp = times[-1]
        tally = self.tally
        if not self.got and tally.measuring:
            tally.first_token_s.append(now - self.asked)
        self.got += len(times)
        if tally.measuring:
            tally.chunks += len(times)
            now_us = now * 1e6
            tally.latency_us.extend([now_us - sent for sent in times])

    def end(self) -> None:
        """The server says that the answer is whole: check it, then ask again."""
        if self.got != self.target.want:
            self.fail(f"an answer of {self.got} chunks, not {self.target.want}")
            return
        self.waiting = False
        if self.tally.measuring:
            self.tally.answers += 1
        self.ask()

    def fail(self, reason: str) -> None:
        if not self.failed:
            self.tally.errors[reason] += 1
        self.failed, self.waiting = True, False
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting:
            self.fail("closed in the middle of an answer")
        if not self.gone.done():
            self.gone.set_result(None)


class SseClient(Client):
    """POST with an event stream in answer; over HTTP an answer is over with `[DONE]` and the body's end."""

    def question(self) -> bytes:
        self.answer, self.rest, self.done = HttpAnswer(), b"", False
        return http_request(self.target.path, self.target.ask, self.target.key)

    def feed(self, data: bytes, now: float) -> None:
        body = self.rest + self.answer.feed(data)
        if self.answer.status not in (0, 200):
            self.rest = body
            if self.answer.over:
                raise AnswerError(f"HTTP {self.answer.status}: {body[:200].decode(errors='replace')}")
            return
        cut = body.rfind(b"\n\n") + 2
        if cut > 1:
            self.rest = body[cut:]
            self.read_events(body[:cut], now)
        else:
            self.rest = body
        if self.answer.over:
            if not self.done:
                raise AnswerError("an event stream without [DONE]")
            self.end()

    def read_events(self, events: bytes, now: float) -> None:
        if stamps := STAMP.findall(events):
            self.count(stamps, now)
        if b'"error":{' in events:
            raise AnswerError(events[-300:].decode(errors="replace"))
        self.done = b"data: [DONE]" in events


class JsonClient(Client):
    """POST with one JSON body in answer."""

    def question(self) -> bytes:
        self.answer, self.body = HttpAnswer(), b""
        return http_request(self.target.path, self.target.ask, self.target.key)

    def feed(self, data: bytes, now: float) -> None:
        self.body += self.answer.feed(data)
        if not self.answer.over:
            return
        if self.answer.status != 200:
            raise AnswerError(f"HTTP {self.answer.status}: {self.body[:200].decode(errors='replace')}")
        if stamps := STAMP.findall(self.body):
            self.count(stamps, now)
        self.end()


class WsClient(Client):
    """A WebSocket in one server's dialect; `opened` is done once the server would take a question."""

    def __init__(self, target: Target, tally: Tally, start_at: float, dialect: Dialect) -> None:
        super().__init__(target, tally, start_at)
        self.dialect = dialect
        self.opened: asyncio.Future[None] = self.loop.create_future()
        self.frames = WsFrames()
        self.head: bytes | None = b""

    def open(self) -> None:
        self.waiting = True
        self.transport.write(ws_upgrade(self.target.path, self.target.key))

    def question(self) -> bytes:
        return client_frame(self.target.ask)

    def feed(self, data: bytes, now: float) -> None:
        if self.head is not None:
            self.head, found, data = (self.head + data).partition(b"\r\n\r\n")
            if not found:
                return
            self.shake_hands(self.head)
        for first_byte, payload in self.frames.feed(data):
            if stamps := STAMP.findall(payload):
                self.count(stamps, now)
            elif first_byte == PING:
                self.transport.write(client_frame(payload, PONG))
            elif first_byte == CLOSE:
                raise AnswerError(f"closed with code {int.from_bytes(payload[:2], 'big')}")
            elif first_byte != PONG:
                self.read_frame(payload)

    def shake_hands(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 101"):
            raise AnswerError(f"no WebSocket: {head[:100].decode(errors='replace')}")
        self.head = None
        if not self.dialect.greets:
            self.begin()

    def read_frame(self, payload: bytes) -> None:
        ended = self.dialect.ended(payload)
        if not self.opened.done():
            self.begin()
        elif ended:
            self.end()

    def begin(self) -> None:
        self.waiting = False
        self.opened.set_result(None)
        if self.target.want:
            self.loop.call_at(self.start_at, self.ask)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not self.opened.done():
            self.opened.cancel()


async def keep_asking(connect: Callable[[], Client], port: int, tally: Tally) -> None:
    """Run one closed loop until the tally says stop, over a fresh connection whenever the last was lost."""
    loop = asyncio.get_running_loop()
    while not tally.stopping:
        try:
            _, client = await loop.create_connection(connect, "127.0.0.1", port)
        except OSError as error:
            tally.errors[f"connect: {error}"] += 1
            await asyncio.sleep(RETRY_PAUSE)
            continue
        await client.gone
        if client.failed:
            await asyncio.sleep(RETRY_PAUSE)
