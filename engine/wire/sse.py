"""Server-sent events, both ways (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from msgspec import Struct

from engine.wire.whole import is_whole_json

_BOM = b"\xef\xbb\xbf"
_COLON = ord(":")


class UnfinishedEvent(ValueError):
    """Raised when an event grows past the bound without an end."""


class SseEvent(Struct, frozen=True, gc=False):
    """One event as a vendor sent it. `name` is empty where the vendor names none."""

    data: bytes
    name: bytes = b""


class SseDecoder:
    """Cuts a byte stream into events. Feed it what one read brought; it keeps what is not whole yet.

    `limit` bounds the bytes of one unfinished event; past it `feed` raises `UnfinishedEvent`. Servers that put no blank line
    between events, only a line end, are understood where every line of data is a JSON object.
    """

    __slots__ = ("_after_cr", "_data_lines", "_limit", "_rest", "_several_lines", "_size")

    def __init__(self, limit: int = 8 << 20) -> None:
        self._rest: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._limit = limit
        self._data_lines = 0
        """Lines of data in the unfinished event, at most: the word may stand in the data, too."""
        self._several_lines = False
        """The unfinished event is known to have data of several lines."""

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that are whole now, in order. Comments and fields other than `data` and `event` are left out.

        An `error` field is an event of that name, and a line that is a JSON object is data.
        """
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")  # the other half of a CRLF that was cut
            self._after_cr = False
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if self._rest:
            if not self._ends_event(chunk):
                return self._keep(chunk)
            chunk = b"".join((*self._rest, chunk))
        *blocks, rest = chunk.split(b"\n\n")
        self._rest, self._size, self._data_lines, self._several_lines = [], 0, 0, False
        events: list[SseEvent] = []
        for block in blocks:
            # Nearly every event of every vendor is one line of data.
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append(SseEvent(block[6:]))
            elif block and (block[0] != _COLON or b"\n" in block):
                events += _parse(block)
            # else: a blank line more, or a comment; there may be very many
        return events + self._keep(rest) if rest else events

    def end(self) -> list[SseEvent]:
        """The events that stand whole at the end of the body, though no blank line follows them."""
        rest, self._rest, self._size = b"".join(self._rest), [], 0
        return [event for event in _parse(rest) if event.name == b"error" or _is_whole(event.data)]

    def rest(self) -> bytes:
        """What stands after the last whole event: not empty when the stream was cut inside one."""
        return b"".join(self._rest).strip()

    def _ends_event(self, chunk: bytes) -> bool:
        return b"\n\n" in chunk or (chunk[:1] == b"\n" and self._rest[-1][-1:] == b"\n")

    def _keep(self, chunk: bytes) -> list[SseEvent]:
        """Keep a piece of an unfinished event; gives the events of its lines, where each line turns out to be one."""
        if not chunk:
            return []
        self._rest.append(chunk)
        self._size += len(chunk)
        if self._size > self._limit:
            raise UnfinishedEvent("an event does not end")
        self._data_lines += chunk.count(b"data:")
        if self._data_lines < 2 or self._several_lines or b"\n" not in chunk:
            return []
        text = b"".join(self._rest)
        last = text.rfind(b"\n") + 1
        if text.count(b"data:", 0, last) < 2:
            return []
        events = _parse(text[:last])
        if len(events) < 2:
            self._several_lines = True
            return []
        rest = text[last:]
        self._rest, self._size, self._data_lines = [rest] if rest else [], len(rest), rest.count(b"data:")
        return events


def _parse(block: bytes) -> list[SseEvent]:
    """The event of a block; several where each line of its data is a JSON object."""
    data: list[bytes] = []
    names: list[bytes] = []
    name = b""
    # A stream may begin with a byte order mark; elsewhere it would stand in no field that is read.
    for line in block.removeprefix(_BOM).split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
            names.append(name)
        elif field == b"event":
            name = value
        elif field == b"error" or line[:1] == b"{":
            # Servers that fail in the middle of a stream write what is no field of it, and mean an event.
            data.append(value if field == b"error" else line)
            names.append(b"error" if field == b"error" else name)
    if len(data) > 1 and all(map(_is_whole, data)):
        return [SseEvent(text, each) for text, each in zip(data, names, strict=True)]
    return [SseEvent(b"\n".join(data), name or names[0])] if data else []


def _is_whole(data: bytes) -> bool:
    """Whether data is one JSON object, or the word that ends a stream."""
    return data.strip() == b"[DONE]" or (data[:1] == b"{" and is_whole_json(data))


def encode_sse(data: bytes, *, name: str = "", number: int | None = None) -> bytes:
    """One event of one line of data, as JSON always is."""
    head = b"id: %d\n" % number if number is not None else b""
    if name:
        head += b"event: %b\n" % name.encode()
    return b"%bdata: %b\n\n" % (head, data)
