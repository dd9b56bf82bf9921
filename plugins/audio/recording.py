"""Audio as a recording, for vendors that take files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

from engine.api import FrameTooLarge, Overloaded, disk_errors, temporary_file, write_temporary
from engine.wire.wav import HEADER, wav_header


class Recorder:
    """Writes audio into temporary files, which together have at most `room` bytes."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._used = 0

    @asynccontextmanager
    async def record(
        self, rate: int, audio: AsyncIterator[bytes], *, longest: int | None = None
    ) -> AsyncIterator[tuple[IO[bytes], int]]:
        """The audio as a WAV file and its size in bytes, 0 where there was no audio; gone after the block.

        Raises `FrameTooLarge` above `longest` bytes, `Overloaded` while others have the room, and `StorageUnavailable`.
        """
        size = 0
        try:
            with temporary_file() as file:
                file.write(wav_header(rate, 0))
                async for piece in audio:
                    if longest is not None and HEADER + size + len(piece) > longest:
                        seconds = longest // 2 // rate
                        raise FrameTooLarge(f"the vendor takes recordings of at most {seconds} seconds", field="file")
                    self._reserve(len(piece))
                    size += len(piece)
                    await write_temporary(file, piece)
                with disk_errors():
                    await asyncio.to_thread(_close_header, file, wav_header(rate, size // 2))
                yield file, size + HEADER if size else 0
        finally:
            self._used -= size

    def _reserve(self, size: int) -> None:
        if self._used + size > self._room:
            raise Overloaded(
                "too many long recordings are on their way to vendors; send this one again", retry_after=5.0
            )
        self._used += size


def _close_header(file: IO[bytes], header: bytes) -> None:
    file.seek(0)
    file.write(header)
    file.seek(0)
