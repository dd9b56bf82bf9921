"""Server-sent events, both ways (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from typing import NamedTuple


class SseEvent(NamedTuple):
    """One event as a vendor sent it. `name` is empty where the vendor names none."""

    data: bytes
    name: bytes = b""


class SseDecoder:
    """Cuts a byte stream into events. Feed it what one read brought; it keeps what is not whole yet.

    `limit` bounds the bytes of one unfinished event; past it `feed` raises `ValueError`.
    """

    __slots__ = ("_limit", "_rest")

    def __init__(self, limit: int = 8 << 20) -> None:
        self._rest = b""
        self._limit = limit

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that are whole now, in order. Comments and fields other than `data` and `event` are left out."""
        if self._rest:
            chunk = self._rest + chunk
        if b"\r" in chunk:
            # A lone CR at the end may be half of a CRLF: it waits for its other half.
            held = chunk.endswith(b"\r")
            chunk = (chunk[:-1] if held else chunk).replace(b"\r\n", b"\n").replace(b"\r", b"\n") + (
                b"\r" if held else b""
            )
        *blocks, self._rest = chunk.split(b"\n\n")
        if len(self._rest) > self._limit:
            raise ValueError("an event does not end")
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
    for line in block.split(b"\n"):
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
