"""A session without a network: a client in memory, a real session and supervisor, and the commands of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from engine.api.commands import Call, Command
from engine.api.identity import LOCAL, Principal
from engine.bus.bus import Bus
from engine.sessions.actor import Hangup, Session, SessionSettings, TextFrame
from engine.sessions.outlet import Peer
from engine.sessions.supervisor import Supervisor
from engine.sessions.table import CommandTable
from engine.wire import frames as wire

T = TypeVar("T")
Json = dict[str, Any]
SETTINGS = SessionSettings(version="test")


class MemoryPeer(Peer):
    """The client's end of a socket. While `reading` is false, what is written stays in its buffer."""

    def __init__(self) -> None:
        self.texts: list[Json] = []
        self.binaries: list[wire.BinaryFrame] = []
        self.writes = 0
        self.closed: tuple[int, str] | None = None
        self.changed = asyncio.Event()
        self._buffer = bytearray()
        self._reading = True

    @property
    def reading(self) -> bool:
        return self._reading

    @reading.setter
    def reading(self, reading: bool) -> None:
        self._reading = reading
        self._read()

    def write(self, data: bytes) -> None:
        self.writes += 1
        self._buffer += data
        self._read()

    def buffered(self) -> int:
        return len(self._buffer)

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)
        self.changed.set()

    def _read(self) -> None:
        while self._reading and self._buffer:
            opcode, payload = self._cut()
            if opcode == wire.TEXT:
                self.texts.append(json.loads(payload))
            else:
                self.binaries.append(wire.decode_binary(payload))
        self.changed.set()

    def _cut(self) -> tuple[int, bytes]:
        """Take one frame off the buffer (RFC 6455, section 5.2, as a server sends it: final and unmasked)."""
        opcode, length, start = self._buffer[0], self._buffer[1], 2
        if length > 125:
            start += 2 if length == 126 else 8
            length = int.from_bytes(self._buffer[2:start], "big")
        payload = bytes(self._buffer[start : start + length])
        if opcode not in (wire.TEXT, wire.BINARY) or len(payload) < length:
            raise AssertionError(f"the session wrote half a WebSocket frame: {bytes(self._buffer[:64])!r}")
        del self._buffer[: start + length]
        return opcode, payload


class SessionKit:
    """One device at a session of its own.

        async with SessionKit(Command(name="chat.send", body=Ask, prepare=prepare)) as kit:
            await kit.send({"type": "chat.send", "id": "c1", "input": "hello"})
            accepted = await kit.frame(type="accepted", re="c1")
            assert (await kit.ended(accepted["stream"]))["status"] == "completed"

    `device()` is a further device of the same server. Waits end with `TimeoutError` after `patience` seconds on the loop's
    clock, which cost nothing on virtual time.
    """

    def __init__(
        self,
        *commands: Command[Any] | Call[Any],
        supervisor: Supervisor | None = None,
        principal: Principal | None = LOCAL,
        authenticate: Callable[[str], Awaitable[Principal]] | None = None,
        settings: SessionSettings = SETTINGS,
        patience: float = 20.0,
    ) -> None:
        if supervisor is None:
            supervisor = Supervisor(Bus(clock=asyncio.get_running_loop().time))
        if commands:
            supervisor.table = CommandTable(("test", command) for command in commands)
        self.supervisor = supervisor
        self.peer = MemoryPeer()
        self.session = Session(self.peer, supervisor, settings, principal=principal, authenticate=authenticate)
        self._patience = patience
        self._given: set[int] = set()
        self._actor: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._actor = asyncio.create_task(self.session.run(), name=f"session {self.session.id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hang_up()

    def device(self, principal: Principal = LOCAL) -> SessionKit:
        """Another device at the same server."""
        return SessionKit(supervisor=self.supervisor, principal=principal, patience=self._patience)

    @property
    def frames(self) -> list[Json]:
        """Every text frame that came, in order."""
        return self.peer.texts

    def events(self, stream: str) -> list[Json]:
        """The numbered frames of a stream that came, in order."""
        return [frame for frame in self.frames if frame.get("stream") == stream and "n" in frame]

    def text(self, stream: str) -> str:
        """What the client has on its screen: the pieces joined, begun anew by a snapshot."""
        text = ""
        for frame in self.events(stream):
            if frame["type"] == "stream.snapshot":
                text = frame["text"]
            elif frame["type"] == "text.delta":
                text += frame["text"]
        return text

    async def send(self, *frames: Mapping[str, Any] | str | bytes) -> None:
        """Send frames in order: an object as JSON, a text or bytes as they are. Waits while the mailbox is full."""
        for frame in frames:
            if isinstance(frame, bytes):
                self.session.hear(frame)
            else:
                await self.session.post(TextFrame(frame if isinstance(frame, str) else json.dumps(frame)))

    async def frame(self, **fields: Any) -> Json:
        """The next text frame with these fields, each frame given once; waits until it comes."""
        return await self._wait(lambda: self._next(fields), f"no frame came with {fields}")

    async def start(self, frame: Mapping[str, Any]) -> str:
        """Send a command that starts a stream; gives the stream's id once it is accepted."""
        await self.send({"id": "start", **frame})
        return str((await self.frame(type="accepted", re=frame.get("id", "start")))["stream"])

    async def ended(self, stream: str) -> Json:
        """The terminal event of a stream; waits until it comes."""
        return await self.frame(type="stream.ended", stream=stream)

    async def closed(self) -> tuple[int, str]:
        """The code and reason with which the server closed the socket; waits until it does."""
        return await self._wait(lambda: self.peer.closed, "the session did not close its socket")

    async def hang_up(self) -> None:
        """Leave as a lost connection does, and wait until the session is over."""
        actor = self._actor
        if actor is None:
            return
        if not self.session.try_post(Hangup()):
            actor.cancel()
        await asyncio.wait([actor])
        if not actor.cancelled():
            actor.result()

    def _next(self, fields: Mapping[str, Any]) -> Json | None:
        for place, frame in enumerate(self.frames):
            if place not in self._given and all(frame.get(name) == value for name, value in fields.items()):
                self._given.add(place)
                return frame
        return None

    async def _wait(self, find: Callable[[], T | None], complaint: str) -> T:
        try:
            async with asyncio.timeout(self._patience):
                while (found := find()) is None:
                    self.peer.changed.clear()
                    await self.peer.changed.wait()
        except TimeoutError:
            raise TimeoutError(f"{complaint}; what came: {self.frames[-20:]}") from None
        return found


def answers(frames: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The frames that answer commands: one for each."""
    return [frame for frame in frames if frame["type"] in ("accepted", "rejected", "pong")]
