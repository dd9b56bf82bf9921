"""How often the database is asked about a key, and what happens when it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.api.data import Write
from engine.api.errors import DatabaseUnavailable, Unauthenticated
from engine.auth.key_text import new_key
from engine.auth.keys import ACCEPTED_SECONDS, REFUSED_SECONDS, ApiKeys
from engine.db.databases import Database, Databases
from engine.db.migrations import upgrade
from engine.db.schema import ENGINE_HISTORY
from tests.engine.auth.clock import Clock

T = TypeVar("T")

SECRET = b"a secret for the tests"


class Watched:
    """A database that counts its reads, lets a test hold them, and can be out of order."""

    dialect = "sqlite"

    def __init__(self, database: Database) -> None:
        self._database = database
        self.reads = 0
        self.open = 0
        self.most_open = 0
        self.hold_next = False
        self.held = asyncio.Event()
        self.gate = asyncio.Event()
        self.broken = False

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        self.reads += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            if self.broken:
                raise DatabaseUnavailable("the database is away")
            async with self._database.read() as connection:
                hold, self.hold_next = self.hold_next, False
                yield connection
                if hold:
                    # What was read is known by now, and not yet handed over.
                    self.held.set()
                    await self.gate.wait()
        finally:
            self.open -= 1

    async def look(self, work: Callable[[Connection], T]) -> T:
        return await self._database.look(work)

    def submit(self, writes: Sequence[Write], *, linger: float = 0.0) -> asyncio.Future[None]:
        return self._database.submit(writes)


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    databases = Databases({"default": f"sqlite+aiosqlite:///{tmp_path}/test.db"})
    await databases.open()
    await upgrade(databases.database(), [ENGINE_HISTORY])
    yield Watched(databases.database())
    await databases.close()


@pytest.fixture
def keys(watched: Watched, clock: Clock) -> ApiKeys:
    return ApiKeys(watched, SECRET, clock=clock)


async def test_the_database_is_asked_once_about_a_key_in_its_time(
    keys: ApiKeys, watched: Watched, clock: Clock
) -> None:
    key, _ = await keys.create("alice", "laptop")
    for _ in range(5):
        await keys.verify(key)
    assert watched.reads == 1
    clock.now += ACCEPTED_SECONDS
    await keys.verify(key)
    assert watched.reads == 2


async def test_callers_that_come_at_once_share_one_lookup(keys: ApiKeys, watched: Watched) -> None:
    key, _ = await keys.create("alice", "laptop")
    await asyncio.gather(*(keys.verify(key) for _ in range(50)))
    assert watched.reads == 1


async def test_a_caller_that_gives_up_does_not_take_the_others_along(keys: ApiKeys, watched: Watched) -> None:
    key, _ = await keys.create("alice", "laptop")
    watched.hold_next = True
    first, second = (asyncio.create_task(keys.verify(key)) for _ in range(2))
    await watched.held.wait()
    first.cancel()
    watched.gate.set()
    assert (await second).id == "alice"


async def test_a_wrong_key_tried_again_and_again_is_looked_up_once(
    keys: ApiKeys, watched: Watched, clock: Clock
) -> None:
    wrong = new_key()[1]
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await keys.verify(wrong)
    assert watched.reads == 1
    clock.now += REFUSED_SECONDS
    with pytest.raises(Unauthenticated):
        await keys.verify(wrong)
    assert watched.reads == 2


async def test_a_flood_of_wrong_keys_takes_few_connections_and_keeps_the_right_ones(
    keys: ApiKeys, watched: Watched
) -> None:
    key, _ = await keys.create("alice", "laptop")
    await keys.verify(key)
    flood = [asyncio.create_task(keys.verify(new_key()[1])) for _ in range(300)]
    results = await asyncio.gather(*flood, return_exceptions=True)
    assert all(isinstance(result, Unauthenticated) for result in results)
    assert watched.most_open <= 2
    reads = watched.reads
    await keys.verify(key)
    assert watched.reads == reads


async def test_what_is_no_key_never_reaches_the_database(keys: ApiKeys, watched: Watched) -> None:
    with pytest.raises(Unauthenticated):
        await keys.verify("x" * 1_000_000)
    assert watched.reads == 0


async def test_a_lookup_under_way_cannot_bring_back_a_key_that_is_being_revoked(
    keys: ApiKeys, watched: Watched
) -> None:
    key, info = await keys.create("alice", "laptop")
    watched.hold_next = True
    before = asyncio.create_task(keys.verify(key))
    await watched.held.wait()
    revoking = asyncio.create_task(keys.revoke(info.id))
    await asyncio.wait([revoking], timeout=0.2)
    watched.gate.set()
    assert (await before).id == "alice"
    await revoking
    with pytest.raises(Unauthenticated):
        await keys.verify(key)


async def test_the_time_of_a_verdict_runs_from_when_the_database_was_asked(
    keys: ApiKeys, watched: Watched, clock: Clock
) -> None:
    key, _ = await keys.create("alice", "laptop")
    watched.hold_next = True
    slow = asyncio.create_task(keys.verify(key))
    await watched.held.wait()
    clock.now += ACCEPTED_SECONDS
    watched.gate.set()
    await slow
    await keys.verify(key)
    assert watched.reads == 2


async def test_a_database_that_is_gone_is_no_verdict(keys: ApiKeys, watched: Watched) -> None:
    key, _ = await keys.create("alice", "laptop")
    watched.broken = True
    with pytest.raises(DatabaseUnavailable) as unavailable:
        await keys.verify(key)
    assert unavailable.value.retryable
    assert key not in str(unavailable.value)
    watched.broken = False
    assert (await keys.verify(key)).id == "alice"


async def test_a_key_that_was_seen_works_on_while_the_database_is_gone(keys: ApiKeys, watched: Watched) -> None:
    key, _ = await keys.create("alice", "laptop")
    await keys.verify(key)
    watched.broken = True
    assert (await keys.verify(key)).id == "alice"
