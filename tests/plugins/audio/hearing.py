"""What tests of live transcribers share: a microphone, and what was heard through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from engine.api import Segment

RATE = 16_000
PIECE = RATE // 10 * 2
"""Bytes of 100 ms."""


class Microphone:
    """Live audio: what is said into it, until it is over."""

    def __init__(self, *sounds: bytes) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.taken = 0
        for sound in sounds:
            self.say(sound)

    def say(self, sound: bytes) -> None:
        for at in range(0, len(sound), PIECE):
            self._pieces.put_nowait(sound[at : at + PIECE])

    def finish(self) -> None:
        self._pieces.put_nowait(None)

    async def audio(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            self.taken += len(piece)
            yield piece


class Heard:
    """What a transcriber hears, as it hears it; `async with` stops it at the end."""

    def __init__(self, segments: AsyncIterator[Segment]) -> None:
        self.segments: list[Segment] = []
        self._came = asyncio.Event()
        self._over = asyncio.create_task(self._listen(segments))

    async def __aenter__(self) -> Heard:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.cancel()
        await asyncio.gather(self._over, return_exceptions=True)

    async def _listen(self, segments: AsyncIterator[Segment]) -> None:
        async with aclosing(segments) as source:  # type: ignore[type-var]
            async for segment in source:
                self.segments.append(segment)
                self._came.set()

    @property
    def finals(self) -> list[Segment]:
        return [segment for segment in self.segments if segment.final]

    @property
    def words(self) -> str:
        return " ".join(segment.text for segment in self.finals)

    async def until(self, text: str, *, final: bool = True, timeout: float = 5.0) -> Segment:
        """Wait for a segment with this text."""
        async with asyncio.timeout(timeout):
            while True:
                for segment in self.segments:
                    if (segment.text, segment.final) == (text, final):
                        return segment
                self._came.clear()
                await self._came.wait()

    async def end(self, timeout: float = 20.0) -> None:
        """Wait until all was heard; raises what it failed with."""
        async with asyncio.timeout(timeout):
            await asyncio.shield(self._over)
