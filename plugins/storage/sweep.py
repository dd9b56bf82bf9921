"""Takes away what has expired, and what a crash left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta

import structlog

from plugins.storage.objects import Objects

log = structlog.get_logger(__name__)

SWEPT_EVERY = 600.0
"""Seconds between two sweeps; the first is at the start."""

FORGOTTEN = timedelta(hours=1)
"""Age from which a file without a row is nobody's: no upload rests for so long between its bytes and its row."""

_AT_ONCE = 100


class Sweep:
    """Sweeps one store. Several nodes may sweep the same one."""

    def __init__(self, store: Objects) -> None:
        self._store = store

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the store, and sweep it now and then."""
        await self._store.shelf.open()
        sweeping = asyncio.create_task(self._run(), name="sweep of stored objects")
        try:
            yield
        finally:
            sweeping.cancel()
            await asyncio.wait([sweeping])

    async def once(self) -> None:
        """Remove all that is due."""
        expired, forgotten = await self._expired(), await self._forgotten()
        if expired or forgotten:
            log.info("objects_swept", expired=expired, forgotten=forgotten)

    async def _run(self) -> None:
        while True:
            try:
                await self.once()
            except Exception:
                log.exception("objects_not_swept", again_in=SWEPT_EVERY)
            await asyncio.sleep(SWEPT_EVERY)

    async def _expired(self) -> int:
        store, removed = self._store, 0
        while ids := await store.records.due(store.now(), _AT_ONCE):
            await store.records.remove(*ids)
            for id in ids:
                await store.shelf.remove(id)
            removed += len(ids)
        return removed

    async def _forgotten(self) -> int:
        store, removed = self._store, 0
        async with aclosing(store.shelf.resting(store.now() - FORGOTTEN)) as batches:  # type: ignore[type-var]
            async for ids in batches:
                for id in set(ids) - await store.records.known(ids):
                    await store.shelf.remove(id)
                    removed += 1
        return removed
