"""Names the plugin that blocks the event loop, with file and line, while it does; and takes it off the loop in the end."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType

from engine.loader.code import frames_of
from engine.log import get_logger

log = get_logger(__name__)

BEAT = 0.1
"""Seconds from one sign of life of the loop to the next, and from one look at it to the next."""

BLOCKED_AFTER = 0.5
"""Seconds without a sign of life after which the loop counts as blocked."""

INTERRUPTED_AFTER = 5.0
"""Seconds after which the plugin's code is interrupted by an exception, and each second again while that does not help."""

SIGNAL = signal.SIGUSR2


@dataclass(frozen=True, slots=True)
class Blocked:
    """Who blocks: the innermost place in the plugin's own code, and for how long so far, in seconds."""

    plugin: str
    file: str
    line: int
    function: str
    seconds: float


class LoopBlocked(Exception):
    """Raised within a plugin's code that held the event loop for too long."""


class BlockingWatch:
    """A thread that looks at the event loop from outside.

    `places` gives where the code of each plugin stands, `told` is called in the loop, once for each block, as soon as the
    loop is free. With `interrupt`, which needs the main thread, code that goes on blocking is interrupted.
    """

    def __init__(
        self, places: Callable[[], Mapping[str, str]], told: Callable[[Blocked], None], *, interrupt: bool = False
    ) -> None:
        self._places = places
        self._told = told
        self._interrupt = interrupt
        self._beat = 0.0
        self._over = threading.Event()
        self._aim: tuple[str, float] | None = None
        self._before: object = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, in the thread and the loop to look at."""
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        if self._interrupt:
            self._before = signal.signal(SIGNAL, self._on_signal)
        self._live()
        self._thread = threading.Thread(target=self._watch, name="blocking watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._over.set()
        self._thread.join()
        if self._interrupt:
            signal.signal(SIGNAL, self._before)  # type: ignore[arg-type]

    def _live(self) -> None:
        self._beat = time.monotonic()
        self._timer = self._loop.call_later(BEAT, self._live)

    # In the thread

    def _watch(self) -> None:
        suspect: tuple[float, FrameType] | None = None
        named = interrupted = 0.0
        while not self._over.wait(BEAT):
            beat, now = self._beat, time.monotonic()
            if now - beat < BLOCKED_AFTER:
                suspect = None
                continue
            seen = frames_of(sys._current_frames().get(self._watched), self._places())
            # The same call is seen twice: many short ones, a machine that slept or a collector's pause are no block.
            if seen is None or suspect != (beat, seen[2]):
                suspect = (beat, seen[2]) if seen is not None else None
                continue
            found = _blocked(seen[0], seen[1], now - beat)
            if named != beat:
                named, interrupted = beat, beat + INTERRUPTED_AFTER - 1.0
                self._name(found)
            if self._interrupt and now - interrupted >= 1.0:
                interrupted = now
                self._aim = found.plugin, beat
                signal.pthread_kill(self._watched, SIGNAL)

    def _name(self, found: Blocked) -> None:
        log.error(
            "loop_blocked",
            plugin=found.plugin,
            at=f"{found.file}:{found.line}",
            function=found.function,
            seconds=found.seconds,
        )
        # The loop may be closed by now: then nobody is left to be told.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._told, found)

    # In the watched thread, between two steps of whatever runs there

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        aim, self._aim = self._aim, None
        if aim is None or aim[1] != self._beat:
            return  # the block is over
        found = frames_of(frame, self._places())
        if found is not None and found[0] == aim[0]:
            raise LoopBlocked(f"the plugin {aim[0]!r} held the event loop for {time.monotonic() - aim[1]:.1f} s")


def _blocked(plugin: str, frame: FrameType, seconds: float) -> Blocked:
    return Blocked(plugin, frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name, round(seconds, 2))
