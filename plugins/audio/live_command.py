"""A recording as a microphone: it is sent at the speed of speech, and what is heard is shown while it is spoken."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from engine.api import EngineError
from plugins.vendors.codecs import decode

RATE = 16_000
FRAME = RATE * 2 // 50
"""Bytes of 20 ms."""


class Refused(Exception):
    """The server does not listen, or not to its end; the message says why."""


async def listen(
    http: aiohttp.ClientSession,
    url: str,
    file: Path,
    fields: Mapping[str, Any],
    tell: Callable[[Mapping[str, Any]], None],
) -> None:
    """Send a recording over the socket at `url`; `tell` is given every event of its stream. Raises `Refused`."""
    async with http.ws_connect(f"{url}/ws") as socket:
        await socket.send_json({"type": "audio.start", "id": "start", "sample_rate": RATE, **fields})
        accepted = await _answer(socket, "start")
        sending = asyncio.create_task(_send(socket, accepted, file), name="microphone")
        try:
            while (frame := await _next(socket)).get("type") != "stream.ended":
                if frame.get("stream") == accepted["stream"]:
                    tell(frame)
            tell(frame)
            await sending
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _send(socket: aiohttp.ClientWebSocketResponse, accepted: Mapping[str, Any], file: Path) -> None:
    loop = asyncio.get_running_loop()
    begun, n, rest = loop.time(), 0, b""
    try:
        with file.open("rb") as recording:
            pieces = decode(recording, RATE)
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                rest += piece
                while len(rest) >= FRAME:
                    frame, rest = rest[:FRAME], rest[FRAME:]
                    n += 1
                    await socket.send_bytes(struct.pack(">IIBBHI", accepted["number"], n, 1, 0, 0, 0) + frame)
                    await asyncio.sleep(max(0.0, begun + n * 0.02 - loop.time()))
    except EngineError as error:
        raise Refused(error.message) from None
    finally:
        if not socket.closed:
            await socket.send_json({"type": "audio.finish", "id": "finish", "stream": accepted["stream"]})


async def _answer(socket: aiohttp.ClientWebSocketResponse, id: str) -> Mapping[str, Any]:
    while True:
        frame = await _next(socket)
        if frame.get("re") == id:
            return frame


async def _next(socket: aiohttp.ClientWebSocketResponse) -> Mapping[str, Any]:
    message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise Refused(f"the server hung up ({socket.close_code})")
    frame: dict[str, Any] = json.loads(message.data)
    if frame["type"] == "rejected":
        raise Refused(frame["error"]["message"])
    return frame
