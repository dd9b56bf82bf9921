"""One listening: audio in, as it comes or out of a file, and what was heard as events of the stream."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from typing import IO

from engine.api import (
    InvalidFrame,
    Overloaded,
    Segment,
    TranscriptFinal,
    TranscriptionModel,
    TranscriptionRequest,
    TranscriptPartial,
    Writer,
)
from engine.wire.g711 import G711
from plugins.audio.settings import Rewrite
from plugins.vendors.codecs import Damage, Resampler, decode, pieces_of

RATE = 16_000
"""Samples a second that every transcriber is given."""

ACK_EVERY = 0.2
"""Seconds of audio from one acknowledgement to the next."""

TOLD_EVERY = 10.0
"""Seconds of a recording from one word on the progress to the next."""

_PIECE = RATE  # half a second of samples, in bytes


class Ears:
    """Live audio on its way from the client's frames to a transcriber: a bounded queue that never waits.

    `law` is that of a telephone's frames; without one they are samples.
    """

    def __init__(self, rate: int, backlog: float, idle: float, *, law: G711 | None = None) -> None:
        self._rate = rate
        self._law = law
        self._most = int(backlog * rate) * 2
        self._idle = idle
        self._resampler = Resampler(rate, RATE) if rate != RATE else None
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._rest = b""
        self._last = 0
        self._unacknowledged = 0
        self._came = asyncio.Event()
        self._over = False

    def take(self, n: int, payload: bytes, at: int) -> int | None:
        """Take one frame; gives the count to acknowledge, from time to time.

        A frame whose count is not above the last one's was taken before, and is acknowledged again.
        """
        if self._over:
            raise InvalidFrame("this audio was finished; no more of it is taken")
        if n <= self._last:
            return self._last
        if n != self._last + 1 and self._last:
            raise InvalidFrame(f"after frame {self._last} comes {self._last + 1}, not {n}: send what is missing first")
        pcm, rest = self._samples(payload)
        # A frame that alone is longer than all that may wait is taken once nothing waits: again and again it would not fit.
        if self._waiting and self._waiting + len(pcm) > self._most:
            raise Overloaded("the transcriber has not come so far yet; send this frame again", retry_after=1.0)
        self._last, self._rest = n, rest
        self._waiting += len(pcm)
        self._pieces.extend(pieces_of(pcm, self._rate))
        self._came.set()
        self._unacknowledged += len(pcm)
        if self._unacknowledged < self._rate * 2 * ACK_EVERY:
            return None
        self._unacknowledged = 0
        return n

    def _samples(self, payload: bytes) -> tuple[bytes, bytes]:
        """Whole samples, and what is left of one that the next frame goes on with."""
        if self._law is not None:
            return self._law.decode(payload), b""
        data = self._rest + payload
        whole = len(data) - len(data) % 2
        return data[:whole], data[whole:]

    def finish(self) -> int:
        """No more comes; gives the last count that was taken."""
        self._over = True
        self._came.set()
        return self._last

    async def pieces(self) -> AsyncIterator[bytes]:
        """The audio for the transcriber. Where no frame comes for long it is over."""
        while True:
            while self._pieces:
                piece = self._pieces.popleft()
                self._waiting -= len(piece)
                if piece := self._resampler.feed(piece) if self._resampler is not None else piece:
                    yield piece
            if self._over:
                break
            self._came.clear()
            try:
                async with asyncio.timeout(self._idle):
                    await self._came.wait()
            except TimeoutError:
                self._over = True
        if self._resampler is not None and (rest := self._resampler.feed(b"", last=True)):
            yield rest


async def samples_of(file: IO[bytes], stream: Writer, longest: float) -> AsyncIterator[bytes]:
    """The audio of a recording, half a second at a time, with a word on the progress of a long one, and on damage."""
    damage = Damage()
    pieces = _joined(decode(file, RATE, damage, longest))
    heard, told = 0.0, TOLD_EVERY
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece
        heard += len(piece) / 2 / RATE
        if heard >= told:
            told += TOLD_EVERY
            stream.status("transcribing", f"{heard:.0f} s of the recording")
    if damage.found:
        stream.status("damaged", "the recording is damaged: what cannot be read of it was left out")


def _joined(pieces: Iterator[bytes]) -> Iterator[bytes]:
    collected: list[bytes] = []
    for piece in pieces:
        collected.append(piece)
        if sum(map(len, collected)) >= _PIECE:
            yield b"".join(collected)
            collected.clear()
    if collected:
        yield b"".join(collected)


class Listening:
    """Serves one listening."""

    def __init__(
        self,
        model: TranscriptionModel,
        request: TranscriptionRequest,
        *,
        rewrites: Sequence[Rewrite],
        recording: str | None,
        longest: float,
    ) -> None:
        self._model = model
        self._request = request
        self._rewrites = [(re.compile(rule.pattern), rule.replacement) for rule in rewrites]
        self._recording = recording
        self._longest = longest

    async def live(self, ears: Ears, stream: Writer) -> None:
        """Write what is heard while it is spoken."""
        await self._write(self._model.live(self._request, ears.pieces(), stream), stream)

    async def file(self, file: IO[bytes], stream: Writer) -> None:
        """Write what is heard in a recording."""
        await self._write(self._model.file(self._request, samples_of(file, stream, self._longest), stream), stream)

    async def _write(self, segments: AsyncIterator[Segment], stream: Writer) -> None:
        if self._recording is not None:
            stream.extra({"recording_id": self._recording})
        async with aclosing(segments) as heard:  # type: ignore[type-var]
            async for segment in heard:
                text = self._rewritten(segment.text)
                if segment.final:
                    stream.publish(_final(segment, text, words=self._request.words))
                else:
                    stream.publish(TranscriptPartial(text=text, start=segment.start, speaker=segment.speaker))

    def _rewritten(self, text: str) -> str:
        for pattern, replacement in self._rewrites:
            text = pattern.sub(replacement, text)
        return text


def _final(segment: Segment, text: str, *, words: bool) -> TranscriptFinal:
    return TranscriptFinal(
        text=text,
        start=segment.start,
        end=segment.end,
        confidence=segment.confidence,
        speaker=segment.speaker,
        language=segment.language,
        words=list(segment.words) if words else None,
    )
