"""Programs that speak run a few at a time, whoever asks, and end when nobody waits for them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from engine.api import ProviderError, Voice
from plugins.tts.programs import AT_ONCE, ProgramVoices

VOICE = Voice(id="test", name="test", languages=("en",))

SPEAKER = """
import pathlib, sys, time, wave
folder, sound = pathlib.Path(sys.argv[1]), sys.argv[2]
mine = folder / f"running-{time.monotonic_ns()}"
mine.touch()
with open(folder / "counts", "a") as counts:
    counts.write(f"{len(list(folder.glob('running-*')))}\\n")
time.sleep(0.05)
mine.unlink()
with wave.open(sound, "wb") as file:
    file.setnchannels(1), file.setsampwidth(2), file.setframerate(8_000)
    file.writeframes(bytes(1_600))
"""

WAITER = """
import os, pathlib, sys
pathlib.Path(sys.argv[1], "pid").write_text(str(os.getpid()))
os.read(os.pipe()[0], 1)
"""


def program(script: str, folder: Path) -> ProgramVoices:
    def command(voice: str, speed: float, text: str, sound: str) -> Sequence[str]:
        return [sys.executable, "-c", script, str(folder), sound]

    return ProgramVoices("test", command, (VOICE,))


async def seconds(voices: ProgramVoices) -> float:
    async with aclosing(voices.speak(VOICE, 1.0, "Hello.")) as sounds:  # type: ignore[type-var]
        return sum([sound.seconds async for sound in sounds])


async def test_many_speeches_run_a_few_programs_at_a_time(tmp_path: Path) -> None:
    voices = program(SPEAKER, tmp_path)
    spoken = await asyncio.gather(*(seconds(voices) for _ in range(3 * AT_ONCE)))
    counts = list(map(int, (tmp_path / "counts").read_text().split()))
    assert spoken == pytest.approx([0.1] * 3 * AT_ONCE)
    assert len(counts) == 3 * AT_ONCE and max(counts) <= AT_ONCE


async def test_a_program_that_nobody_waits_for_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    os.mkfifo(pid)
    speaking = asyncio.create_task(seconds(program(WAITER, tmp_path)))
    told = await asyncio.wait_for(asyncio.to_thread(pid.read_text), 20)
    descriptor, ended = os.pidfd_open(int(told)), asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    speaking.cancel()
    await asyncio.wait_for(ended.wait(), 20)
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)
    assert speaking.cancelled() or speaking.cancelling()


async def test_a_program_that_fails_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProviderError, match="test ended with status 3 and no sound"):
        await seconds(program("raise SystemExit(3)", tmp_path))
