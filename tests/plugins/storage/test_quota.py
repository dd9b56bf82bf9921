"""Nobody keeps more than their quota, however many files come at once and however they end."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from engine.api import Principal, QuotaExceeded
from engine.db.databases import Database, Databases
from plugins.storage.objects import Objects
from plugins.storage.quota import Quota, Share
from tests.plugins.storage.kit import files, once, store_in

MOST = 100
ANN, BOB = Principal("ann"), Principal("bob")


class Broken(Exception):
    """A file that breaks off."""


class QuotaLaws(RuleBasedStateMachine):
    """Files begin, take bytes, are kept or break off, in any order; the model counts what each principal has."""

    coming = Bundle("coming")

    def __init__(self) -> None:
        super().__init__()
        self.kept: Counter[str] = Counter()
        self.taken: dict[Share, tuple[str, AsyncExitStack]] = {}
        self.quota = Quota(MOST, self.used)
        self.loop = asyncio.new_event_loop()

    def teardown(self) -> None:
        for _, stack in self.taken.values():
            self.loop.run_until_complete(stack.aclose())
        self.loop.close()

    async def used(self, principal: str) -> int:
        return self.kept[principal]

    def has(self, principal: str) -> int:
        return self.kept[principal] + sum(share.taken for share, (owner, _) in self.taken.items() if owner == principal)

    @rule(target=coming, principal=st.sampled_from(["ann", "bob"]))
    def begin(self, principal: str) -> Share:
        stack = AsyncExitStack()
        share = self.loop.run_until_complete(stack.enter_async_context(self.quota.share(principal)))
        self.taken[share] = principal, stack
        return share

    @rule(share=coming, count=st.integers(0, MOST + 20))
    def take(self, share: Share, count: int) -> None:
        principal, _ = self.taken[share]
        fits = self.has(principal) + count <= MOST
        before = share.taken
        try:
            share.take(count)
        except QuotaExceeded:
            assert not fits and share.taken == before
        else:
            assert fits and share.taken == before + count

    @rule(share=consumes(coming))
    def keep(self, share: Share) -> None:
        principal, stack = self.taken.pop(share)
        self.kept[principal] += share.taken
        self.loop.run_until_complete(stack.aclose())

    @rule(share=consumes(coming))
    def break_off(self, share: Share) -> None:
        _, stack = self.taken.pop(share)
        with pytest.raises(Broken):
            self.loop.run_until_complete(broken(stack))

    @invariant()
    def nobody_has_more_than_the_quota(self) -> None:
        assert all(self.has(principal) <= MOST for principal in ("ann", "bob"))


async def broken(stack: AsyncExitStack) -> None:
    async with stack:
        raise Broken


TestQuotaLaws = QuotaLaws.TestCase


async def keep(store: Objects, principal: Principal, size: int) -> int:
    return (await store.put(principal, once(b"x" * size), name="f", content_type="text/plain")).size


async def test_the_quota_is_each_principals_own_and_free_again_after_a_delete(folder: Path, tables: Database) -> None:
    store = store_in(folder, tables, quota=1000)
    first = await store.put(ANN, once(b"x" * 900), name="f", content_type="text/plain")
    with pytest.raises(QuotaExceeded, match=r"1000 bytes together, of which 900"):
        await keep(store, ANN, 200)
    assert await keep(store, BOB, 1000) == 1000
    await store.delete(ANN, first.id)
    assert await keep(store, ANN, 1000) == 1000


@given(st.lists(st.integers(0, 400), min_size=1, max_size=8))
def test_files_that_come_at_once_do_not_overrun_it(sizes: list[int]) -> None:
    async def run() -> list[int]:
        kept: Counter[str] = Counter()

        async def used(principal: str) -> int:
            await asyncio.sleep(0)
            return kept[principal]

        quota = Quota(1000, used)

        async def come(size: int) -> int:
            async with quota.share("ann") as share:
                for _ in range(4):
                    share.take(size // 4)
                    await asyncio.sleep(0)
                kept["ann"] += share.taken
            return share.taken

        ends = await asyncio.gather(*map(come, sizes), return_exceptions=True)
        assert all(isinstance(end, int | QuotaExceeded) for end in ends)
        return [end for end in ends if isinstance(end, int)]

    taken = asyncio.run(run())
    assert sum(taken) <= 1000
    if sum(sizes) <= 1000:
        assert len(taken) == len(sizes)


async def test_what_is_refused_leaves_no_file(folder: Path, tables: Database) -> None:
    store = store_in(folder, tables, quota=10)
    with pytest.raises(QuotaExceeded):
        await keep(store, ANN, 11)
    assert files(folder) == []


async def test_files_that_come_to_several_servers_at_once_do_not_overrun_it(
    folder: Path, tables: Database, database_url: str
) -> None:
    async with AsyncExitStack() as stack:
        theirs = [tables]
        # The embedded database has one process; what shares it shares its writer.
        for _ in range(3):
            others = Databases({"default": database_url}) if tables.dialect == "mysql" else None
            if others is not None:
                await others.open()
                stack.push_async_callback(others.close)
            theirs.append(others.database() if others is not None else tables)
        servers = [store_in(folder, each, quota=1000) for each in theirs]
        ends = await asyncio.gather(*(keep(store, ANN, 400) for store in servers), return_exceptions=True)
        refused = [end for end in ends if not isinstance(end, int)]
        assert ends.count(400) == 2
        assert [type(end) for end in refused] == [QuotaExceeded, QuotaExceeded]
        assert await servers[0].records.used(ANN.id) == 800
        assert len(files(folder)) == 2
        assert await keep(servers[1], ANN, 200) == 200
