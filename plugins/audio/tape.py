"""Live audio on its way to a vendor, and connections that are made anew until it was heard."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from time import monotonic

from engine.api import EngineError, Segment

RECONNECTS = 3
"""Times in a row that a live connection is made anew without a final transcript in between."""

STEADY = 60.0
"""Seconds after which a connection was a good one, though nobody spoke."""

PAUSE = 0.2
"""Seconds before the first of them; each waits as much longer."""

MOST_REPLAYED = 60.0
"""Seconds of audio that are kept for a new connection; what is older was told, or never will be."""

_BYTES = 2


class Lost(Exception):
    """A connection that is worth another."""

    def __init__(self, error: EngineError) -> None:
        super().__init__(error.message)
        self.error = error


class Tape:
    """Live audio, of which is kept what no final transcript has covered yet. Times are seconds from its beginning."""

    def __init__(self, audio: AsyncIterator[bytes], rate: int) -> None:
        self._audio = audio
        self._rate = rate
        self._kept: deque[tuple[float, bytes]] = deque()
        self._end = 0.0
        self._next = 0
        self._over = False
        self._reading: asyncio.Task[bytes | None] | None = None
        self.sent_all = False

    def rewind(self) -> float:
        """Begin again with what is kept; gives the time at which that begins."""
        self._next, self.sent_all = 0, False
        return self._kept[0][0] if self._kept else self._end

    @property
    def untouched(self) -> bool:
        """Whether nothing was read yet."""
        return self._end == 0 and self._reading is None and not self._over

    @property
    def at(self) -> float:
        """Up to where it was given out, since the last rewind."""
        return self._kept[self._next][0] if self._next < len(self._kept) else self._end

    def told_until(self, seconds: float) -> None:
        """A final transcript has covered the audio up to here."""
        while self._kept:
            begin, piece = self._kept[0]
            covered = round((seconds - begin) * self._rate) * _BYTES
            if covered < len(piece):
                if covered > 0:
                    self._kept[0] = (begin + covered / _BYTES / self._rate, piece[covered:])
                return
            self._drop()

    def told_all(self) -> None:
        """What no transcript has covered up to now has no speech."""
        self._kept.clear()
        self._next = 0

    @property
    def told(self) -> bool:
        """Whether nothing is left that was not told."""
        return not self._kept

    def _drop(self) -> None:
        self._kept.popleft()
        self._next = max(0, self._next - 1)

    async def piece(self, timeout: float | None = None) -> bytes | None:
        """The next piece to send; None at the end. Raises TimeoutError where none comes in time, and loses nothing."""
        if self._next < len(self._kept):
            self._next += 1
            return self._kept[self._next - 1][1]
        if self._over:
            return None
        if self._reading is None:
            self._reading = asyncio.ensure_future(anext(self._audio, None))
        done, _ = await asyncio.wait((self._reading,), timeout=timeout)
        if not done:
            raise TimeoutError
        piece, self._reading = self._reading.result(), None
        if piece is None:
            self._over = True
            return None
        self._kept.append((self._end, piece))
        self._end += len(piece) / _BYTES / self._rate
        self._next = len(self._kept)
        while self._kept and self._end - self._kept[0][0] > MOST_REPLAYED:
            self._drop()
        return piece

    async def close(self) -> None:
        """Wait for no more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


async def heard_live(
    audio: AsyncIterator[bytes], rate: int, connect: Callable[[Tape], AsyncIterator[Segment]], pause: float = PAUSE
) -> AsyncIterator[Segment]:
    """What is heard of live audio, by one connection after the other where they break."""
    tape = Tape(audio, rate)
    try:
        async with aclosing(reconnecting(lambda: connect(tape), pause)) as segments:  # type: ignore[type-var]
            async for segment in segments:
                yield segment
    finally:
        await tape.close()


async def reconnecting(connect: Callable[[], AsyncIterator[Segment]], pause: float = PAUSE) -> AsyncIterator[Segment]:
    """What a connection hears, and what the next does where one raises `Lost`."""
    lost = 0
    while True:
        begun = monotonic()
        try:
            async with aclosing(connect()) as segments:  # type: ignore[type-var]
                async for segment in segments:
                    lost = 0 if segment.final else lost
                    yield segment
            return
        except Lost as error:
            lost = 1 if monotonic() - begun > STEADY else lost + 1
            if lost > RECONNECTS:
                raise error.error from None
            await asyncio.sleep(pause * lost)
