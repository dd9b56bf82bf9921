"""Documents that describe the tables in force: made once for each table, in a thread, as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from engine.api.routes import Answer
from engine.http.answers import encode_body

T = TypeVar("T")


class Described(Generic[T]):
    """What describes a table. Schemas of many types take a second to make: not on the event loop, nor twice.

    Whoever asks while the document is made waits for it; one that failed is made again at the next question.
    """

    def __init__(self, describe: Callable[[T], Any]) -> None:
        self._describe = describe
        self._latest: tuple[T, asyncio.Task[bytes]] | None = None

    async def answer(self, table: T) -> Answer:
        """The document of a table."""
        return Answer(await asyncio.shield(self._made(table)))

    def _made(self, table: T) -> asyncio.Task[bytes]:
        if self._latest is not None and self._latest[0] is table and not _failed(self._latest[1]):
            return self._latest[1]
        task = asyncio.create_task(asyncio.to_thread(self._encoded, table), name="describing the server")
        self._latest = table, task
        return task

    def _encoded(self, table: T) -> bytes:
        return encode_body(self._describe(table))


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
