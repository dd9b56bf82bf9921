"""A reader of a turn whose stream is gone: its row still knows all that was said, and how it ended."""

from __future__ import annotations

from collections.abc import AsyncIterator

from engine.api.errors import StreamExpired
from engine.api.events import Event, StreamEnded
from engine.api.streams import Said
from engine.sessions.ledger import TurnRecord, lost_end


class RecordReader:
    """Implements `engine.api.StreamReader` over a turn's row: the events are gone, the whole and the end are not."""

    def __init__(self, record: TurnRecord, after: int = 0) -> None:
        self.record = record
        self.after = after
        self._ended = record.ended or lost_end(record)

    @property
    def stream(self) -> str:
        return self.record.stream

    @property
    def said(self) -> Said:
        return self.record.said

    @property
    def over(self) -> StreamEnded | None:
        return self._ended

    async def __aiter__(self) -> AsyncIterator[tuple[int, Event]]:
        raise StreamExpired(f"the events of stream {self.stream} are no longer held; its whole answer is")
        yield  # makes this an async generator

    async def whole(self) -> Said:
        return self.record.said

    async def ended(self) -> StreamEnded:
        return self._ended

    def cancel(self) -> None:
        """Nothing runs any more."""

    def close(self) -> None:
        """Nothing is held."""
