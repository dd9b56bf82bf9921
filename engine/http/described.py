"""Documents that describe the tables in force: made once for each table, in a thread, as JSON."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

from engine.api.errors import Internal
from engine.api.routes import Answer
from engine.guard import raised_at
from engine.http.answers import encode_body
from engine.log import get_logger

log = get_logger(__name__)

T = TypeVar("T")

TRY_AGAIN = 60.0
"""Seconds for which a document that could not be made is not tried again."""


class Document(NamedTuple):
    """A document as it goes out."""

    body: bytes
    packed: bytes
    etag: str

    def answer(self, headers: Mapping[str, str]) -> Answer:
        """The document as a caller takes it: nothing where it has it already, compressed where it takes that."""
        told = {"ETag": self.etag, "Vary": "Accept-Encoding, Origin", "Cache-Control": "no-cache"}
        if _has(headers.get("if-none-match", ""), self.etag):
            return Answer(status=304, headers=told)
        if _takes_gzip(headers.get("accept-encoding", "")):
            return Answer(self.packed, headers={**told, "Content-Encoding": "gzip"})
        return Answer(self.body, headers=told)


class Described(Generic[T]):
    """What describes a table. Schemas of many types take a second to make: not on the event loop, nor twice.

    Whoever asks while the document is made waits for it. One that failed is made again at a question that comes `TRY_AGAIN`
    seconds later; until then it is refused.
    """

    def __init__(self, describe: Callable[[T], Any]) -> None:
        self._describe = describe
        self._latest: tuple[T, asyncio.Task[Document | None], float] | None = None

    async def answer(self, table: T, headers: Mapping[str, str]) -> Answer:
        """The document of a table, for a caller who sent these headers."""
        task, begun = self._made(table)
        document = await asyncio.shield(task)
        if document is None:
            left = max(1.0, begun + TRY_AGAIN - asyncio.get_running_loop().time())
            raise Internal(
                "this description of the server could not be made; its log has the cause", retry_after=round(left)
            )
        return document.answer(headers)

    def _made(self, table: T) -> tuple[asyncio.Task[Document | None], float]:
        now = asyncio.get_running_loop().time()
        if self._latest is not None and self._latest[0] is table:
            _, task, begun = self._latest
            if not (task.done() and (task.cancelled() or (task.result() is None and now - begun >= TRY_AGAIN))):
                return task, begun
        task = asyncio.create_task(self._make(table), name="describing the server")
        self._latest = table, task, now
        return task, now

    async def _make(self, table: T) -> Document | None:
        try:
            return await asyncio.to_thread(self._document, table)
        except Exception as error:
            log.exception("description_failed", at=raised_at(error))
            return None

    def _document(self, table: T) -> Document:
        body = encode_body(self._describe(table))
        return Document(body, gzip.compress(body, mtime=0), f'W/"{hashlib.sha256(body).hexdigest()[:32]}"')


def _has(known: str, etag: str) -> bool:
    plain = etag.removeprefix("W/")
    return known.strip() == "*" or plain in (each.strip().removeprefix("W/") for each in known.split(","))


def _takes_gzip(accepted: str) -> bool:
    """Whether Accept-Encoding names gzip, or anything, and does not forbid it by a weight of 0."""
    weights = {}
    for each in accepted.lower().split(","):
        name, _, rest = each.partition(";")
        weights[name.strip()] = not rest or rest.replace(" ", "").removeprefix("q=").strip("0.") != ""
    return weights.get("gzip", weights.get("*", False))
