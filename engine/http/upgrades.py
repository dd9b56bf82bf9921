"""WebSockets of plugins' routes: opened after the route's handler has agreed, counted and closed like the engine's own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import WSCloseCode, WSMsgType, web

from engine.api.errors import EngineError, InvalidRequest
from engine.api.routes import Upgrade
from engine.http.socket import HARD_FRAME_FACTOR
from engine.log import get_logger

log = get_logger(__name__)

KEY_PROTOCOL = "openai-insecure-api-key."
"""Before a key among the subprotocols that a client offers: a page in a browser can send no header with a WebSocket.

Source: https://developers.openai.com/api/docs/guides/realtime-websocket
"""


class OpenSocket:
    """Implements `engine.api.SocketLink` over aiohttp's WebSocket."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    async def receive(self) -> str | bytes | None:
        message = await self._socket.receive()
        if message.type is WSMsgType.TEXT or message.type is WSMsgType.BINARY:
            data: str | bytes = message.data
            return data
        return None

    async def send(self, data: str | bytes) -> None:
        try:
            await (self._socket.send_str(data) if isinstance(data, str) else self._socket.send_bytes(data))
        except ConnectionError:
            return  # the next receive tells that nobody is there

    async def close(self, code: int = WSCloseCode.OK, reason: str = "") -> None:
        await self._socket.close(code=code, message=reason.encode()[:120])


class Upgrades:
    """The sockets of plugins' routes that are open."""

    def __init__(self, *, max_frame: int, ping: float) -> None:
        self._max_frame = max_frame
        self._ping = ping
        self._open: set[web.WebSocketResponse] = set()

    def __len__(self) -> int:
        return len(self._open)

    async def serve(self, request: web.Request, upgrade: Upgrade) -> web.StreamResponse:
        """Upgrade, and let the plugin talk until either side leaves; what it raises closes with 1011."""
        socket = web.WebSocketResponse(
            protocols=upgrade.protocols,
            compress=False,
            max_msg_size=self._max_frame * HARD_FRAME_FACTOR,
            heartbeat=self._ping * 4 / 3,
        )
        await socket.prepare(request)
        self._open.add(socket)
        code, reason = int(WSCloseCode.OK), ""
        try:
            await upgrade.serve(OpenSocket(socket))
        except asyncio.CancelledError:
            code, reason = WSCloseCode.GOING_AWAY, "the server lets go of this connection"
            raise
        except EngineError as error:
            code, reason = WSCloseCode.INTERNAL_ERROR, error.message
        except Exception:
            log.exception("socket_crashed", path=request.path)
            code, reason = WSCloseCode.INTERNAL_ERROR, "the server failed; its log has the cause"
        finally:
            self._open.discard(socket)
            await socket.close(code=code, message=reason.encode()[:120])
        return socket

    async def close(self) -> None:
        """Tell every client that the server goes."""
        closing = [
            socket.close(code=WSCloseCode.GOING_AWAY, message=b"the server is going down")
            for socket in list(self._open)
        ]
        await asyncio.gather(*closing, return_exceptions=True)


def asks_for_a_socket(headers: Mapping[str, str]) -> bool:
    """Whether a request is the handshake of a WebSocket."""
    return headers.get("upgrade", "").lower() == "websocket"


def require_a_socket(headers: Mapping[str, str], path: str) -> None:
    """Raise `InvalidRequest` for a plain request to an address that is a WebSocket."""
    if not asks_for_a_socket(headers):
        raise InvalidRequest(f"{path} is a WebSocket: connect with `Upgrade: websocket`, not with a plain request")


def with_key(headers: dict[str, str]) -> dict[str, str]:
    """The headers, with a key that came as a subprotocol where any other key would be."""
    if "authorization" in headers:
        return headers
    offered = [protocol.strip() for protocol in headers.get("sec-websocket-protocol", "").split(",")]
    for protocol in offered:
        if protocol.startswith(KEY_PROTOCOL):
            return {**headers, "authorization": f"Bearer {protocol.removeprefix(KEY_PROTOCOL)}"}
    return headers
