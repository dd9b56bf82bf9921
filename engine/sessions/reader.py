"""A reader of one stream within the process: the dialects, HTTP answers and other features watch turns through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from engine.api.events import Event, StreamEnded
from engine.api.streams import Said
from engine.bus.stream import Cursor, Stream


class Reader:
    """Implements `engine.api.StreamReader` over a cursor."""

    __slots__ = ("_cancel", "_cursor", "_waiter", "source")

    def __init__(self, stream: Stream, cancel: Callable[[], None], after: int = 0) -> None:
        self.source = stream
        self._cancel = cancel
        self._waiter: asyncio.Future[None] | None = None
        self._cursor = stream.subscribe(after, self._wake)

    @property
    def stream(self) -> str:
        return self.source.id

    @property
    def said(self) -> Said:
        return self.source.said

    @property
    def over(self) -> StreamEnded | None:
        return self.source.ended

    async def __aiter__(self) -> AsyncIterator[tuple[int, Event]]:
        cursor = self._cursor
        while not cursor.over:
            entries = cursor.take()
            for entry in entries:
                yield entry.n, entry.event
            if not entries:
                await self._wait()

    async def ended(self) -> StreamEnded:
        while self.source.ended is None:
            await self._wait()
        return self.source.ended

    async def whole(self) -> Said:
        await self.source.until_settled()
        return self.source.said

    @property
    def cursor(self) -> Cursor:
        """The place in the stream, for a writer that takes the events itself."""
        return self._cursor

    def cancel(self) -> None:
        self._cancel()

    def close(self) -> None:
        self._cursor.close()

    def _wake(self, _: Cursor) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
