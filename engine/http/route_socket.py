"""WebSockets that plugins serve: opened by a route, counted and closed as the engine's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import ClientConnectionResetError, WSCloseCode, WSMsgType, web

from engine.api.errors import EngineError, Forbidden, Unauthenticated
from engine.api.routes import Upgrade
from engine.guard import is_ours, let_go, raised_at
from engine.log import get_logger
from engine.wire.apart import LARGE

log = get_logger(__name__)

UNAUTHENTICATED = 4401
"""Closes a socket whose key was withdrawn."""


class RouteSocket:
    """Implements `engine.api.WebSocket`. `admitted` raises once its caller may no longer be here; `large` is told the bytes
    of each frame that has more than `LARGE`."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        admitted: Callable[[], Awaitable[object]],
        large: Callable[[int], None] | None = None,
    ) -> None:
        self._socket = socket
        self._admitted = admitted
        self._large = large
        self._closing: asyncio.Task[bool] | None = None

    async def receive(self) -> str | bytes | None:
        message = await self._socket.receive()
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return None
        try:
            # Asked for each message: a verdict is remembered for seconds, so this costs little and is soon true.
            await self._admitted()
        except (Unauthenticated, Forbidden) as error:
            await self.close(UNAUTHENTICATED, error.message)
            return None
        except EngineError:
            pass  # what may pass, as a database that is away, says nothing about the key
        data: str | bytes = message.data
        if self._large is not None and len(data) > LARGE:
            self._large(len(data))
        return data

    async def send(self, message: str | bytes) -> None:
        if self._socket.closed or self._closing is not None:
            return
        try:
            if isinstance(message, str):
                await self._socket.send_str(message)
            else:
                await self._socket.send_bytes(message)
        except ClientConnectionResetError:
            pass  # `receive` tells that the client has gone

    async def close(self, code: int = WSCloseCode.OK, reason: str = "") -> None:
        self.begin_close(code, reason)
        assert self._closing is not None
        await asyncio.gather(self._closing, return_exceptions=True)

    def begin_close(self, code: int, reason: str) -> None:
        """Close without waiting for the client's answer."""
        if self._closing is None:
            message = reason.encode()[:120].decode(errors="ignore").encode()
            self._closing = asyncio.get_running_loop().create_task(self._socket.close(code=code, message=message))


class RouteSockets:
    """Every socket that a plugin's route serves, by the request that opened it.

    `large` is told as by `RouteSocket`.
    """

    def __init__(self, large: Callable[[int], None] | None = None) -> None:
        self._large = large
        self._open: dict[object, RouteSocket] = {}

    def __len__(self) -> int:
        return len(self._open)

    async def serve(
        self,
        request: web.Request,
        upgrade: Upgrade,
        *,
        use: object,
        owner: str,
        headers: Mapping[str, str],
        admitted: Callable[[], Awaitable[object]],
        max_message: int,
        heartbeat: float,
    ) -> web.WebSocketResponse:
        """Upgrade, with these headers, and give the socket to who serves it; it is closed when that returns or fails."""
        socket = web.WebSocketResponse(
            compress=False, max_msg_size=max_message, heartbeat=heartbeat, protocols=upgrade.protocols
        )
        socket.headers.update(headers)
        await socket.prepare(request)
        door = self._open[use] = RouteSocket(socket, admitted, self._large)
        try:
            await upgrade.serve(door)
            await door.close()
        except BaseException as error:
            if is_ours(error):
                raise
            log.exception("socket_crashed", plugin=owner, path=request.path, at=raised_at(error))
            await door.close(WSCloseCode.INTERNAL_ERROR, "the server failed in a way that it did not foresee")
        finally:
            del self._open[use]
            let_go(socket.exception())
        return socket

    def shut(self, use: object, reason: str) -> None:
        """Close the socket of this request, whose key is void."""
        if (door := self._open.get(use)) is not None:
            door.begin_close(UNAUTHENTICATED, reason)

    async def dismiss(self, uses: list[object], reason: str) -> None:
        """Close the sockets of these requests, whose plugin is off."""
        await self._close([door for use, door in self._open.items() if use in uses], reason)

    async def close(self) -> None:
        """Close every one; the server is gone in a moment."""
        await self._close(list(self._open.values()), "server shutdown")

    @staticmethod
    async def _close(doors: list[RouteSocket], reason: str) -> None:
        await asyncio.gather(*(door.close(WSCloseCode.GOING_AWAY, reason) for door in doors))
