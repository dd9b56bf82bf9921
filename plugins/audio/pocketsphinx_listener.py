"""Pocketsphinx, English, in a process of its own for each recording: what hears where no better recogniser is installed."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from engine.api import ProviderError, ProviderUnavailable, Segment, Word

PROCESSES = 4
"""Recordings that are open for each that is computed for: each is a process of 100 MB."""

_CHILD = Path(__file__).with_name("pocketsphinx_child.py")
_PIECE = 1 << 15
_LIVE = 1 << 13

_PAD = 0.5
_SILENCE = bytes(int(_PAD * 16_000) * 2)


class Pocketsphinx:
    """Computes for `parallel` recordings at once.

    Others take turns, a second of sound at a time, so that hours of one recording keep nobody else waiting. More than
    `PROCESSES` times as many wait until one has ended.
    """

    def __init__(self, parallel: int) -> None:
        self._turns = asyncio.Semaphore(parallel)
        self._free = asyncio.Semaphore(parallel * PROCESSES)

    async def listen(self, audio: AsyncIterator[bytes], *, partial: bool) -> AsyncIterator[Segment]:
        """Hear a recording of 16,000 samples a second; text that may still change is told where `partial`."""
        pieces = _padded(audio)
        # A recording that cannot be read takes nobody's place.
        first = await anext(pieces)
        async with self._free:
            # -P keeps the folder of the program, whose names are common ones, out of its import path.
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", str(_CHILD), stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=1 << 20
            )
            taken = _Taken()
            feeding = asyncio.create_task(self._feed(process, first, pieces, taken), name="audio for pocketsphinx")
            try:
                assert process.stdout is not None
                async for line in process.stdout:
                    told = _told(line)
                    if told is None:
                        continue
                    if told == "taken":
                        taken.one()
                    elif partial or told.final:
                        yield told
                status = await process.wait()
                # What is wrong with the audio is told before what the child made of it.
                if status == 0 or feeding.done():
                    await feeding
                if status != 0:
                    raise ProviderUnavailable(f"pocketsphinx ended with status {status}.")
            finally:
                feeding.cancel()
                if process.returncode is None:
                    process.kill()
                await asyncio.gather(feeding, process.wait(), return_exceptions=True)

    async def _feed(self, process: Process, first: bytes, pieces: AsyncIterator[bytes], taken: _Taken) -> None:
        """Write the audio as the child works on it; a child that is gone has said so by its status."""
        stdin = process.stdin
        assert stdin is not None
        try:
            data: bytes | None = first
            while data is not None:
                for at in range(0, len(data), _PIECE):
                    piece = data[at : at + _PIECE]
                    # Speech that comes while it is spoken takes a fifth of a core and no turn: it may not wait.
                    async with self._turns if len(piece) > _LIVE else nullcontext():
                        taken.sent += 1
                        stdin.write(struct.pack(">I", len(piece)) + piece)
                        await stdin.drain()
                        if len(piece) > _LIVE:
                            await taken.all()
                data = await anext(pieces, None)
            stdin.write(struct.pack(">I", 0))
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            stdin.close()


class _Taken:
    """The pieces that were sent to the child, and those that it has worked on."""

    def __init__(self) -> None:
        self.sent = 0
        self._done = 0
        self._came = asyncio.Event()

    def one(self) -> None:
        """It has worked on one more."""
        self._done += 1
        self._came.set()

    async def all(self) -> None:
        """Wait until it has worked on all of them."""
        while self._done < self.sent:
            self._came.clear()
            await self._came.wait()


async def _padded(audio: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Silence before and after: speech that begins at once is not noticed as such, and loses its first word."""
    before = _SILENCE
    async for piece in audio:
        yield before + piece
        before = b""
    yield before + _SILENCE


def _told(line: bytes) -> Segment | Literal["taken"] | None:
    try:
        told: dict[str, Any] = json.loads(line)
    except ValueError:
        raise ProviderError("pocketsphinx said what is no JSON.") from None
    if "taken" in told:
        return "taken"
    if "text" not in told:
        return None
    words = tuple(
        Word(text=word["text"], start=_time(word["start"]), end=_time(word["end"])) for word in told.get("words", ())
    )
    return Segment(
        text=told["text"],
        final=told["final"],
        start=_time(told["start"]),
        end=_time(told["end"]) if "end" in told else None,
        language="en",
        words=words,
    )


def _time(seconds: float) -> float:
    """Of the audio as it came, without the silence before it."""
    return round(max(0.0, seconds - _PAD), 2)
