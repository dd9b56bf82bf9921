"""A WebSocket client without manners: sends any bytes as a text frame, and reads only when it is told to."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from typing import Self

TEXT, CLOSE = 0x1, 0x8
FIN, MASKED = 0x80, 0x80


class RawSocket:
    """A connection to `/ws`; `receive_buffer` bounds in bytes what the system reads ahead for it."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self._port = port
        self._receive_buffer = receive_buffer
        self._held = b""

    async def __aenter__(self) -> Self:
        self._socket = socket.socket()
        if self._receive_buffer is not None:
            # Has to be said before the connection is there.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        await self._loop.sock_connect(self._socket, ("127.0.0.1", self._port))
        request = (
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await self._loop.sock_sendall(self._socket, request.encode())
        while b"\r\n\r\n" not in self._held:
            self._held += await self._loop.sock_recv(self._socket, 1024)
        self._held = self._held.partition(b"\r\n\r\n")[2]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def frame(self, payload: bytes) -> None:
        """Send bytes as a whole text frame; waits while the server takes no more."""
        mask = os.urandom(4)
        length = len(payload)
        head = (
            bytes((FIN | TEXT, MASKED | length))
            if length < 126
            else struct.pack(">BBH", FIN | TEXT, MASKED | 126, length)
        )
        body = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        await self._loop.sock_sendall(self._socket, head + mask + body)

    async def frames_until(self, kind: str) -> AsyncIterator[bytes]:
        """The server's text frames, up to the first that is of this kind."""
        while True:
            opcode, payload = await self._next()
            if opcode == TEXT:
                yield payload
                if b'"type":"%b"' % kind.encode() in payload[:200]:
                    return

    async def close_code(self) -> int:
        """Read to the server's close, and give its code."""
        while True:
            opcode, payload = await self._next()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big")

    async def _next(self) -> tuple[int, bytes]:
        opcode, length = await self._exactly(2)
        if length == 126:
            length = int.from_bytes(await self._exactly(2), "big")
        elif length == 127:
            length = int.from_bytes(await self._exactly(8), "big")
        return opcode & 0x0F, await self._exactly(length)

    async def _exactly(self, count: int) -> bytes:
        async with asyncio.timeout(15):
            while len(self._held) < count:
                data = await self._loop.sock_recv(self._socket, 1 << 16)
                if not data:
                    raise ConnectionError("the server closed the connection")
                self._held += data
        taken, self._held = self._held[:count], self._held[count:]
        return taken
