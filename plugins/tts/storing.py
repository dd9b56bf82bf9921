"""Speech that is kept: its sound goes into the object store, and the answer is where to fetch it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from weakref import WeakValueDictionary

import msgspec

from engine.api import (
    Answer,
    Audio,
    Cost,
    Gap,
    Link,
    ObjectStore,
    Principal,
    Result,
    Said,
    StoredObject,
    StreamEnded,
    StreamExpired,
    StreamReader,
    Usage,
    WholeAnswer,
    temporary_file,
    write_temporary,
)
from engine.wire.wav import HEADER, wav_header, wav_rate
from plugins.vendors.codecs import MEDIA_TYPES

_PIECE = 256 << 10


class StoredSpeech(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A speech that was kept. `link` fetches `object` without a key."""

    stream: str
    object: StoredObject
    link: Link
    model: str | None = None
    usage: Usage | None = None
    cost: Cost | None = None


class _BrokeOff(Exception):
    """The speech did not come to its end; its stream says why."""


class KeptSpeech:
    """Keeps the sound of each stream once, however many requests of one key ask for it at the same time."""

    def __init__(self) -> None:
        self._keeping: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def answer(self, store: ObjectStore, principal: Principal, reader: StreamReader, format: str) -> Result:
        """Keep the sound of a stream and answer where it is; a speech that fails is answered as its error, and not kept.

        A stream that was stored before is answered with the same object. Closes the reader where it raises.
        """
        keeping = self._keeping.setdefault(reader.stream, asyncio.Lock())
        try:
            async with keeping:
                stored = await _kept_before(store, principal, reader.stream)
                stored = stored or await _keep(store, principal, reader, format)
            return await _answered(store, stored, reader)
        except BaseException:
            reader.close()
            raise


async def _answered(store: ObjectStore, stored: StoredObject | None, reader: StreamReader) -> Result:
    link = await store.link(stored) if stored is not None else None

    def build(said: Said, ended: StreamEnded) -> Answer:
        # What failed says nothing, and never comes here.
        assert stored is not None and link is not None
        return Answer(
            StoredSpeech(
                stream=reader.stream, object=stored, link=link, model=ended.model, usage=ended.usage, cost=ended.cost
            )
        )

    return WholeAnswer(reader, build)


async def _kept_before(store: ObjectStore, principal: Principal, stream: str) -> StoredObject | None:
    page = await store.page(principal, origin=stream, limit=1)
    return page.objects[0] if page.objects else None


async def _keep(store: ObjectStore, principal: Principal, reader: StreamReader, format: str) -> StoredObject | None:
    sound = _sound(reader)
    try:
        return await store.put(
            principal,
            _whole_wav(sound) if format == "wav" else sound,
            name=f"speech.{format}",
            content_type=MEDIA_TYPES[format].partition(";")[0],
            origin=reader.stream,
        )
    except _BrokeOff:
        return None


async def _sound(reader: StreamReader) -> AsyncGenerator[bytes, None]:
    async for _, event in reader:
        if isinstance(event, Audio):
            yield event.data
        elif isinstance(event, Gap):
            raise StreamExpired(f"the first sound of stream {reader.stream} is no longer held; speak it anew")
        elif isinstance(event, StreamEnded) and event.status != "completed":
            raise _BrokeOff


async def _whole_wav(sound: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same file with its true length at its head, which is not known before its end."""
    head = b""
    with temporary_file() as file:
        async with aclosing(sound):
            async for piece in sound:
                missing = HEADER - len(head)
                head += piece[:missing]
                await write_temporary(file, piece[missing:])
        if len(head) < HEADER:
            return  # nothing was spoken
        size = file.tell()
        yield wav_header(wav_rate(head), size // 2)
        file.seek(0)
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece
