"""The tools of the benchmark of calls: vendors that answer at once, the bare relay, callers who note when what comes."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from bench import callers
from bench.callers import Caller, now
from bench.calls import ROOT, jitter, quantiles, table
from bench.process import Server, cores, free_port


@pytest.fixture
async def floor(tmp_path: Path) -> AsyncIterator[str]:
    """The address of a relay with its vendors."""
    vendors, port = free_port(), free_port()
    core = cores()[1]
    argv = (sys.executable, "-m", "bench.call_vendors", "--port", str(vendors))
    with Server(argv, port=vendors, core=core, log=tmp_path / "vendors.log", ready="/ready", cwd=ROOT) as started:
        await asyncio.to_thread(started.wait_ready)
        address = f"http://127.0.0.1:{vendors}/v1"
        bare = (sys.executable, "-m", "bench.call_floor", "--port", str(port), "--vendors", address)
        with Server(bare, port=port, core=core, log=tmp_path / "floor.log", ready="/health/ready", cwd=ROOT) as relay:
            await asyncio.to_thread(relay.wait_ready)
            yield f"http://127.0.0.1:{port}"


async def test_every_frame_comes_back_with_the_times_of_both_ways(floor: str) -> None:
    async with aiohttp.ClientSession() as http:
        caller = Caller(http, floor, 24_000, path="relay")
        await caller.begin()
        await callers.relay(caller, now() + 0.3)
        async with asyncio.timeout(callers.PATIENCE):
            while len(caller.came) < caller.n:
                caller.changed.clear()
                await caller.changed.wait()
        await caller.end()
    assert len(caller.stamps) == caller.n >= 10
    assert all(0 <= up < 5_000 and 0 <= down < 5_000 for up, down in caller.stamps)


async def test_a_turn_is_written_answered_and_spoken(floor: str) -> None:
    async with aiohttp.ClientSession() as http:
        caller = Caller(http, floor, 16_000, path="turns")
        await caller.begin()
        await caller.send(bytes(caller.frame))
        ended = await caller.commit()
        assert await caller.until_sound(ended) > ended
        await caller.end()


async def test_a_frame_is_found_by_the_media_time_that_it_ends(floor: str) -> None:
    async with aiohttp.ClientSession() as http:
        caller = Caller(http, floor, 16_000, path="relay")
        caller.sent.extend([10.0, 11.0, 12.0])
        caller.n = 3
        assert [caller.when_sent(ms) for ms in (20, 21, 60, 500)] == [10.0, 11.0, 12.0, 12.0]


def test_jitter_is_told_of_frames_at_the_speed_of_play_alone() -> None:
    assert jitter([0.0, 0.001, 0.021, 0.043, 1.0]) == [pytest.approx(0), pytest.approx(2)]


def test_the_table_has_medians_and_ratios_of_the_same_round() -> None:
    rows = {
        "turns": {
            "engine": [{"wait_p50_ms": 4.0}, {"wait_p50_ms": 9.0}],
            "floor": [{"wait_p50_ms": 2.0}, {"wait_p50_ms": 3.0}],
        }
    }
    assert table(rows).splitlines()[-1] == "| turns | wait_p50_ms | 2.5 | 6.5 | **2.50x** |"
    assert quantiles("up", [3.0, 1.0, 2.0]) == {"up_p50_ms": 2.0, "up_p99_ms": 3.0}
