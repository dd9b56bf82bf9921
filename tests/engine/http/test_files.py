"""Files over HTTP: whole, in parts, and not again to who has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api.errors import RangeNotSatisfiable
from engine.api.routes import FileAnswer, HttpRequest, Route
from engine.auth.identity import LocalIdentity
from engine.bus.bus import Bus
from engine.http.app import Bounds, Http, listen
from engine.http.cors import Cors
from engine.http.files import span_asked
from engine.http.table import RouteTable
from engine.sessions.actor import SessionSettings
from engine.sessions.supervisor import Supervisor

BOOK = bytes(range(256)) * 40
ETAG = '"edition-1"'


class Shelf:
    """Gives the book in pieces, and breaks where it is told to."""

    def __init__(self) -> None:
        self.book = BOOK
        self.breaks_at: int | None = None
        self.read: list[tuple[int, int]] = []

    async def pieces(self, start: int, end: int) -> AsyncIterator[bytes]:
        self.read.append((start, end))
        for at in range(start, end, 1000):
            if self.breaks_at is not None and at >= self.breaks_at:
                raise OSError("the disk is gone")
            yield self.book[at : min(at + 1000, end)]

    async def answer(self, request: HttpRequest[Any, Any]) -> FileAnswer:
        return FileAnswer(size=len(self.book), read=self.pieces, etag=ETAG, content_type="audio/mpeg")


@asynccontextmanager
async def serving(shelf: Shelf) -> AsyncIterator[aiohttp.ClientSession]:
    supervisor = Supervisor(Bus(clock=asyncio.get_running_loop().time))
    http = Http(
        supervisor,
        LocalIdentity(),
        bounds=Bounds(max_body=1 << 20, max_frame=1 << 10, ping_interval=30.0),
        session=lambda: SessionSettings(version="test"),
        guard=None,
        cors=Cors(()),
    )
    http.routes = RouteTable([("books", Route(method="GET", path="/book", handler=shelf.answer))])
    runner, port = await listen(http.application(), "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client:
            yield client
    finally:
        await supervisor.drain(0)
        await runner.cleanup()


async def test_a_file_comes_whole_with_its_length_type_and_name_of_its_content() -> None:
    async with serving(Shelf()) as client, client.get("/book") as answer:
        assert await answer.read() == BOOK
        told = {name: answer.headers[name] for name in ("Content-Length", "Content-Type", "ETag", "Accept-Ranges")}
    assert told == {
        "Content-Length": str(len(BOOK)),
        "Content-Type": "audio/mpeg",
        "ETag": ETAG,
        "Accept-Ranges": "bytes",
    }


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=1500-2999", slice(1500, 3000)),
        ("bytes=9000-", slice(9000, None)),
        ("bytes=10000-99999", slice(10000, None)),
        ("bytes=-700", slice(-700, None)),
        ("bytes=-99999", slice(None)),
    ],
)
async def test_a_part_that_is_asked_for_comes_alone(asked: str, part: slice) -> None:
    shelf = Shelf()
    async with serving(shelf) as client, client.get("/book", headers={"Range": asked}) as answer:
        start, stop, _ = part.indices(len(BOOK))
        assert (answer.status, await answer.read()) == (206, BOOK[part])
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(BOOK)}"
        assert shelf.read == [(start, stop)]


async def test_a_part_behind_the_end_is_refused_with_the_size() -> None:
    async with serving(Shelf()) as client, client.get("/book", headers={"Range": f"bytes={len(BOOK)}-"}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (416, "range_not_satisfiable")
        assert answer.headers["Content-Range"] == f"bytes */{len(BOOK)}"


@pytest.mark.parametrize("asked", ["bytes=5-3", "bytes=a-b", "bytes=-", "lines=1-2", "bytes=0-1,5-6", "bytes"])
async def test_a_range_that_is_none_or_several_is_answered_with_the_whole(asked: str) -> None:
    async with serving(Shelf()) as client, client.get("/book", headers={"Range": asked}) as answer:
        assert (answer.status, await answer.read()) == (200, BOOK)


async def test_a_part_of_another_edition_is_answered_with_the_whole() -> None:
    async with serving(Shelf()) as client:
        for edition, status in ((ETAG, 206), ('"edition-0"', 200), ("Sun, 29 Nov 2026 06:00:00 GMT", 200)):
            async with client.get("/book", headers={"Range": "bytes=0-9", "If-Range": edition}) as answer:
                assert answer.status == status, edition


async def test_who_has_the_file_is_sent_nothing() -> None:
    shelf = Shelf()
    async with serving(shelf) as client:
        for known, status in ((ETAG, 304), (f'"other", W/{ETAG}', 304), ("*", 304), ('"other"', 200)):
            async with client.get("/book", headers={"If-None-Match": known}) as answer:
                assert (answer.status, await answer.read()) == (status, b"" if status == 304 else BOOK)
    assert len(shelf.read) == 1


async def test_head_tells_the_length_and_reads_nothing() -> None:
    shelf = Shelf()
    async with serving(shelf) as client, client.head("/book", headers={"Range": "bytes=0-9"}) as answer:
        assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(BOOK)))
    assert shelf.read == []


async def test_a_file_that_cannot_be_read_to_its_end_is_cut_off() -> None:
    shelf = Shelf()
    shelf.breaks_at = 4000
    async with serving(shelf) as client, client.get("/book") as answer:
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()


async def test_a_file_that_cannot_be_read_at_all_is_an_error() -> None:
    shelf = Shelf()
    shelf.breaks_at = 0
    async with serving(shelf) as client, client.get("/book") as answer:
        assert (answer.status, (await answer.json())["code"]) == (500, "internal")


async def test_an_empty_file_is_an_empty_answer() -> None:
    shelf = Shelf()
    shelf.book = b""
    async with serving(shelf) as client:
        for headers in ({}, {"Range": "bytes=-5"}):
            async with client.get("/book", headers=headers) as answer:
                assert (answer.status, await answer.read()) == (200, b"")


SIZES = st.integers(0, 1 << 40)


@given(SIZES, SIZES, SIZES)
def test_a_span_lies_within_the_file_and_begins_where_it_was_asked_to(first: int, length: int, size: int) -> None:
    header = f"bytes={first}-{first + length}"
    if first >= size:
        with pytest.raises(RangeNotSatisfiable):
            span_asked(header, size)
        return
    span = span_asked(header, size)
    assert span == range(first, min(first + length + 1, size)) and len(span) > 0


@given(st.text(max_size=40) | st.from_regex(r"[bB]ytes=[ \t]*[0-9]{0,19}-[0-9]{0,19}", fullmatch=True), SIZES)
def test_whatever_a_range_says_it_is_a_span_of_the_file_or_none(header: str, size: int) -> None:
    try:
        span = span_asked(header, size)
    except RangeNotSatisfiable:
        return
    assert span is None or 0 <= span.start < span.stop <= size
