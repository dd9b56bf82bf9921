"""Memory that is free goes back to the system: after large bodies, and after the process has grown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from engine.process import Trimming
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
        self.trims = 0
        self.trimming = Trimming(self.trim, lambda: self.size)

    def trim(self) -> None:
        self.trims += 1
        self.size, self.free = self.size - self.free, 0

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
        process.trimming.ask()
        process.trimming.ask()
        assert await process.after(3) == 1
        await process.trimming.stop()
        process.trimming.ask()
        assert await process.after(2) == 1

    in_virtual_time(play)
