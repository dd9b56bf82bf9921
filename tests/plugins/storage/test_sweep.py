"""What has expired goes, what a crash left behind goes, and nothing else."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from engine.api import ObjectNotFound, Principal, StoredObject
from engine.db.databases import Database
from plugins.storage.objects import Objects
from plugins.storage.shelf import new_id
from plugins.storage.sweep import FORGOTTEN, Sweep
from tests.plugins.storage.kit import Clock, files, once, store_in

ANN = Principal("ann")


async def kept(store: Objects, content: bytes = b"x") -> StoredObject:
    return await store.put(ANN, once(content), name="f", content_type="text/plain")


def aged(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


async def test_an_expired_object_is_not_there_and_is_swept_with_its_file(
    store: Objects, folder: Path, clock: Clock
) -> None:
    old = await kept(store)
    clock.later = timedelta(days=20)
    young = await kept(store)
    clock.later = timedelta(days=30, seconds=1)
    with pytest.raises(ObjectNotFound):
        await store.find(ANN, old.id)
    page = await store.page(ANN)
    assert ([each.id for each in page.objects], page.used) == ([young.id], 2)
    await Sweep(store).once()
    assert [path.name for path in files(folder)] == [young.id]
    assert (await store.page(ANN)).used == 1


async def test_more_expired_than_one_step_takes_are_all_swept(store: Objects, folder: Path, clock: Clock) -> None:
    for _ in range(205):
        await kept(store)
    clock.later = timedelta(days=31)
    await Sweep(store).once()
    assert files(folder) == []
    assert (await store.page(ANN)).used == 0


async def test_objects_that_are_kept_until_they_are_deleted_stay(folder: Path, tables: Database, clock: Clock) -> None:
    store = store_in(folder, tables, clock, keep=0)
    stored = await kept(store)
    assert stored.expires_at is None
    clock.later = timedelta(days=36_500)
    await Sweep(store).once()
    assert await store.find(ANN, stored.id) == stored
    assert len(files(folder)) == 1


async def test_a_file_without_a_row_goes_once_it_rests(store: Objects, folder: Path) -> None:
    mine = await kept(store)
    fresh, resting = new_id(datetime.now(UTC)), new_id(datetime.now(UTC))
    for id in (fresh, resting):
        await store.shelf.write(id, once(b"left behind by a crash"))
    for path in files(folder):
        if path.name != fresh:
            aged(path, FORGOTTEN.total_seconds() + 60)
    await Sweep(store).once()
    assert {path.name for path in files(folder)} == {mine.id, fresh}


async def test_the_sweep_begins_with_the_plugin_and_ends_with_it(store: Objects, folder: Path, clock: Clock) -> None:
    await kept(store)
    clock.later = timedelta(days=31)
    async with Sweep(store).running():
        while files(folder):
            await store.page(ANN)
    assert (await store.page(ANN)).used == 0
