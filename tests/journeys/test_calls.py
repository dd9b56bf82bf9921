"""Calls with the models of this machine, over the socket: a question is spoken, and the answer comes back as speech."""

from __future__ import annotations

import asyncio
import shutil
import struct
from typing import Any

import aiohttp

from tests.databases import unavailable
from tests.journeys.client import Frame, Heard, Socket, connected
from tests.server import RunningServer, local_server

__all__ = ("local_server",)

QUESTION, HEARD = "Hello, how are you today?", "hello how are you today"
RATE = 16_000
FRAME = RATE * 2 // 50
"""Bytes of 20 ms."""


class Caller:
    """Somebody who speaks into a call, at the speed of speech."""

    def __init__(self, socket: Socket, accepted: Frame) -> None:
        self._socket = socket
        self._number = accepted["number"]
        self._n = 0
        self.stream: str = accepted["stream"]

    @property
    def heard(self) -> Heard:
        return self._socket.of(self.stream)

    async def speak(self, pcm: bytes, *, pace: float = 0.02) -> None:
        """Send frames of 20 ms."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        for at in range(0, len(pcm), FRAME):
            self._n += 1
            head = struct.pack(">IIBBHI", self._number, self._n, 1, 0, 0, 0)
            await self._socket.send_raw(head + pcm[at : at + FRAME])
            due += pace
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def until(self, type: str, **fields: Any) -> Frame:
        """Wait for an event of the call."""

        def found() -> Frame | None:
            events = self.heard.events
            return next(
                (e for e in events if e["type"] == type and all(e.get(k) == v for k, v in fields.items())), None
            )

        await self._socket.until(lambda: found() is not None, f"{type} with {fields}")
        event = found()
        assert event is not None
        return event

    async def do(self, what: str, **fields: Any) -> Frame:
        return await self._socket.ask(f"realtime.{what}", stream=self.stream, **fields)


async def spoken(url: str, text: str) -> bytes:
    """A sentence in the voice of this machine."""
    if shutil.which("flite") is None:
        unavailable("flite is not installed (Debian's package flite)")
    body = {"text": text, "format": "pcm", "rate": RATE}
    async with aiohttp.ClientSession() as http, http.post(f"{url}/api/v1/tts", json=body) as answer:
        return await answer.read()


async def call(socket: Socket, **fields: Any) -> Caller:
    accepted = await socket.ask("realtime.start", sample_rate=RATE, **{"model": "local", **fields})
    assert accepted["type"] == "accepted", accepted
    return Caller(socket, accepted)


async def test_a_spoken_question_is_answered_in_speech(local_server: RunningServer) -> None:
    question = await spoken(local_server.url, QUESTION)
    async with connected(local_server.url) as socket:
        caller = await call(socket)
        await caller.speak(question + bytes(RATE * 2))
        ended = await caller.until("turn.assistant_ended")
        await caller.do("finish")
        end = await socket.end_of(caller.stream)
    kinds = [kind for kind in caller.heard.kinds if kind not in ("transcript.partial", "text.delta", "status")]
    assert kinds == [
        "stream.started",
        "lane.started",
        "turn.user_started",
        "turn.user_ended",
        "transcript.final",
        "turn.assistant_started",
        "turn.assistant_ended",
        "lane.ended",
        "stream.ended",
    ]
    assert [e["text"] for e in caller.heard.events if e["type"] == "transcript.final"] == [HEARD]
    assert ended["status"] == "completed"
    assert ended["text"] == caller.heard.text
    assert ended["message"]
    assert abs(ended["heard"] - len(caller.heard.sound) * 1000 // (RATE * 2)) <= 20
    assert end["status"] == "completed"
