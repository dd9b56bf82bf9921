"""A client of the socket that holds the server to its promises while it reads, and a wire that can be cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Self, TypeAlias

import aiohttp

from engine.wire.frames import BinaryFrame, decode_binary

Frame: TypeAlias = dict[str, Any]

PATIENCE = 15.0
"""Seconds after which a frame that was due has not come."""


@dataclass
class Heard:
    """What a client was told of one stream: every number covered once, in order, and nothing after the end."""

    stream: str
    last: int = 0
    text: str = ""
    events: list[Frame] = field(default_factory=list)
    snapshots: list[Frame] = field(default_factory=list)
    ended: Frame | None = None
    sound: bytes = b""
    heard_until: int = 0

    def hear_sound(self, frame: BinaryFrame) -> None:
        """Take one binary frame of the stream."""
        assert self.ended is None, f"sound came after the end of {self.stream}"
        before = frame.prev if frame.prev is not None else frame.n - 1
        assert before == self.last, f"after number {self.last} of {self.stream} came sound {frame.n}"
        assert frame.at >= self.heard_until, "sound went back in time"
        self.last, self.heard_until = frame.n, frame.at
        self.sound += frame.payload

    def hear(self, frame: Frame) -> None:
        """Take one frame of the stream."""
        assert self.ended is None, f"{frame} came after the end of {self.stream}"
        if frame["type"] == "stream.snapshot":
            assert frame["n"] >= self.last, f"a snapshot at {frame['n']} was sent to a reader that has {self.last}"
            self.last, self.text = frame["n"], frame["text"]
            self.snapshots.append(frame)
            return
        before = frame.get("prev", frame["n"] - 1)
        assert before == self.last, f"after number {self.last} of {self.stream} came {frame}"
        self.last = frame["n"]
        self.events.append(frame)
        if frame["type"] == "text.delta":
            self.text += frame["text"]
        elif frame["type"] == "stream.ended":
            self.ended = frame

    @property
    def end(self) -> Frame:
        """The terminal event."""
        assert self.ended is not None, f"{self.stream} has not ended; it came to number {self.last}"
        return self.ended

    @property
    def kinds(self) -> list[str]:
        """The types of the events, one for each run of alike ones."""
        kinds = [event["type"] for event in self.events]
        return [kind for i, kind in enumerate(kinds) if i == 0 or kinds[i - 1] != kind]


class Gone(Exception):
    """The connection is over; `code` is the code of its close, if it was closed and not cut."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"the connection is over, with close code {code}")
        self.code = code


class Socket:
    """One connection to `/ws`. `heard` may be shared with the connection that came before it.

    Frames are kept until they are taken; events of streams also go to `heard`, which checks them.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, heard: dict[str, Heard]) -> None:
        self.heard = heard
        self._socket = socket
        self._ids = count(1)
        self._frames: list[Frame] = []
        self._streams: dict[int, str] = {}
        self._broken: BaseException | None = None
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    # Sending.

    async def send(self, type: str, **fields: Any) -> str:
        """Send a command under an id of its own, which is given."""
        id = f"c{next(self._ids)}"
        await self.send_raw(json.dumps({"type": type, "id": id, **fields}))
        return id

    async def send_raw(self, data: str | bytes) -> None:
        """Send a text frame, or a binary one, as it stands."""
        await (self._socket.send_str(data) if isinstance(data, str) else self._socket.send_bytes(data))

    async def ask(self, type: str, **fields: Any) -> Frame:
        """Send a command and give its `accepted`, `rejected` or `pong`."""
        return await self.answer(await self.send(type, **fields))

    async def chat(self, input: Any, **fields: Any) -> Heard:
        """Start a turn, which must be accepted."""
        accepted = await self.ask("chat.send", input=input, **fields)
        assert accepted["type"] == "accepted", accepted
        return self.of(accepted["stream"])

    # Reading.

    async def take(self, *types: str, **fields: Any) -> Frame:
        """The first frame of one of these types, not taken before, with these fields; waits for it."""

        def found() -> Frame | None:
            fitting = (f for f in self._frames if f["type"] in types and all(f.get(k) == v for k, v in fields.items()))
            return next(fitting, None)

        await self.until(lambda: found() is not None, f"{types} with {fields}")
        frame = found()
        assert frame is not None
        self._frames.remove(frame)
        return frame

    async def answer(self, id: str | None) -> Frame:
        """The answer to the command with this id."""
        return await self.take("accepted", "rejected", "pong", re=id)

    async def rejected(self, id: str | None = None) -> Frame:
        """The error of the next command that was rejected."""
        error: Frame = (await self.take("rejected", re=id))["error"]
        return error

    def of(self, stream: str) -> Heard:
        """What was heard of a stream."""
        return self.heard.setdefault(stream, Heard(stream))

    async def end_of(self, stream: str) -> Frame:
        """The terminal event of a stream; waits for it."""
        await self.until(lambda: self.of(stream).ended is not None, f"the end of {stream}")
        return self.of(stream).end

    async def text_of(self, stream: str, text: str) -> None:
        """Wait until a stream has said so much."""
        await self.until(lambda: self.of(stream).text == text, f"{text!r} on {stream}")

    async def until(self, reached: Callable[[], bool], what: str) -> None:
        """Wait until a condition on what was heard holds; raises `Gone` where the connection ends before."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not reached():
                    if self._broken is not None:
                        raise self._broken
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"waited {PATIENCE} s for {what}; heard {self.heard}, not taken {self._frames}"
            ) from None

    async def gone(self) -> int | None:
        """Wait until the connection is over; gives the code of its close."""
        try:
            await self.until(lambda: False, "the end of the connection")
        except Gone as gone:
            return gone.code
        raise AssertionError

    @property
    def waiting(self) -> list[Frame]:
        """Frames that were not taken."""
        return self._frames

    # Life.

    async def close(self) -> None:
        """Say goodbye and leave."""
        await self._socket.close()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._hear(json.loads(message.data))
                elif message.type is aiohttp.WSMsgType.BINARY:
                    self._hear_sound(decode_binary(message.data))
            self._broken = Gone(self._socket.close_code)
        except BaseException as error:
            self._broken = error
        self._notify()

    def _hear(self, frame: Frame) -> None:
        if "n" in frame and "stream" in frame and frame["type"] != "audio.ack":
            self.of(frame["stream"]).hear(frame)
        else:
            if frame["type"] == "accepted" and "number" in frame:
                self._streams[frame["number"]] = frame["stream"]
            self._frames.append(frame)
        self._notify()

    def _hear_sound(self, frame: BinaryFrame) -> None:
        self.of(self._streams[frame.number]).hear_sound(frame)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


