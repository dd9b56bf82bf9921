"""The events of an answer, whatever its content type says: server-sent events, lines of JSON, or one document."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from engine.api import InvalidRequest
from engine.wire.apart import LARGE
from engine.wire.extent import MOST_EVENT_VALUES, Extent
from engine.wire.sse import SseDecoder, SseEvent, UnfinishedEvent
from engine.wire.whole import is_whole_json

_BOM = b"\xef\xbb\xbf"


class Framing:
    """Cuts an answer into events. The first byte tells how: `{` and `[` begin JSON, everything else is server-sent events."""

    __slots__ = ("_decoder", "_head", "fed")

    def __init__(self) -> None:
        self._decoder: SseDecoder | JsonLines | None = None
        self._head = b""
        self.fed = 0
        """Bytes since whoever takes the events has last set this back."""

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that are whole now, in order."""
        self.fed += len(chunk)
        decoder = self._decoder
        if decoder is None:
            # Blanks and a byte order mark may come before the first byte that tells.
            chunk = (self._head + chunk).lstrip()
            start = chunk.removeprefix(_BOM).lstrip()
            if not start:
                self._head = chunk[:3]  # a mark, or nothing
                return []
            if _BOM.startswith(chunk):
                self._head = chunk
                return []
            decoder = self._decoder = JsonLines() if start[:1] in b"{[" else SseDecoder()
        return decoder.feed(chunk)

    def end(self) -> list[SseEvent]:
        """What is whole at the end of the body though nothing marked its end."""
        return self._decoder.end() if self._decoder is not None else []


class JsonLines:
    """A document in each line, where the first line is one; else one document, or the items of a list, at the end."""

    __slots__ = ("_limit", "_lines", "_pieces", "_size")

    def __init__(self, limit: int = 8 << 20) -> None:
        self._lines: bool | None = None
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The documents of the lines that are whole now."""
        self._size += len(chunk)
        if self._size > self._limit:
            raise UnfinishedEvent("a document does not end")
        self._pieces.append(chunk)
        if b"\n" not in chunk or self._lines is False:
            return []
        *lines, rest = b"".join(self._pieces).removeprefix(_BOM).split(b"\n")
        lines = [line for line in map(bytes.strip, lines) if line]
        if self._lines is None and lines:
            self._lines = is_whole_json(lines[0])
        if not self._lines:
            return []
        self._pieces, self._size = [rest] if rest else [], len(rest)
        return [SseEvent(line) for line in lines]

    def end(self) -> list[SseEvent]:
        """The document, or the last line."""
        body = b"".join(self._pieces).removeprefix(_BOM).strip()
        self._pieces, self._size = [], 0
        return list(_documents(body)) if body and is_whole_json(body) else []


def _documents(body: bytes) -> Iterator[SseEvent]:
    if body[:1] != b"[":
        yield SseEvent(body)
        return
    if len(body) > LARGE:
        try:
            Extent(body, most_values=MOST_EVENT_VALUES).check()
        except InvalidRequest:
            yield SseEvent(body)  # whoever decodes it refuses it
            return
    try:
        items = msgspec.json.decode(body, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        yield SseEvent(body)
        return
    for item in items:
        yield SseEvent(bytes(item))
