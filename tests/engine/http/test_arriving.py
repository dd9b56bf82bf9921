"""Bodies that are large, compressed, slow or endless."""

from __future__ import annotations

import asyncio
import gzip
import threading
import tracemalloc
import zlib

import pytest

from engine.api.errors import FrameTooLarge, InvalidRequest, LimitExceeded, Overloaded, RequestTimeout
from engine.api.identity import Principal
from engine.http.arriving import Pace, Room, inflate
from engine.http.uploads import UploadPlaces
from engine.wire.apart import LARGE, apart, is_large

MIB = 1 << 20
ANN, BOB = Principal("ann", frozenset()), Principal("bob", frozenset())


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"hello" * 1000, mtime=0)),
        ("deflate", zlib.compress(b"hello" * 1000)),
        ("deflate", zlib.compress(b"hello" * 1000)[2:-4]),
    ],
    ids=("gzip", "deflate", "deflate without a header"),
)
def test_a_compressed_body_is_read_as_it_was(encoding: str, body: bytes) -> None:
    assert inflate(body, encoding, MIB) == b"hello" * 1000


def test_a_body_that_becomes_too_much_is_refused_before_it_is_made() -> None:
    bomb = gzip.compress(b"a" * (256 * MIB), 9, mtime=0)
    tracemalloc.start()
    try:
        with pytest.raises(FrameTooLarge) as caught:
            inflate(bomb, "gzip", 8 * MIB)
        caught.value.__traceback__ = None
        del caught
        left, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20 * MIB
    assert left < MIB


@pytest.mark.parametrize("body", [b"no gzip at all", gzip.compress(b"hello", mtime=0)[:-9]], ids=("other", "cut"))
def test_a_body_that_is_not_what_its_encoding_says_is_the_senders_mistake(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        inflate(body, "gzip", MIB)


async def test_a_sender_that_stops_is_given_up() -> None:
    with pytest.raises(RequestTimeout) as caught:
        await Pace(0.01).next(asyncio.Event().wait)
    assert (caught.value.code, caught.value.status) == ("request_timeout", 408)


async def test_a_sender_that_trickles_is_given_up() -> None:
    pace = Pace(0.1)

    async def one_byte() -> bytes:
        await asyncio.sleep(0.01)
        return b"x"

    async def trickle() -> None:
        while True:
            await pace.next(one_byte)

    with pytest.raises(RequestTimeout):
        await asyncio.wait_for(trickle(), 5)


def test_bodies_share_a_room() -> None:
    room = Room(10)
    room.take(8)
    with pytest.raises(Overloaded) as caught:
        room.take(3)
    assert (caught.value.limit, caught.value.remaining) == (10, 2)
    room.free(8)
    room.take(10)


def test_one_principal_does_not_take_all_places_for_files() -> None:
    places = UploadPlaces(3, 2)
    with places.held(ANN), places.held(ANN):
        with pytest.raises(LimitExceeded) as caught, places.held(ANN):
            pass
        assert (caught.value.limit, caught.value.remaining) == (2, 0)
        with places.held(BOB), pytest.raises(LimitExceeded), places.held(BOB):
            pass
    with places.held(ANN):
        pass


async def test_long_work_leaves_the_event_loop_to_others() -> None:
    passed = threading.Event()
    # The work is over only when the loop has gone on.
    asyncio.get_running_loop().call_soon(passed.set)
    assert await apart(lambda: passed.wait(20))


@pytest.mark.parametrize(
    ("value", "large"),
    [
        ("hi", False),
        ([1] * 10, False),
        ("a" * 100_000, True),
        ([{"a": 1}] * 2000, True),
        ({"x": [{"y": [1] * 3000}]}, True),
        (None, False),
    ],
)
def test_what_takes_long_to_walk_is_large(value: object, large: bool) -> None:
    assert is_large(value) is large


def test_that_a_large_body_has_gone_is_told_and_that_a_small_one_has_is_not() -> None:
    gone: list[int] = []
    room = Room(8 * MIB, gone.append)
    room.take(LARGE)
    room.free(LARGE)
    assert gone == []
    room.take(3 * MIB)
    room.free(3 * MIB)
    assert gone == [3 * MIB]
