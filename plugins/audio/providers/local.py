"""A transcriber of this machine: pocketsphinx, English, in a process of its own for each recording."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from engine.api import (
    ProviderError,
    ProviderRole,
    ProviderUnavailable,
    Segment,
    TranscriptionRequest,
    UnsupportedParameter,
    Word,
)

NAME = "local"

_CHILD = Path(__file__).parents[1] / "hearing_child.py"
_PIECE = 1 << 15
_PAD = 0.5
_SILENCE = bytes(int(_PAD * 16_000) * 2)


class LocalTranscriber:
    """Listens without a key and without a network, to `parallel` recordings at once."""

    role: ClassVar[ProviderRole] = "transcription"
    name = NAME
    default_model = "pocketsphinx"

    def __init__(self, parallel: int) -> None:
        self._free = asyncio.Semaphore(parallel)

    @property
    def unavailable(self) -> str | None:
        """What is missing before this provider can serve, or None."""
        if find_spec("pocketsphinx") is None:
            return "the package pocketsphinx is not installed: pip install 'betterai-engine[local]'"
        return None

    def check(self, request: TranscriptionRequest) -> None:
        """Raise `UnsupportedParameter` for what it has not learnt."""
        if request.translate:
            raise UnsupportedParameter(
                "the local transcriber does not translate; name another model", field="translate"
            )
        if request.diarize:
            raise UnsupportedParameter("the local transcriber does not tell who speaks; leave it out", field="diarize")
        if request.language is not None and request.language.split("-")[0].lower() not in ("en", "english"):
            raise UnsupportedParameter("the local transcriber hears English only; name another model", field="language")

    def live(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        """Listen while it is spoken."""
        return self._listen(audio, partial=True)

    def file(self, request: TranscriptionRequest, audio: AsyncIterator[bytes]) -> AsyncIterator[Segment]:
        """Listen to a recording."""
        return self._listen(audio, partial=False)

    async def _listen(self, audio: AsyncIterator[bytes], *, partial: bool) -> AsyncIterator[Segment]:
        async with self._free:
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(_CHILD), stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=1 << 20
            )
            feeding = asyncio.create_task(_feed(process, audio), name="audio for pocketsphinx")
            try:
                assert process.stdout is not None
                async for line in process.stdout:
                    told = _told(line)
                    if told is not None and (partial or told.final):
                        yield told
                status = await process.wait()
                # What is wrong with the audio is told before what the child made of it.
                await feeding
                if status != 0:
                    raise ProviderUnavailable(f"pocketsphinx ended with status {status}.")
            finally:
                feeding.cancel()
                if process.returncode is None:
                    process.kill()
                await asyncio.gather(feeding, process.wait(), return_exceptions=True)


async def _feed(process: Process, audio: AsyncIterator[bytes]) -> None:
    """Write the audio as the child reads it; a child that is gone has said so by its status."""
    assert process.stdin is not None
    try:
        async for data in _padded(audio):
            for at in range(0, len(data), _PIECE):
                piece = data[at : at + _PIECE]
                process.stdin.write(struct.pack(">I", len(piece)) + piece)
                await process.stdin.drain()
        process.stdin.write(struct.pack(">I", 0))
        await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        return
    finally:
        process.stdin.close()


async def _padded(audio: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Silence before and after: speech that begins at once is not noticed as such, and loses its first word."""
    yield _SILENCE
    async for piece in audio:
        yield piece
    yield _SILENCE


def _told(line: bytes) -> Segment | None:
    try:
        told: dict[str, Any] = json.loads(line)
    except ValueError:
        raise ProviderError("pocketsphinx said what is no JSON.") from None
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
