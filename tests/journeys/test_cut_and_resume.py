"""A client whose wire tears at random places, who comes back each time and goes on where it was."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import aiohttp
import pytest

from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Piece, Say, words
from tests.journeys.client import PATIENCE, CutWire, Gone, Heard, connected, events_of
from tests.server import RunningServer, Start

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUNS = 50
LONG_RUNS = 1_000
AT_ONCE = 5
STREAM_BYTES = 1024

LOST = (aiohttp.ClientError, ConnectionError, Gone)


@dataclass
class Run:
    """One randomised run: what the vendor says, where it waits, and how much each connection carries before it tears."""

    seed: int
    question: str

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.said = words(" ".join(f"w{self.seed}-{i}" for i in range(self.random.randrange(1, 60))))
        self.pieces: list[Piece] = []
        for word in self.said:
            self.pieces += [Hold(), word] if self.random.random() < 0.15 else [word]
        self.tears = self.random.randrange(1, 8)

    def allowance(self) -> int | None:
        """Bytes that the next connection carries: for some connections, then for good."""
        if self.tears == 0:
            return None
        self.tears -= 1
        return self.random.randrange(1, 4_000)

    async def let_go(self) -> None:
        """Let the vendor go on from each of its waits, some of them a while after it got there."""
        for hold in [piece for piece in self.pieces if isinstance(piece, Hold)]:
            await hold.reached(PATIENCE)
            for _ in range(self.random.randrange(1, 40)):
                await asyncio.sleep(0)
            hold.release()


async def over_socket(server: RunningServer, run: Run) -> Heard:
    """Chat over a wire that tears; every connection goes on behind the last number that the one before heard."""
    heard: dict[str, Heard] = {}
    stream: str | None = None
    async with CutWire(server.port, run.allowance) as wire:
        while True:
            try:
                async with connected(wire.url, heard) as socket:
                    if stream is None:
                        # Sent until it is accepted: the key keeps it one turn.
                        told = await socket.chat(run.question, key=f"key of {run.question}")
                        stream = told.stream
                    elif stream not in heard or heard[stream].ended is None:
                        answer = await socket.ask("stream.resume", stream=stream, after=socket.of(stream).last)
                        assert (answer["type"], answer["recovered"]) == ("accepted", True), answer
                    await socket.end_of(stream)
                    return heard[stream]
            except LOST:
                continue


async def over_events(server: RunningServer, run: Run) -> Heard:
    """The same over HTTP: `Last-Event-ID` says where to go on."""
    async with connected(server.url) as socket:
        stream = (await socket.chat(run.question)).stream
    heard = Heard(stream)
    async with CutWire(server.port, run.allowance) as wire:
        while heard.ended is None:
            headers = {"Last-Event-ID": str(heard.last)} if heard.last else {}
            try:
                async with (
                    aiohttp.ClientSession() as http,
                    http.get(f"{wire.url}/api/v1/streams/{stream}/events", headers=headers) as response,
                ):
                    assert response.status == 200, await response.text()
                    async for number, frame in events_of(response):
                        assert number == frame["n"]
                        heard.hear(frame)
            except LOST:
                continue
    return heard


Way: TypeAlias = Callable[[RunningServer, Run], Awaitable[Heard]]


async def randomised(server: RunningServer, vendor: OpenAIEmulator, way: Way, runs: int) -> int:
    """So many runs, a few at once; gives how many words were said in all."""
    open_runs: dict[str, Run] = {}
    vendor.otherwise = lambda request: Say(pieces=open_runs[vendor.last_user_text(request.body)].pieces)
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(seed: int) -> int:
        run = Run(seed, f"{way.__name__} {runs} {seed}")
        async with turns:
            open_runs[run.question] = run
            vendor_goes_on = asyncio.create_task(run.let_go())
            heard = await way(server, run)
            await vendor_goes_on
        assert heard.text == "".join(run.said), f"seed {seed}"
        assert (heard.end["status"], heard.snapshots) == ("completed", []), f"seed {seed}"
        assert heard.kinds.count("stream.ended") == 1, f"seed {seed}"
        return len(run.said)

    async with asyncio.TaskGroup() as group:
        said = [group.create_task(one(seed)) for seed in range(runs)]
    assert len(vendor.requests) == runs, "a turn was run twice"
    return sum(task.result() for task in said)


@pytest.mark.parametrize("way", [over_socket, over_events])
async def test_a_client_cut_at_random_points_hears_every_number_once_and_the_whole_text(
    server: RunningServer, vendor: OpenAIEmulator, way: Way
) -> None:
    assert await randomised(server, vendor, way, RUNS) > RUNS


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", [over_socket, over_events])
async def test_a_thousand_clients_cut_at_random_points_lose_nothing(
    server: RunningServer, vendor: OpenAIEmulator, way: Way
) -> None:
    assert await randomised(server, vendor, way, LONG_RUNS) > LONG_RUNS


# When the log no longer holds what was missed.


async def test_a_reader_who_comes_back_too_late_gets_all_that_was_said_and_the_next_number(
    start: Start, vendor: OpenAIEmulator
) -> None:
    server = start({"bus.stream_bytes": STREAM_BYTES})
    missed = ["two ", "three ", "four ", "five ", "six "]
    holds = [Hold() for _ in missed]
    late = Hold()
    pieces = [piece for hold, word in zip(holds, missed, strict=True) for piece in (hold, word)]
    vendor.script.append(Say(pieces=["one ", *pieces, late, "end"]))
    async with connected(server.url) as witness:
        async with connected(server.url) as socket:
            heard = await socket.chat("Go")
            await socket.text_of(heard.stream, "one ")
        seen = heard.last
        await witness.ask("stream.resume", stream=heard.stream)
        said = "one "
        for hold, word in zip(holds, missed, strict=True):
            hold.release()
            said += word
            await witness.text_of(heard.stream, said)
    async with connected(server.url, {heard.stream: heard}) as socket:
        answer = await socket.ask("stream.resume", stream=heard.stream, after=seen)
        late.release()
        await socket.end_of(heard.stream)
    (snapshot,) = heard.snapshots
    assert (answer["recovered"], snapshot["text"]) == (False, said)
    assert next(e["n"] for e in heard.events if e["n"] > seen) == snapshot["n"] + 1
    assert (heard.text, heard.end["status"]) == (said + "end", "completed")


async def test_events_that_are_gone_come_as_a_snapshot_over_http_too(start: Start, vendor: OpenAIEmulator) -> None:
    server = start({"bus.stream_bytes": STREAM_BYTES})
    text = "".join(f"w{i} " for i in range(60))
    vendor.script.append(Say(text))
    async with connected(server.url) as socket:
        stream = (await socket.chat("Go")).stream
        await socket.end_of(stream)
    heard = Heard(stream)
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{server.url}/api/v1/streams/{stream}/events", headers={"Last-Event-ID": "2"}) as response,
    ):
        async for _, frame in events_of(response):
            heard.hear(frame)
        heard_all = {"Last-Event-ID": str(heard.last)}
        async with http.get(f"{server.url}/api/v1/streams/{stream}/events", headers=heard_all) as response:
            assert response.status == 204
    assert (heard.text, len(heard.snapshots), heard.end["status"]) == (text, 1, "completed")
