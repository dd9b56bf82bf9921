"""Bodies that come in chunks: how much of what comes is framing."""

from __future__ import annotations

from aiohttp import StreamReader

SMALLEST_CHUNK = 16
"""Bytes that the chunks of one body hold on average, at least, once their framing is longer than `FREE_FRAMING`."""

CHUNK_FRAME = 6
"""Bytes around the content of a small chunk: its length as two digits, and two line ends."""

FREE_FRAMING = 64 << 10
"""Bytes of framing of one body that are always taken: those of about 10,000 chunks."""


class Framing:
    """How much of a body that comes in chunks is framing. Each chunk costs the event loop the same, whatever it holds.

    What came in one piece with the head is not counted.
    """

    __slots__ = ("_received", "_start", "body")

    def __init__(self, body: StreamReader) -> None:
        self.body = body
        self._start = body.total_bytes
        self._received = 0

    def wasteful(self, received: int, held_back: bool) -> bool:
        """Count what was received; true where the chunks are too small. What the parser holds back is not judged yet."""
        self._received += received
        if held_back or self.body.is_eof():
            return False
        content = self.body.total_bytes - self._start
        framing = self._received - content
        return framing > FREE_FRAMING + content * CHUNK_FRAME // SMALLEST_CHUNK
