"""Many calls for a long time: no sound is lost or said twice, the server's own share of the time stays small, memory flat.

The short run belongs to the suite. The long one takes BETTERAI_SOAK_SECONDS, ten minutes where that is not
set, and holds BETTERAI_SOAK_CALLS, fifty.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil
import pytest

from tests.emulators.deepgram import DeepgramEmulator
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Say
from tests.journeys.caller import RATE, Caller, call, spoken
from tests.journeys.client import Socket, connected
from tests.server import CHAT, RunningServer, behind, serving

MIB = 1 << 20
GROWTH = 1.1
"""By how much memory may differ between the second and the last third of a run."""

ANSWER, ANSWER_MS = "The boat is green.", 1_000
SILENCE_MS = 300
CALL: dict[str, Any] = {
    "model": "cascade",
    "transcription_model": "deepgram/nova-3",
    "speech_model": "openai/tts-1",
    "turn_detection": {"silence_duration_ms": SILENCE_MS},
}


@dataclass(frozen=True)
class Load:
    """How many calls, how long in seconds."""

    calls: int
    seconds: float


SHORT = Load(calls=4, seconds=4.0)
LONG = Load(
    calls=int(os.environ.get("BETTERAI_SOAK_CALLS", "50")),
    seconds=float(os.environ.get("BETTERAI_SOAK_SECONDS", "600")),
)


@dataclass
class Soak:
    """One run under way, and its figures; times in milliseconds."""

    server: RunningServer
    load: Load
    question: bytes
    turns: int = 0
    waits: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Hold the calls until the time is up, and look at the server's memory meanwhile."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self.load.seconds
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            sockets = [await stack.enter_async_context(connected(self.server.url)) for _ in range(self.load.calls)]
            calls = []
            for socket in sockets:
                calls.append(group.create_task(self._hold(socket, until)))
                # They do not all speak in one breath.
                await asyncio.sleep(min(0.1, self.load.seconds / 100))
            watcher = group.create_task(self._watch_memory())
            await asyncio.wait(calls)
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _hold(self, socket: Socket, until: float) -> None:
        caller = await call(socket, **CALL)
        while asyncio.get_running_loop().time() < until:
            await self._ask(socket, caller)
        await caller.do("finish")
        end = await socket.end_of(caller.stream)
        assert end["status"] == "completed", end

    async def _ask(self, socket: Socket, caller: Caller) -> None:
        """One question: its answer is heard once and whole."""
        heard = caller.heard
        sounded, ended = len(heard.sound), len(caller.told("turn.assistant_ended"))
        await caller.speak(self.question)
        speaking = asyncio.create_task(caller.speak(bytes(RATE * 2)))
        try:
            await socket.until(lambda: bool(caller.told("turn.user_ended")), "the end of the question")
            over = asyncio.get_running_loop().time()
            await socket.until(lambda: len(heard.sound) > sounded, "the first sound of the answer")
            self.waits.append((asyncio.get_running_loop().time() - over) * 1000)
            await socket.until(lambda: len(caller.told("turn.assistant_ended")) > ended, "the end of the answer")
        finally:
            await speaking
        told = caller.told("turn.assistant_ended")[-1]
        assert (told["status"], told["text"], told["heard"]) == ("completed", ANSWER, ANSWER_MS), told
        assert len(heard.sound) - sounded == ANSWER_MS * RATE * 2 // 1000
        # What was checked is forgotten, so that the client's memory is flat, too.
        heard.events.clear()
        heard.sound = b""
        self.turns += 1

    async def _watch_memory(self) -> None:
        process = psutil.Process(self.server.pid)
        while True:
            self.memory.append(process.memory_info().rss / MIB)
            await asyncio.sleep(self.load.seconds / 100)

    @property
    def thirds(self) -> tuple[float, float]:
        """Mean memory in the second and in the last third."""
        third = len(self.memory) // 3
        return fmean(self.memory[third : 2 * third]), fmean(self.memory[2 * third :])

    @property
    def figures(self) -> str:
        middle, last = self.thirds
        waits = sorted(self.waits)
        return (
            f"{self.load.calls} calls, {self.load.seconds:g} s: {self.turns} questions answered; from the end of a question "
            f"to the first sound p50 {waits[len(waits) // 2]:.1f} ms, p99 {waits[len(waits) * 99 // 100]:.1f} ms; "
            f"memory {self.memory[0]:.0f} MiB at first, {middle:.0f} in the second third, {last:.0f} in the last"
        )


async def soaked(folder: Path, load: Load) -> Soak:
    """Run a load against a server of its own."""
    # Ended streams are held for a while, and only what comes after that while can be flat.
    settings = {**CHAT, "plugins.enabled": ["chat", "tts", "audio", "realtime"], "bus.keep": load.seconds / 10}
    async with OpenAIEmulator() as vendor, DeepgramEmulator("word " * 70_000) as deepgram:
        vendor.otherwise = lambda _: Say(ANSWER)
        settings = {
            **settings,
            "vendors.deepgram.api_key": "dg-0123456789",
            "vendors.deepgram.base_url": deepgram.base_url,
        }
        with serving(folder / "server", settings, behind(vendor)) as server:
            question = await spoken(server.url, "Hello, how are you today?")
            soak = Soak(server, load, question)
            await soak.run()
            assert not server.errors
    return soak


async def test_every_question_is_answered_once_and_whole(tmp_path: Path) -> None:
    soak = await soaked(tmp_path, SHORT)
    assert soak.turns >= SHORT.calls


@pytest.mark.soak
@pytest.mark.timeout(LONG.seconds + 300)
async def test_fifty_calls_hold_memory_flat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soak = await soaked(tmp_path, LONG)
    with capsys.disabled():
        print(f"\n{soak.figures}")  # noqa: T201
    middle, last = soak.thirds
    assert last <= middle * GROWTH, soak.figures
