"""Somebody who calls: speaks at the speed of speech, and waits for what happens."""

from __future__ import annotations

import asyncio
import shutil
import struct
from typing import Any

import aiohttp

from tests.databases import unavailable
from tests.journeys.client import Frame, Heard, Socket

RATE = 16_000
FRAME = RATE * 2 // 50
"""Bytes of 20 ms."""


class Caller:
    """Somebody who speaks into a call, at the speed of speech."""

    def __init__(self, socket: Socket, accepted: Frame) -> None:
        self._socket = socket
        self._number = accepted["number"]
        self.n = 0
        """Frames that were sent."""
        self.stream: str = accepted["stream"]

    @property
    def kinds(self) -> list[str]:
        """What happened, without what comes any number of times."""
        return [k for k in self.heard.kinds if k not in ("transcript.partial", "text.delta", "status")]

    @property
    def heard(self) -> Heard:
        return self._socket.of(self.stream)

    async def speak(self, pcm: bytes, *, pace: float = 0.02, since: int | None = None) -> None:
        """Send frames of 20 ms; `since` is where they lie in the caller's recording, in ms."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        for at in range(0, len(pcm), FRAME):
            self.n += 1
            time = 0 if since is None else since + at // FRAME * 20
            head = struct.pack(">IIBBHI", self._number, self.n, 1, 0, 0, time)
            await self._socket.send_raw(head + pcm[at : at + FRAME])
            due += pace
            await asyncio.sleep(max(0.0, due - loop.time()))

    def told(self, type: str, **fields: Any) -> list[Frame]:
        """The events of the call that are of this type and have these fields."""
        return [e for e in self.heard.events if e["type"] == type and all(e.get(k) == v for k, v in fields.items())]

    async def until(self, type: str, **fields: Any) -> Frame:
        """The first such event; waits for it."""
        await self._socket.until(lambda: bool(self.told(type, **fields)), f"{type} with {fields}")
        return self.told(type, **fields)[0]

    async def do(self, what: str, **fields: Any) -> Frame:
        """Say something beside the audio."""
        return await self._socket.ask(f"realtime.{what}", stream=self.stream, **fields)


async def spoken(url: str, text: str, rate: int = RATE) -> bytes:
    """A sentence, by another voice than the one that answers."""
    if shutil.which("flite") is None:
        unavailable("flite is not installed (Debian's package flite)")
    body = {"text": text, "voice": "kal16", "format": "pcm", "rate": rate}
    async with aiohttp.ClientSession() as http, http.post(f"{url}/api/v1/tts", json=body) as answer:
        return await answer.read()


async def call(socket: Socket, **fields: Any) -> Caller:
    """Begin a call, which must be accepted."""
    accepted = await socket.ask("realtime.start", sample_rate=RATE, **{"model": "local", **fields})
    assert accepted["type"] == "accepted", accepted
    return Caller(socket, accepted)
