"""Server-sent events, both ways (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from msgspec import Struct

_BOM = b"\xef\xbb\xbf"


class UnfinishedEvent(ValueError):
    """Raised when an event grows past the bound without an end."""


class SseEvent(Struct, frozen=True, gc=False):
    """One event as a vendor sent it. `name` is empty where the vendor names none."""

    data: bytes
    name: bytes = b""


class SseDecoder:
    """Cuts a byte stream into events. Feed it what one read brought; it keeps what is not whole yet.

    `limit` bounds the bytes of one unfinished event; past it `feed` raises `UnfinishedEvent`.
    """

    __slots__ = ("_after_cr", "_limit", "_rest")

    def __init__(self, limit: int = 8 << 20) -> None:
        self._rest = b""
        self._after_cr = False
        self._limit = limit

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that are whole now, in order. Comments and fields other than `data` and `event` are left out."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")  # the other half of a CRLF that was cut
            self._after_cr = False
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if self._rest:
            chunk = self._rest + chunk
        *blocks, self._rest = chunk.split(b"\n\n")
        if len(self._rest) > self._limit:
            raise UnfinishedEvent("an event does not end")
        events = []
        for block in blocks:
            # Nearly every event of every vendor is one line of data.
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append(SseEvent(block[6:]))
            elif (event := _parse(block)) is not None:
                events.append(event)
        return events

    def rest(self) -> bytes:
        """What stands after the last whole event: not empty when the stream was cut inside one."""
        return self._rest.strip()


def _parse(block: bytes) -> SseEvent | None:
    data: list[bytes] = []
    name = b""
    # A stream may begin with a byte order mark; elsewhere it would stand in no field that is read.
    for line in block.removeprefix(_BOM).split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value
    return SseEvent(b"\n".join(data), name) if data else None


def encode_sse(data: bytes, *, name: str = "", number: int | None = None) -> bytes:
    """One event of one line of data, as JSON always is."""
    head = b"id: %d\n" % number if number is not None else b""
    if name:
        head += b"event: %b\n" % name.encode()
    return b"%bdata: %b\n\n" % (head, data)
