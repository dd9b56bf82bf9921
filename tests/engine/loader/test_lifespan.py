"""Lifespans that do not come to an end: nobody waits for them longer than their time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from engine.guard import PluginExited
from engine.loader.lifespan import Lifespan, OpenedTooLate


@asynccontextmanager
async def never_open() -> AsyncIterator[None]:
    await asyncio.Event().wait()
    yield


@asynccontextmanager
async def deaf(told: list[str]) -> AsyncIterator[None]:
    yield
    while len(told) < 3:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            told.append("cancelled")


@asynccontextmanager
async def noted(told: list[str]) -> AsyncIterator[None]:
    told.append("opened")
    yield
    told.append("closed")


async def test_one_that_never_opens_is_named_while_it_is_waited_for_and_given_up() -> None:
    told: list[str] = []
    with (
        structlog.testing.capture_logs() as logged,
        pytest.raises(OpenedTooLate, match=r"it was not open within 0.05 s at .*test_lifespan.py:\d+"),
    ):
        await Lifespan("slow", [noted(told), never_open()]).open(0.05)
    [waiting] = [line for line in logged if line["event"] == "plugin_opens_slowly"]
    assert waiting["plugin"] == "slow"
    assert Path(waiting["at"].rpartition(":")[0]) == Path(__file__)
    assert told == ["opened", "closed"]


async def test_one_that_never_closes_is_left_behind_by_name() -> None:
    told: list[str] = []
    lifespan = Lifespan("deaf", [deaf(told)])
    await lifespan.open(1.0)
    with structlog.testing.capture_logs() as logged:
        await lifespan.close(0.05)
    assert [line["event"] for line in logged if line["log_level"] == "error"] == [
        "plugin_did_not_close",
        "plugin_ignores_cancel",
    ]
    assert {line["plugin"] for line in logged} == {"deaf"}
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)


async def test_it_is_left_in_the_task_that_entered_it() -> None:
    tasks: list[object] = []

    @asynccontextmanager
    async def context() -> AsyncIterator[None]:
        tasks.append(asyncio.current_task())
        yield
        tasks.append(asyncio.current_task())

    lifespan = Lifespan("fine", [context()])
    await lifespan.open(1.0)
    await lifespan.close()
    assert tasks[0] is tasks[1]


async def test_one_that_exits_raises_an_error_of_its_own() -> None:
    @asynccontextmanager
    async def exits() -> AsyncIterator[None]:
        raise SystemExit(3)
        yield

    with pytest.raises(PluginExited, match="the lifespan of plugin 'exits' raised SystemExit: 3"):
        await Lifespan("exits", [exits()]).open(1.0)
