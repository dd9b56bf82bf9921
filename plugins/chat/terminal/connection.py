"""One open socket with its session, from the handshake to the close."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp

from engine.api.errors import (
    Forbidden,
    FrameTooLarge,
    LimitExceeded,
    NotFound,
    Unauthenticated,
)
from engine.wire.control import Rejected, SessionDraining, SessionReady
from engine.wire.frames import encode_json
from plugins.chat.terminal.errors import Dropped, Refused, problem
from plugins.chat.terminal.frames import Incoming, parse

READY_WITHIN = 5.0
"""Seconds for the handshake, and again for `session.ready`. A server that wants a key and got none is silent for longer."""

HEARTBEAT = 30.0
"""Seconds between our own pings: they find a connection that is gone without a word."""

MAX_FRAME = 64 << 20
"""Bytes of the longest frame taken; a snapshot carries a whole answer."""

_KEY_REFUSED = "the server refused the API key; check --key or BETTERAI_KEY"
_KEY_MISSING = "the server opens no session; it may want an API key: give --key or set BETTERAI_KEY"
_SMALL_QUEUE = 256


class Connection:
    """Reads all the time, so that pings are answered while nobody asks for frames.

    `draining` is set once the server has said that it goes down: what runs here may end here, new work goes elsewhere.
    `version` is the server's.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.draining = False
        self.version = ""
        self._socket = socket
        self._frames: asyncio.Queue[Incoming | Refused | Dropped] = asyncio.Queue(_SMALL_QUEUE)
        self._reader = asyncio.create_task(self._read(), name="chat connection")

    @classmethod
    async def open(
        cls, http: aiohttp.ClientSession, url: str, key: str | None, *, ready_within: float = READY_WITHIN
    ) -> Connection:
        """Connect and wait for the session. Raises `Dropped` when nothing answers, `Refused` when the server says no."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            async with asyncio.timeout(ready_within):
                socket = await http.ws_connect(url, headers=headers, heartbeat=HEARTBEAT, max_msg_size=MAX_FRAME)
        except aiohttp.WSServerHandshakeError as error:
            raise _handshake(error.status, url) from None
        except (aiohttp.ClientError, OSError, TimeoutError):
            raise Dropped from None
        connection = cls(socket)
        try:
            await connection._session(key, ready_within)
        except BaseException:
            await connection.close()
            raise
        return connection

    @property
    def alive(self) -> bool:
        """True while nothing says that the socket is gone."""
        return not (self._socket.closed or self._reader.done())

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Send a command; raises `Dropped` when the socket is gone."""
        try:
            await self._socket.send_str(encode_json(frame).decode())
        except (aiohttp.ClientError, OSError):
            raise Dropped from None

    async def receive(self) -> Incoming:
        """The next frame; raises `Dropped` when the socket is gone, `Refused` when the server closed it for a reason."""
        frame = await self._frames.get()
        if isinstance(frame, (Dropped, Refused)):
            raise frame
        return frame

    async def close(self) -> None:
        """Say goodbye and stop reading."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._socket.close()

    async def _session(self, key: str | None, ready_within: float) -> None:
        try:
            async with asyncio.timeout(ready_within):
                frame = await self.receive()
        except TimeoutError:
            if key:
                raise Dropped from None
            raise Refused(problem(Unauthenticated.code, _KEY_MISSING)) from None
        if isinstance(frame, Rejected):
            raise Refused(frame.error)
        if not isinstance(frame, SessionReady):
            raise Dropped
        self.version = frame.version
        # A terminal shows text alone, and has no use for pieces that are smaller than what comes at one time.
        await self.send({"type": "session.configure", "id": "configure", "join": True, "lanes": []})

    async def _read(self) -> None:
        end: Refused | Dropped
        try:
            async for message in self._socket:
                if message.type is not aiohttp.WSMsgType.TEXT:
                    continue
                frame = parse(message.data)
                if isinstance(frame, SessionDraining):
                    self.draining = True
                elif frame is not None:
                    await self._frames.put(frame)
            end = _closed(self._socket.close_code)
        except Refused as refused:
            end = refused
        except (aiohttp.ClientError, OSError):
            end = Dropped()
        await self._frames.put(end)


def _handshake(status: int, url: str) -> Refused | Dropped:
    match status:
        case 401:
            return Refused(problem(Unauthenticated.code, _KEY_REFUSED))
        case 403:
            message = f"the server at {url} does not let this client in; it may serve its own machine only"
            return Refused(problem(Forbidden.code, message))
        case 429:
            message = "the server takes no further connection of this key now; close one, or try again later"
            return Refused(problem(LimitExceeded.code, message, retryable=True))
        case 500 | 502 | 503 | 504:
            return Dropped()
    message = f"{url} answered {status} and opened no WebSocket; is the address right? It ends in /ws"
    return Refused(problem(NotFound.code, message))


def _closed(code: int | None) -> Refused | Dropped:
    match code:
        case 4401:
            return Refused(problem(Unauthenticated.code, _KEY_REFUSED))
        case aiohttp.WSCloseCode.MESSAGE_TOO_BIG:
            message = "the message is longer than the server takes; send less at a time"
            return Refused(problem(FrameTooLarge.code, message))
    return Dropped()