@asynccontextmanager
async def connected(
    url: str, heard: dict[str, Heard] | None = None, *, ready: bool = True, **options: Any
) -> AsyncIterator[Socket]:
    """A connection to the server at `url`, open from its `session.ready` on."""
    async with aiohttp.ClientSession() as http, http.ws_connect(f"{url}/ws", **options) as raw:
        socket = Socket(raw, {} if heard is None else heard)
        try:
            if ready:
                await socket.take("session.ready")
            yield socket
        finally:
            await socket.close()


async def events_of(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[int | None, Frame]]:
    """The server-sent events of an answer as they come: number and frame."""
    number: int | None = None
    async for raw in response.content:
        line = raw.decode().rstrip("\n")
        if line.startswith("id: "):
            number = int(line[4:])
        elif line.startswith("data: "):
            yield number, json.loads(line[6:])
            number = None


class CutWire:
    """A way to the server that tears after so many bytes to the client, with no goodbye to either side.

    `allowance` is asked at each connection for its number of bytes; None never tears.
    """

    def __init__(self, port: int, allowance: Callable[[], int | None]) -> None:
        self.cuts = 0
        self._target = port
        self._allowance = allowance
        self._ends: set[_End] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self._all_gone = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _End(self, self._dial), "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.gather(*self._dials, return_exceptions=True)
        for end in self._ends:
            end.abort()
        while self._ends:
            self._all_gone.clear()
            await self._all_gone.wait()

    def _dial(self, near: _End) -> None:
        task = asyncio.create_task(self._connect(near))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _connect(self, near: _End) -> None:
        loop = asyncio.get_running_loop()
        _, far = await loop.create_connection(lambda: _End(self, None), "127.0.0.1", self._target)
        far.left = self._allowance()
        far.join(near)
        near.join(far)

    def opened(self, end: _End) -> None:
        self._ends.add(end)

    def closed(self, end: _End) -> None:
        self._ends.discard(end)
        self._all_gone.set()


class _End(asyncio.Protocol):
    """One of the two ends of a wire; `left` is what it may still carry to the other."""

    def __init__(self, wire: CutWire, opened: Callable[[_End], None] | None) -> None:
        self.left: int | None = None
        self._wire = wire
        self._opened = opened
        self._other: _End | None = None
        self._early = b""

    def join(self, other: _End) -> None:
        """Carry to the other end from now on, and what came before."""
        self._other = other
        early, self._early = self._early, b""
        if self._transport.is_closing():
            other.abort()
        elif early:
            self.data_received(early)

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._wire.opened(self)
        if self._opened is not None:
            self._opened(self)

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early += data
            return
        carried = data if self.left is None else data[: self.left]
        self._other._transport.write(carried)
        if self.left is not None:
            self.left -= len(carried)
            if self.left == 0:
                self._wire.cuts += 1
                self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._wire.closed(self)
        if self._other is not None:
            self._other.abort()
