"""A recording and its fields as the form that OpenAI's addresses for files take, sent as it is read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import IO, Any

from engine.api import random_hex

_PIECE = 256 << 10


class RecordingForm:
    """One form. `headers` say how long it is: servers like OpenAI's do not all take a body of unknown length."""

    def __init__(self, fields: Mapping[str, Any], file: IO[bytes], size: int) -> None:
        self._boundary = random_hex(16)
        self._file = file
        parts = [
            self._part(name, _text(value)) for field, given in fields.items() for name, value in _each(field, given)
        ]
        head = f'--{self._boundary}\r\nContent-Disposition: form-data; name="file"; filename="audio.wav"\r\n'
        self._before = b"".join(parts) + head.encode() + b"Content-Type: audio/wav\r\n\r\n"
        self._after = f"\r\n--{self._boundary}--\r\n".encode()
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={self._boundary}",
            "Content-Length": str(len(self._before) + size + len(self._after)),
        }

    def _part(self, name: str, text: str) -> bytes:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")
        head = f'--{self._boundary}\r\nContent-Disposition: form-data; name="{quoted}"\r\n\r\n'
        return f"{head}{text}\r\n".encode(errors="replace")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._before
        while piece := await asyncio.to_thread(self._file.read, _PIECE):
            yield piece
        yield self._after


def _each(field: str, given: Any) -> list[tuple[str, Any]]:
    return [(f"{field}[]", each) for each in given] if isinstance(given, list | tuple) else [(field, given)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
