"""The WebSocket at `/ws`: carries one session's frames, and pushes back on a client that sends too fast."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from aiohttp import WSCloseCode, WSMsgType, web

from engine.guard import let_go
from engine.log import get_logger
from engine.sessions.actor import Hangup, News, Session, TextFrame
from engine.wire.apart import LARGE

log = get_logger(__name__)

TELL_WITHIN = 1.0
"""Seconds that a session with a full mailbox has to take news."""

HARD_FRAME_FACTOR = 4
"""A frame above the bound is answered with an error, one this many times above it closes the socket."""


class SocketPeer:
    """Implements `Peer` over an aiohttp WebSocket: framed bytes go straight to the transport, in one write a flush.

    The WebSocket is opened without compression, so that whole frames may stand beside aiohttp's own pings and closes.
    """

    __slots__ = ("_closing", "_socket", "_transport", "closed_with", "opened")

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self._socket = socket
        self._transport = transport
        self._closing: asyncio.Task[bool] | None = None
        self.closed_with: tuple[int, str] | None = None
        self.opened = asyncio.get_running_loop().time()

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def buffered(self) -> int:
        return 0 if self._transport.is_closing() else self._transport.get_write_buffer_size()

    def close(self, code: int, reason: str) -> None:
        if self._closing is None:
            self.closed_with = code, reason
            message = reason.encode()[:120]
            self._closing = asyncio.get_running_loop().create_task(self._socket.close(code=code, message=message))

    async def closed(self) -> None:
        """Wait for a close that was begun."""
        if self._closing is not None:
            await asyncio.gather(self._closing, return_exceptions=True)


class Sockets:
    """Every open session's door, so that a drain reaches all of them.

    `large` is told the bytes of each frame that came and has more than `LARGE`.
    """

    def __init__(self, large: Callable[[int], None] | None = None) -> None:
        self._large = large
        self._open: set[tuple[Session, SocketPeer]] = set()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[tuple[Session, SocketPeer]]:
        return iter(self._open)

    async def serve(
        self, request: web.Request, open_session: Callable[[SocketPeer], Session], *, max_frame: int, ping: float
    ) -> web.WebSocketResponse:
        """Upgrade, then carry frames until either side leaves."""
        # aiohttp closes a socket whose pong is missing for half an interval after one ping; two unanswered pings are
        # 2 x interval, so the heartbeat that it is given makes that the longest silence.
        socket = web.WebSocketResponse(
            compress=False, max_msg_size=max_frame * HARD_FRAME_FACTOR, heartbeat=ping * 4 / 3, autoping=True
        )
        await socket.prepare(request)
        transport = request.transport
        assert transport is not None
        peer = SocketPeer(socket, transport)
        session = open_session(peer)
        door = session, peer
        self._open.add(door)
        actor = asyncio.create_task(session.run(), name=f"session {session.id}")
        actor.add_done_callback(
            lambda _: None if peer.closed_with else peer.close(WSCloseCode.GOING_AWAY, "session over")
        )
        try:
            await self._read(socket, session, actor)
        finally:
            self._open.discard(door)
            actor.cancel()
            await asyncio.gather(actor, return_exceptions=True)
            if not actor.cancelled() and (error := actor.exception()) is not None:
                log.error("session_crashed", session=session.id, exc_info=error)
            await peer.closed()
            let_go(socket.exception())
        return socket

    async def _read(self, socket: web.WebSocketResponse, session: Session, actor: asyncio.Task[None]) -> None:
        while not actor.done():
            message = await socket.receive()
            if message.type is WSMsgType.TEXT:
                if self._large is not None and len(message.data) > LARGE:
                    self._large(len(message.data))
                await _post(session, TextFrame(message.data), actor)
            elif message.type is WSMsgType.BINARY:
                session.hear(message.data)
            else:
                await _post(session, Hangup(), actor)
                return

    async def tell(self, news: News) -> None:
        """Tell every session."""
        await asyncio.gather(*(_tell(session, news) for session, _ in self._open))

    async def close(self) -> None:
        """Close every socket; the server is gone in a moment."""
        for _, peer in list(self._open):
            peer.close(WSCloseCode.GOING_AWAY, "server shutdown")
        for _, peer in list(self._open):
            await peer.closed()


async def _tell(session: Session, news: News) -> None:
    try:
        async with asyncio.timeout(TELL_WITHIN):
            await session.post(news)
    except TimeoutError:
        log.warning("session_not_told", session=session.id, news=type(news).__name__)


async def _post(session: Session, mail: TextFrame | Hangup, actor: asyncio.Task[None]) -> None:
    """Post, unless the actor ended while its mailbox was full."""
    if session.try_post(mail):
        return
    post = asyncio.ensure_future(session.post(mail))
    done, _ = await asyncio.wait((post, actor), return_when=asyncio.FIRST_COMPLETED)
    if post not in done:
        post.cancel()
