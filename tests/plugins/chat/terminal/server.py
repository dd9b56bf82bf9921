"""A WebSocket server that speaks the session protocol as its script says, one script for each connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeAlias

from aiohttp import WSMsgType, web

Script: TypeAlias = "Callable[[Peer], Awaitable[None]]"

STREAM = "s_1"


class Left(Exception):
    """The client has gone while its script still waited for it."""


class Peer:
    """One connection, as its script sees it."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse) -> None:
        self.headers = request.headers
        self._request = request
        self._socket = socket

    async def get(self, kind: str) -> dict[str, Any]:
        """The client's next command, which must be of this kind."""
        while True:
            message = await self._socket.receive()
            if message.type is not WSMsgType.TEXT:
                raise Left(f"the client left, {kind} was due")
            frame: dict[str, Any] = json.loads(message.data)
            if frame["type"] != "session.configure":
                assert frame["type"] == kind, f"{kind} was due, and not {frame}"
                return frame

    async def gone(self) -> None:
        """Wait until the client leaves."""
        while (await self._socket.receive()).type is WSMsgType.TEXT:
            pass

    async def say(self, **frame: object) -> None:
        await self._socket.send_str(json.dumps(frame))

    async def accept(self, command: Mapping[str, Any], **fields: object) -> None:
        await self.say(type="accepted", re=command["id"], stream=STREAM, **fields)

    async def reject(self, command: Mapping[str, Any], code: str, *, retryable: bool = False, **error: object) -> None:
        body = {"code": code, "message": f"because of {code}", "retryable": retryable, **error}
        await self.say(type="rejected", re=command["id"], error=body)

    async def event(self, n: int, type: str, **fields: object) -> None:
        await self.say(stream=STREAM, n=n, type=type, **fields)

    async def text(self, *pieces: str, n: int) -> None:
        """Pieces of the answer, from number `n` on."""
        for number, piece in enumerate(pieces, n):
            await self.event(number, "text.delta", text=piece)

    async def end(self, n: int, status: str = "completed", **fields: object) -> None:
        await self.event(
            n,
            "stream.ended",
            **{
                "status": status,
                "reason": "done",
                "model": "parrot-1",
                "usage": {"input_tokens": 12, "output_tokens": 34},
                "cost": {"amount": "0.000123", "currency": "USD"},
                **fields,
            },
        )

    def cut(self) -> None:
        """Tear the connection, without a goodbye."""
        assert self._request.transport is not None
        self._request.transport.abort()

    async def close(self, code: int) -> None:
        await self._socket.close(code=code)


class ScriptedServer:
    """Plays `scripts` in the order of the connections; what goes wrong in one is raised when the server closes.

    `status` refuses every handshake; `greets` false opens no session, as a server does that waits for a key. `models` is
    what it says of its models, which are nowhere without.
    """

    def __init__(
        self,
        *scripts: Script,
        status: int | None = None,
        greets: bool = True,
        models: Mapping[str, Any] | None = None,
    ) -> None:
        self._scripts = list(scripts)
        self._status = status
        self._greets = greets
        self._models = models
        self._failures: list[BaseException] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/ws", self._serve)
        if self._models is not None:
            app.router.add_get("/api/v1/models", self._list_models)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}/ws"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()
        if self._failures:
            raise self._failures[0]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _list_models(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._models)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if self._status is not None or not self._scripts:
            return web.Response(status=self._status or 503)
        script = self._scripts.pop(0)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        peer = Peer(request, socket)
        if self._greets:
            await peer.say(type="session.ready", protocol=1, session="c_1", version="0", features=["chat"])
        try:
            async with asyncio.timeout(20):
                await script(peer)
                await peer.gone()
        except ConnectionError:
            pass
        except BaseException as failure:
            self._failures.append(failure)
        return socket
