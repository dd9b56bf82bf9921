"""A process that holds a model: started late, shared, replaced when it dies, and told when nobody waits."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.api import ModelUnavailable, ProviderUnavailable
from plugins.vendors.model_child import CannotLoad, check_files
from plugins.vendors.model_frames import DATA
from plugins.vendors.model_process import ANSWERS, Exchange, ModelProcess, ProcessEnded

PARROT = "tests.plugins.vendors.parrot_model"


@asynccontextmanager
async def parrot(idle: float = 60.0, **order: Any) -> AsyncIterator[ModelProcess]:
    process = ModelProcess(PARROT, "the parrot", {"name": "Polly", **order}, idle=idle)
    try:
        yield process
    finally:
        await process.aclose()


async def said(exchange: Exchange) -> list[tuple[int, bytes]]:
    return [frame async for frame in exchange]


def pid_of(process: ModelProcess) -> int:
    return int(process.health().detail.split("process ")[1].split()[0])


async def test_it_starts_at_its_first_use_and_serves_many() -> None:
    async with parrot() as process:
        assert process.health().detail == "the parrot, loaded at its first use"
        exchanges = [await process.open({}) for _ in range(5)]
        for number, exchange in enumerate(exchanges):
            await exchange.send(b"%d" % number)
            await exchange.finish()
        for number, exchange in enumerate(exchanges):
            assert (await said(exchange))[0] == (DATA, b"%d" % number)
        assert process.health().state == "ok" and process.health().detail.startswith("Polly, process ")


async def test_a_process_that_dies_fails_what_it_was_asked_and_is_replaced() -> None:
    async with parrot() as process:
        first, second = await process.open({}), await process.open({})
        before = pid_of(process)
        await first.send(b"die")
        for exchange in (first, second):
            with pytest.raises(ProcessEnded):
                await said(exchange)
        with pytest.raises(ProcessEnded):
            await second.send(b"anything")
        third = await process.open({})
        await third.finish()
        await said(third)
        assert pid_of(process) != before


async def test_a_process_that_is_killed_from_outside_is_replaced() -> None:
    async with parrot() as process:
        exchange = await process.open({})
        os.kill(pid_of(process), signal.SIGKILL)
        with pytest.raises(ProcessEnded):
            await said(exchange)
        await process.warm()
        assert process.health().state == "ok"


async def test_a_model_that_cannot_be_loaded_says_why_and_is_left_alone_for_a_while() -> None:
    async with parrot(refuse="its file is cut") as process:
        for _ in range(2):
            with pytest.raises(ModelUnavailable, match="its file is cut") as told:
                await process.open({})
            assert told.value.retry_after is not None
        assert process.refusal == "its file is cut"
        assert (process.health().state, process.health().detail) == ("degraded", "its file is cut")


async def test_a_process_that_dies_while_it_loads_is_no_refusal() -> None:
    async with parrot(die=True) as process:
        with pytest.raises(ProcessEnded, match="before it was ready"):
            await process.open({})
        assert process.refusal is None


async def test_an_exchange_that_nobody_waits_for_is_told_to_the_process() -> None:
    async with parrot() as process:
        (await process.open({})).close()
        after = await process.open({})
        await after.finish()
        assert json.loads((await said(after))[0][1]) == {"left": 1}


async def test_a_reason_of_the_model_reaches_the_caller() -> None:
    async with parrot() as process:
        exchange = await process.open({})
        await exchange.send(b"fail")
        with pytest.raises(ProviderUnavailable, match="it did not want to"):
            await said(exchange)


async def test_one_that_is_not_read_ends_alone() -> None:
    async with parrot() as process:
        deaf = await process.open({"times": ANSWERS + 1})
        other = await process.open({})
        await other.finish()
        await said(other)
        with pytest.raises(ProviderUnavailable, match="not read for too long"):
            await said(deaf)


async def test_it_ends_when_it_was_not_used_for_a_while_and_starts_again() -> None:
    async with parrot(idle=0.05) as process:
        exchange = await process.open({})
        descriptor, ended = os.pidfd_open(pid_of(process)), asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        exchange.close()
        await asyncio.wait_for(ended.wait(), 10)
        loop.remove_reader(descriptor)
        os.close(descriptor)
        again = await process.open({})
        await again.finish()
        await said(again)


def test_files_are_known_by_their_hashes(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    known = "ab1e7f6a1ad54b5a7e6d3c0c4b7a8a4e"
    with pytest.raises(CannotLoad, match="is not the file that is known"):
        check_files(tmp_path, {"model.bin": known})
    with pytest.raises(CannotLoad, match="cannot be read"):
        check_files(tmp_path, {"other.bin": known})
