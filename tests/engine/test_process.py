"""Memory that is free goes back to the system: after large bodies, and after the process has grown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from engine.process import Collector, Trimming
from engine.testing.clock import VirtualTimeLoop

MIB = 1 << 20


def in_virtual_time(play: Callable[[], Awaitable[None]]) -> None:
    """Run a scene in which minutes take none."""

    async def scene() -> None:
        await play()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scene())


class Process:
    """A process of which only the size is known; each trim frees `free` bytes, once."""

    def __init__(self) -> None:
        self.size = 100 * MIB
        self.free = 0
        self.trims = self.collections = 0
        self.objects = 0
        self.trimming = Trimming(self.trim, lambda: self.size, Collector(lambda: self.objects, self.collect))

    def trim(self) -> None:
        self.trims += 1
        self.size, self.free = self.size - self.free, 0

    def collect(self) -> None:
        self.collections += 1

    async def after(self, looks: int) -> int:
        """How often it was trimmed, so many looks later."""
        for _ in range(looks):
            await asyncio.sleep(Trimming.EVERY + 0.001)
            await self.trimming.settled()
        return self.trims


def test_a_process_that_has_not_grown_is_left_alone() -> None:
    async def play() -> None:
        process = Process()
        process.trimming.start()
        process.size += Trimming.GROWN
        assert await process.after(3) == 0
        await process.trimming.stop()

    in_virtual_time(play)


def test_one_that_has_grown_is_trimmed_and_again_after_a_find() -> None:
    async def play() -> None:
        process = Process()
        process.trimming.start()
        process.size += 200 * MIB
        process.free = 150 * MIB
        assert await process.after(1) == 1
        assert await process.after(1) == 2
        assert await process.after(3) == 2
        await process.trimming.stop()

    in_virtual_time(play)


def test_after_a_large_body_it_is_trimmed_whatever_its_size() -> None:
    async def play() -> None:
        process = Process()
        process.trimming.start()
        process.trimming.gone(3 * MIB)
        process.trimming.gone(MIB)
        assert await process.after(1) == 1
        await process.trimming.stop()
        process.trimming.gone(MIB)
        assert await process.after(2) == 1

    in_virtual_time(play)


def test_large_frames_add_up() -> None:
    async def play() -> None:
        process = Process()
        process.trimming.start()
        process.trimming.gone(MIB // 2)
        assert await process.after(1) == 0
        for _ in range(4):
            process.trimming.gone(MIB // 4)
        assert await process.after(1) == 1
        await process.trimming.stop()

    in_virtual_time(play)


def test_garbage_is_looked_for_once_no_more_bodies_come() -> None:
    async def play() -> None:
        process = Process()
        process.trimming.start()
        for _ in range(3):
            process.trimming.gone(MIB)
            await process.after(1)
        assert process.collections == 0
        await process.after(1)
        assert process.collections == 1
        await process.after(5)
        assert process.collections == 1
        await process.trimming.stop()

    in_virtual_time(play)


def test_garbage_is_looked_for_after_the_process_has_grown() -> None:
    async def play() -> None:
        process = Process()
        process.trimming.start()
        process.size += 200 * MIB
        await process.after(2)
        assert process.collections == 1
        await process.trimming.stop()

    in_virtual_time(play)


@pytest.mark.parametrize(
    ("left", "count", "looks"),
    [
        (0, Collector.FEW, True),
        (0, Collector.FEW + 1, False),
        (0, Collector.MANY, True),
        (Collector.MANY, Collector.MANY + Collector.FEW, False),
        (Collector.MANY, 2 * Collector.MANY, True),
    ],
)
def test_a_look_that_takes_long_is_taken_where_there_is_much_to_find(left: int, count: int, looks: bool) -> None:
    objects, collections = left, 0

    def collect() -> None:
        nonlocal collections
        collections += 1

    collector = Collector(lambda: objects, collect)
    collector.collect()
    if left > Collector.FEW:
        assert collections == 1
    collections, objects = 0, count
    assert collector.collect() is looks
    assert collections == looks
