"""A request's body as it comes: at a pace, within a size, and inflated within a tighter one."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from aiohttp import web

from engine.api.errors import FrameTooLarge, InvalidRequest, Overloaded, RequestTimeout, UnsupportedMedia
from engine.wire.apart import LARGE, apart_if

SLOWEST = 8 << 10
"""Bytes a second that a body has to bring on average, once its patience is over."""

MOST_INFLATED = 100
"""Bytes that one compressed byte may become; JSON becomes a fifth to a fortieth of itself."""

SMALL = 256 << 10
"""Bytes that a compressed body may become, whatever it was."""

MOST_AT_ONCE = 8
"""Bodies of the largest size that may be in memory at a time, and so many bytes of smaller ones."""

_WBITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_PIECE = 1 << 20

T = TypeVar("T")


class Pace:
    """Gives up on a sender that brings nothing for `patience` seconds, or too little for longer."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._came = 0

    async def next(self, read: Callable[[], Awaitable[T]]) -> T:
        """What `read` gives; raises `RequestTimeout` where it takes too long."""
        deadline = min(self._loop.time() + self._patience, self._begun + self._patience + self._came / SLOWEST)
        try:
            async with asyncio.timeout_at(deadline):
                piece = await read()
        except TimeoutError:
            raise RequestTimeout(
                f"the body stopped, or came at less than {SLOWEST} bytes a second; send it again"
            ) from None
        if isinstance(piece, bytes | bytearray):
            self._came += len(piece)
        return piece


class Room:
    """Bytes of all bodies that are in memory now."""

    def __init__(self, most: int, large: Callable[[int], None] | None = None) -> None:
        self.most = most
        self.taken = 0
        self.large = large
        """Told the bytes of a body of more than `LARGE` when it has been freed."""

    def take(self, count: int) -> None:
        """Take so many more; raises `Overloaded` where they are not there."""
        if self.taken + count > self.most:
            raise Overloaded(
                "the server holds as many bodies in memory as it may; send this again in a moment",
                retry_after=1.0,
                limit=self.most,
                remaining=self.most - self.taken,
            )
        self.taken += count

    def free(self, count: int) -> None:
        """Give back what was taken."""
        self.taken -= count
        if count > LARGE and self.large is not None:
            self.large(count)


class Arriving:
    """One body. `taken` are its bytes in `room`, to be freed by who has it read."""

    def __init__(self, request: web.Request, room: Room, *, most: int, inflated: int, patience: float) -> None:
        self._request = request
        self._room = room
        self._most = most
        self._inflated = inflated
        self._pace = Pace(patience)
        self.taken = 0

    async def read(self) -> bytes:
        """The whole body, inflated where it was compressed."""
        encoding = self._request.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in ("", "identity") and encoding not in _WBITS:
            raise UnsupportedMedia("a body is sent as it is, or compressed by gzip or deflate")
        if (self._request.content_length or 0) > self._most:
            raise self._too_large()
        body = await self._bytes()
        if encoding not in _WBITS or not body:
            return body
        most = min(self._most, self._inflated, max(SMALL, MOST_INFLATED * len(body)))
        whole = await apart_if(len(body) > LARGE or most > SMALL, partial(inflate, body, encoding, most))
        self._take(len(whole))
        return whole

    def release(self) -> None:
        """The body is no longer needed."""
        self._room.free(self.taken)
        self.taken = 0

    async def _bytes(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        content = self._request.content
        while piece := await self._pace.next(content.readany):
            size += len(piece)
            if size > self._most:
                raise self._too_large()
            self._take(len(piece))
            pieces.append(piece)
        return b"".join(pieces)

    def _take(self, count: int) -> None:
        self._room.take(count)
        self.taken += count

    def _too_large(self) -> FrameTooLarge:
        return FrameTooLarge(f"a body has at most {self._most} bytes", limit=self._most)


def inflate(body: bytes, encoding: str, most: int) -> bytes:
    """A compressed body as it was; raises `FrameTooLarge` past `most` bytes, before they are made."""
    pieces: list[bytes] = []
    size = 0
    try:
        rest, machine = body, zlib.decompressobj(_WBITS[encoding])
        if encoding == "deflate" and body[0] & 15 != 8:
            machine = zlib.decompressobj(-15)  # without the header that the name promises
        while rest:
            piece = machine.decompress(rest, min(_PIECE, most - size + 1))
            size += len(piece)
            if size > most:
                raise FrameTooLarge(
                    f"the body becomes more than {most} bytes when it is inflated; send less, or send it as it is",
                    limit=most,
                )
            pieces.append(piece)
            rest = machine.unconsumed_tail
        if not machine.eof:
            raise InvalidRequest(f"the body is cut off: its {encoding} does not end")
    except zlib.error:
        raise InvalidRequest(f"the body is no {encoding}, as Content-Encoding says") from None
    return b"".join(pieces)
