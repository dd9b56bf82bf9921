"""Audio as a recording, for vendors that take files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import IO

from engine.wire.wav import wav_header


async def record(file: IO[bytes], rate: int, audio: AsyncIterator[bytes]) -> int:
    """Write the audio as a WAV file; gives the bytes of its samples."""
    file.write(wav_header(rate, 0))
    size = 0
    async for piece in audio:
        size += len(piece)
        await asyncio.to_thread(file.write, piece)
    file.seek(0)
    file.write(wav_header(rate, size // 2))
    file.seek(0)
    return size
