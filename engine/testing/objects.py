"""What every object store must do, as tests to inherit.

    class TestAcme(ObjectStoreContract):
        @pytest.fixture
        def store(self) -> ObjectStore:
            return AcmeObjects(...)

The store is used for real: give it an emulator of its vendor, or a folder of this machine. It may hold other things already.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from engine.api.errors import FrameTooLarge, ObjectNotFound
from engine.api.identity import Principal
from engine.api.object_store import StoredObject
from engine.api.providers import ObjectStore

CONTENT = bytes(range(256)) * 3000
"""Longer than any piece that is written or read at a time."""


class SourceFailed(Exception):
    """What breaks off while it is being kept."""


async def pieces_of(content: bytes, cuts: Sequence[int] = (1, 70_000, 300_001)) -> AsyncIterator[bytes]:
    """The content in uneven pieces."""
    at = 0
    for cut in (*cuts, len(content)):
        if at < cut:
            yield content[at:cut]
            at = cut


async def breaking_off(content: bytes) -> AsyncIterator[bytes]:
    """Pieces that end with a failure."""
    yield content
    raise SourceFailed


class ObjectStoreContract:
    """Inherit, and give the fixture `store`."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """A store that can serve."""
        pytest.fail("give the fixture `store`")

    @pytest.fixture
    def me(self) -> Principal:
        """Somebody who has nothing yet."""
        return Principal(f"user:{secrets.token_hex(6)}")

    @pytest.fixture
    def stranger(self) -> Principal:
        return Principal(f"user:{secrets.token_hex(6)}")

    async def test_is_an_object_store_with_a_name_and_can_serve(self, store: ObjectStore) -> None:
        assert store.role == "object_store"
        assert store.name and store.unavailable is None, store.unavailable

    async def test_what_was_put_is_read_as_it_was(self, store: ObjectStore, me: Principal) -> None:
        stored = await store.put(me, pieces_of(CONTENT), name="sound.wav", content_type="audio/wav", origin="s_1")
        assert (stored.name, stored.content_type, stored.origin) == ("sound.wav", "audio/wav", "s_1")
        assert stored.size == len(CONTENT)
        assert await self._read(store, stored) == CONTENT
        assert await store.find(me, stored.id) == stored

    @pytest.mark.parametrize(("start", "end"), [(0, 1), (5, 5), (299_990, 300_010), (len(CONTENT) - 3, len(CONTENT))])
    async def test_a_part_is_read_alone(self, store: ObjectStore, me: Principal, start: int, end: int) -> None:
        stored = await self._put(store, me)
        assert await self._read(store, stored, start, end) == CONTENT[start:end]

    async def test_an_object_without_bytes_is_one(self, store: ObjectStore, me: Principal) -> None:
        stored = await store.put(me, pieces_of(b""), name="empty", content_type="text/plain")
        assert (stored.size, await self._read(store, stored)) == (0, b"")

    async def test_nobody_else_finds_lists_or_deletes_it(
        self, store: ObjectStore, me: Principal, stranger: Principal
    ) -> None:
        stored = await self._put(store, me)
        unknown = stored.id[:-4] + ("0000" if stored.id[-4:] != "0000" else "1111")
        told = set()
        for asked in (store.find(stranger, stored.id), store.delete(stranger, stored.id), store.find(me, unknown)):
            with pytest.raises(ObjectNotFound) as refusal:
                await asked
            told.add(refusal.value.message)
        assert len(told) == 1, "a foreign id is told apart from one that never was"
        assert (await store.page(stranger)).objects == []
        assert await self._read(store, await store.find(me, stored.id)) == CONTENT

    async def test_what_is_deleted_is_gone(self, store: ObjectStore, me: Principal) -> None:
        stored = await self._put(store, me)
        await store.delete(me, stored.id)
        for asked in (store.find(me, stored.id), store.delete(me, stored.id)):
            with pytest.raises(ObjectNotFound):
                await asked
        assert (await store.page(me)).used == 0

    async def test_a_source_that_breaks_off_leaves_nothing(self, store: ObjectStore, me: Principal) -> None:
        with pytest.raises(SourceFailed):
            await store.put(me, breaking_off(CONTENT), name="half", content_type="audio/wav")
        page = await store.page(me)
        assert (page.objects, page.used) == ([], 0)

    async def test_what_is_too_large_leaves_nothing(self, store: ObjectStore, me: Principal) -> None:
        with pytest.raises(FrameTooLarge, match="999"):
            await store.put(me, pieces_of(b"x" * 1000), name="large", content_type="text/plain", most=999)
        assert (await store.page(me)).objects == []
        kept = await store.put(me, pieces_of(b"x" * 1000), name="fits", content_type="text/plain", most=1000)
        assert kept.size == 1000

    async def test_a_cancelled_put_leaves_nothing_and_closes_its_source(
        self, store: ObjectStore, me: Principal
    ) -> None:
        waits, closed = asyncio.Event(), asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            try:
                yield CONTENT
                waits.set()
                await asyncio.Event().wait()
            finally:
                closed.set()

        putting = asyncio.create_task(store.put(me, endless(), name="endless", content_type="audio/wav"))
        await waits.wait()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
        assert closed.is_set()
        page = await store.page(me)
        assert (page.objects, page.used) == ([], 0)

    async def test_several_are_put_at_once_under_one_name(self, store: ObjectStore, me: Principal) -> None:
        contents = [bytes([at]) * 5000 for at in range(8)]
        kept = await asyncio.gather(
            *(store.put(me, pieces_of(each), name="same", content_type="text/plain") for each in contents)
        )
        assert [await self._read(store, each) for each in kept] == contents
        assert (await store.page(me)).used == 8 * 5000

    async def test_pages_have_each_object_once_newest_first(self, store: ObjectStore, me: Principal) -> None:
        kept = [await store.put(me, pieces_of(b"x"), name=str(at), content_type="text/plain") for at in range(5)]
        seen: list[StoredObject] = []
        before: str | None = None
        for _ in range(5):
            page = await store.page(me, before=before, limit=2)
            seen += page.objects
            before = page.next
            if before is None:
                break
        assert sorted(each.id for each in seen) == sorted(each.id for each in kept)
        moments = [each.created_at for each in seen]
        assert moments == sorted(moments, reverse=True)

    async def test_objects_are_found_by_the_stream_that_they_were_made_in(
        self, store: ObjectStore, me: Principal, stranger: Principal
    ) -> None:
        mine = await store.put(me, pieces_of(b"x"), name="a", content_type="text/plain", origin="s_made")
        await store.put(me, pieces_of(b"x"), name="b", content_type="text/plain", origin="s_other")
        await store.put(stranger, pieces_of(b"x"), name="c", content_type="text/plain", origin="s_made")
        assert (await store.page(me, origin="s_made")).objects == [mine]

    @pytest.mark.parametrize(
        "name", ["../../etc/passwd", "C:\\windows\\system.ini", "/", "..", "a\r\nb: c", "x" * 5000]
    )
    async def test_a_name_is_never_a_path(self, store: ObjectStore, me: Principal, name: str) -> None:
        stored = await store.put(me, pieces_of(CONTENT), name=name, content_type="text/plain")
        assert stored.name and not set(stored.name) & set("/\\\r\n\0") and stored.name not in (".", "..")
        assert await self._read(store, stored) == CONTENT

    async def test_a_link_ends_when_it_was_said_to(self, store: ObjectStore, me: Principal) -> None:
        link = await store.link(await self._put(store, me), 60)
        left = link.expires_at - datetime.now(UTC)
        assert timedelta(seconds=50) < left <= timedelta(seconds=61)
        assert link.url.startswith(("/", "https://", "http://"))

    async def _put(self, store: ObjectStore, me: Principal) -> StoredObject:
        return await store.put(me, pieces_of(CONTENT), name="sound.wav", content_type="audio/wav")

    async def _read(self, store: ObjectStore, stored: StoredObject, start: int = 0, end: int | None = None) -> bytes:
        async with aclosing(store.read(stored, start, end)) as pieces:  # type: ignore[type-var]
            return b"".join([piece async for piece in pieces])
