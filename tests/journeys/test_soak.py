"""Many sockets, many turns, a long time: nothing fails, nothing is lost, and memory stays where it is.

The short run belongs to the suite. The long one takes BETTERAI_SOAK_SECONDS, ten minutes where that is not set.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

import psutil
import pytest
from aiohttp import web

from tests.journeys.client import Socket, connected
from tests.server import CHAT, RunningServer, serving

MIB = 1 << 20
GROWTH = 1.1
"""By how much memory may differ between the second and the last third of a run."""


@dataclass(frozen=True)
class Load:
    """How much, how long; `gap` is the vendor's pause between two words, in seconds like all times here."""

    sockets: int
    turns: int
    seconds: float
    gap: float
    words: tuple[int, int]


SHORT = Load(sockets=40, turns=10, seconds=4.0, gap=0.01, words=(1, 40))
LONG = Load(
    sockets=2_000, turns=200, seconds=float(os.environ.get("BETTERAI_SOAK_SECONDS", "600")), gap=0.2, words=(10, 60)
)


@asynccontextmanager
async def slow_vendor(gap: float) -> AsyncIterator[str]:
    """Counts aloud as far as it is asked to, one word after another; gives its address."""

    async def count(request: web.Request) -> web.StreamResponse:
        asked = (await request.json())["messages"][-1]["content"]
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for i in range(int(asked)):
            await response.write(chunk({"content": f"{i} "}))
            await asyncio.sleep(gap)
        await response.write(chunk({}, "stop") + b"data: [DONE]\n\n")
        return response

    app = web.Application()
    app.router.add_post("/v1/chat/completions", count)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def chunk(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    told = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "slow", "choices": [choice]}
    return b"data: " + json.dumps(told).encode() + b"\n\n"


@dataclass
class Soak:
    """One run under way, and its figures."""

    server: RunningServer
    load: Load
    sockets: list[Socket]
    random: random.Random = field(default_factory=lambda: random.Random(1))
    turns: int = 0
    events: int = 0
    resumed: int = 0
    memory: list[float] = field(default_factory=list)

    async def warm_up(self) -> None:
        """Have each socket talk once: what it takes the first time is taken before memory is looked at."""
        turns = asyncio.Semaphore(self.load.turns)

        async def talk(socket: Socket) -> None:
            async with turns:
                heard = await socket.chat("2")
                await socket.end_of(heard.stream)
                del socket.heard[heard.stream]

        async with asyncio.TaskGroup() as group:
            for socket in self.sockets:
                group.create_task(talk(socket))

    async def run(self) -> None:
        """Keep the turns running until the time is up, and look at the server's memory meanwhile."""
        until = asyncio.get_running_loop().time() + self.load.seconds
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(self._watch_memory())
            turns = [group.create_task(self._keep_asking(until)) for _ in range(self.load.turns)]
            await asyncio.wait(turns)
            watcher.cancel()

    async def _keep_asking(self, until: float) -> None:
        while asyncio.get_running_loop().time() < until:
            await self._turn()

    async def _turn(self) -> None:
        """One turn on any of the sockets; in every fifth a second one watches from the middle on."""
        asker, other = self.random.sample(self.sockets, 2)
        count = self.random.randint(*self.load.words)
        heard = await asker.chat(str(count), store=self.random.random() < 0.5)
        if self.random.random() < 0.2:
            await asker.until(lambda: heard.last >= 2, "the first word")
            await other.ask("stream.resume", stream=heard.stream)
            await other.end_of(heard.stream)
            assert other.of(heard.stream).text == "".join(f"{i} " for i in range(count))
            del other.heard[heard.stream]
            self.resumed += 1
        end = await asker.end_of(heard.stream)
        assert (end["status"], end["saved"]) == ("completed", True), end
        assert heard.text == "".join(f"{i} " for i in range(count))
        del asker.heard[heard.stream]
        self.turns += 1
        self.events += heard.last

    async def _watch_memory(self) -> None:
        process = psutil.Process(self.server.pid)
        while True:
            self.memory.append(process.memory_info().rss / MIB)
            await asyncio.sleep(self.load.seconds / 100)

    @property
    def figures(self) -> str:
        middle, last = self._thirds
        return (
            f"{len(self.sockets)} sockets, {self.load.turns} turns at a time, {self.load.seconds:g} s: "
            f"{self.turns} turns, {self.events} events, {self.resumed} watched from a second socket; "
            f"memory {self.memory[0]:.0f} MiB at first, {middle:.0f} in the second third, {last:.0f} in the last"
        )

    @property
    def _thirds(self) -> tuple[float, float]:
        third = len(self.memory) // 3
        return fmean(self.memory[third : 2 * third]), fmean(self.memory[2 * third :])

    @property
    def growth(self) -> float:
        """Memory of the last third against that of the second."""
        middle, last = self._thirds
        return last / middle


@asynccontextmanager
async def soaking(folder: Path, load: Load) -> AsyncIterator[Soak]:
    """A server under so many sockets."""
    # Ended streams are held for a while, and only what comes after that while can be flat.
    settings = {**CHAT, "bus.keep": load.seconds / 10}
    async with slow_vendor(load.gap) as address, AsyncExitStack() as stack:
        environ = {"OPENAI_BASE_URL": address, "OPENAI_API_KEY": "sk-test-0123456789"}
        server = stack.enter_context(serving(folder, settings, environ))
        sockets = [await stack.enter_async_context(connected(server.url)) for _ in range(load.sockets)]
        yield Soak(server, load, sockets)


async def test_sockets_and_turns_for_a_short_while_lose_nothing(tmp_path: Path) -> None:
    async with soaking(tmp_path, SHORT) as soak:
        await soak.run()
    assert soak.turns > SHORT.turns
    assert soak.resumed > 0
    assert soak.server.errors == []


@pytest.mark.soak
@pytest.mark.timeout(LONG.seconds + 300)
async def test_two_thousand_sockets_and_two_hundred_turns_lose_nothing_in_flat_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with soaking(tmp_path, LONG) as soak:
        await soak.warm_up()
        await soak.run()
        idle = await asyncio.gather(*(socket.ask("ping") for socket in soak.sockets))
    with capsys.disabled():
        print(f"\n{soak.figures}")  # noqa: T201
    assert len(idle) == LONG.sockets
    assert soak.server.errors == []
    assert soak.growth < GROWTH, soak.figures
