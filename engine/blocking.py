"""Names the plugin that blocks the event loop, with file and line, while it does; and takes it off the loop in the end."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Literal

from engine.loader.code import ENGINE, Ownership, Running
from engine.log import get_logger
from engine.request_size import REQUEST_SIZE

log = get_logger(__name__)

BEAT = 0.1
"""Seconds from one sign of life of the loop to the next, and from one look at it to the next."""

BLOCKED_AFTER = 0.5
"""Seconds without a sign of life after which the loop counts as blocked."""

STARTING_AFTER = 5.0
"""The same while the server starts and serves nobody: imports and models take their time then."""

INTERRUPTED_AFTER = 5.0
"""Seconds after which a plugin's code is interrupted by an exception, and each second again while that does not help."""

ENDLESS_AFTER = 60.0
"""The same for code that is shipped with the engine, and for all during the start: such code then blocks without end."""

WAITING_SHARE = 0.3
"""A block that spent less of its time than this on the processor, or in the queue for it, waited for something."""

SIGNAL = signal.SIGUSR2

OF_THE_ENGINE = "engine"
"""Who is named for a block in the engine's own code."""

Cause = Literal["wait", "compute", "library", "import"]
"""What the time went into: a call that waits, the plugin's computing, that of a library which it called, an import."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """One block that is over: who, where it was seen first, what the time went into, and its full length in seconds."""

    plugin: str
    file: str
    line: int
    function: str
    seconds: float
    cause: Cause
    request_size: int = 0
    """Bytes of the request that was served, where it is known."""

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"


class LoopBlocked(Exception):
    """Raised within a plugin's code that held the event loop for too long."""


@dataclass(slots=True)
class _Block:
    """A block that lasts: `beat` was the loop's last sign of life, `used` what `_busy` said of its thread then."""

    beat: float
    used: float
    plugin: str
    file: str
    line: int
    function: str
    importing: bool
    library: bool
    interrupted: float = 0.0
    request_size: int = 0

    def over(self, now: float, used: float) -> Blocked:
        seconds = now - self.beat
        waited = used - self.used < WAITING_SHARE * seconds
        cause: Cause = "import" if self.importing else "wait" if waited else "library" if self.library else "compute"
        return Blocked(self.plugin, self.file, self.line, self.function, round(seconds, 2), cause, self.request_size)


@dataclass(frozen=True, slots=True)
class _Order:
    """What the watched thread is asked to do about a block."""

    block: _Block
    interrupt: bool


@dataclass(slots=True)
class _Sighting:
    beat: float
    entered: FrameType
    found: Running | None = field(default=None)


class BlockingWatch:
    """A thread that looks at the event loop from outside.

    `owners` gives which plugin's a piece of code is, `own` the plugins that are shipped with the engine. `over` is called in
    the loop for each block, once it is over. With `interrupt`, which needs the main thread, code that goes on blocking is
    interrupted, but never in the middle of an import.
    """

    def __init__(
        self,
        owners: Callable[[], Ownership],
        own: Callable[[], Collection[str]],
        over: Callable[[Blocked], None],
        *,
        interrupt: bool = False,
    ) -> None:
        self._owners = owners
        self._own = own
        self._over = over
        self._interrupt = interrupt
        self._after = STARTING_AFTER
        self._beat = 0.0
        self._ended = threading.Event()
        self._block: _Block | None = None
        self._order: _Order | None = None
        self._before: object = None
        self._timer: asyncio.TimerHandle | None = None
        self._idle: frozenset[CodeType] = frozenset()

    def start(self) -> None:
        """Begin, in the thread and the loop to look at; until `serving` nobody is named for less than a slow start."""
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._watched_natively = threading.get_native_id()
        if self._interrupt:
            self._before = signal.signal(SIGNAL, self._on_signal)
        self._live()
        self._loop.call_soon(self._learn)
        self._thread = threading.Thread(target=self._watch, name="blocking watch", daemon=True)
        self._thread.start()

    def serving(self) -> None:
        """The start is over: from here on a block keeps clients waiting."""
        self._after = BLOCKED_AFTER

    def stop(self) -> None:
        """Look no more."""
        if self._timer is None:
            return
        self._timer.cancel()
        self._timer = None
        self._ended.set()
        self._thread.join()
        if self._interrupt:
            signal.signal(SIGNAL, self._before)  # type: ignore[arg-type]

    # In the loop

    def _live(self) -> None:
        now = time.monotonic()
        block, self._block = self._block, None
        if block is not None and block.beat == self._beat:
            self._tell(block.over(now, _busy(self._watched, self._watched_natively)))
        self._beat = now
        self._timer = self._loop.call_later(BEAT, self._live)

    def _learn(self) -> None:
        """Remember what is on the stack outside of every callback."""
        self._idle = frozenset(_outer_codes(sys._getframe().f_back))

    def _tell(self, block: Blocked) -> None:
        try:
            self._over(block)
        except Exception:
            log.exception("loop_block_not_counted", plugin=block.plugin)

    # In the thread

    def _watch(self) -> None:
        last: _Sighting | None = None
        begun, used = 0.0, 0.0
        while not self._ended.wait(BEAT):
            beat, now = self._beat, time.monotonic()
            if beat != begun:
                begun, used = beat, _busy(self._watched, self._watched_natively)
            if now - beat < self._after:
                last = None
                continue
            seen = self._look(beat)
            # The same call is seen twice: many short ones, a machine that slept or a collector's pause are no block.
            same = seen is not None and last is not None and (seen.beat, seen.entered) == (last.beat, last.entered)
            last = seen
            if seen is None or not same or self._beat != beat:
                continue
            block = self._block
            if block is None or block.beat != beat:
                block = self._block = self._named(seen, beat, used, now)
            if seen.found is not None:
                block.importing = block.importing or seen.found.importing
                self._consider_interrupt(block, seen.found, now)

    def _look(self, beat: float) -> _Sighting | None:
        frame = sys._current_frames().get(self._watched)
        found = self._owners().running(frame)
        if found is not None:
            return _Sighting(beat, found.entered, found)
        entered = _entered(frame, self._idle)
        return _Sighting(beat, entered) if entered is not None else None

    def _named(self, seen: _Sighting, beat: float, used: float, now: float) -> _Block:
        found = seen.found
        frame = found.frame if found is not None else self._of_the_engine(seen.entered)
        block = _Block(
            beat=beat,
            used=used,
            plugin=found.plugin if found is not None else OF_THE_ENGINE,
            file=frame.f_code.co_filename,
            line=frame.f_lineno,
            function=frame.f_code.co_qualname,
            importing=found is not None and found.importing,
            library=found is not None and found.library,
        )
        log.error(
            "loop_blocked",
            plugin=block.plugin,
            at=f"{block.file}:{block.line}",
            function=block.function,
            seconds=round(now - beat, 2),
        )
        if self._interrupt:
            self._send(_Order(block, interrupt=False))
        return block

    def _of_the_engine(self, entered: FrameType) -> FrameType:
        """The innermost frame of the engine's own code within a callback, or its innermost of all."""
        innermost = frame = sys._current_frames().get(self._watched)
        while frame is not None and frame is not entered:
            if frame.f_code.co_filename.startswith(ENGINE):
                return frame
            frame = frame.f_back
        return innermost or entered

    def _consider_interrupt(self, block: _Block, found: Running, now: float) -> None:
        if not self._interrupt or found.importing or now - block.interrupted < 1.0:
            return
        endless = self._after == STARTING_AFTER or found.plugin in self._own()
        if now - block.beat >= (ENDLESS_AFTER if endless else INTERRUPTED_AFTER):
            block.interrupted = now
            self._send(_Order(block, interrupt=True))

    def _send(self, order: _Order) -> None:
        self._order = order
        signal.pthread_kill(self._watched, SIGNAL)

    # In the watched thread, between two steps of whatever runs there

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        order, self._order = self._order, None
        if order is None or order.block.beat != self._beat:
            return  # the block is over
        block = order.block
        if not order.interrupt:
            block.request_size = REQUEST_SIZE.get()
            return
        found = self._owners().running(frame)
        if found is not None and found.plugin == block.plugin and not found.importing:
            seconds = time.monotonic() - block.beat
            raise LoopBlocked(f"the plugin {block.plugin!r} held the event loop for {seconds:.1f} s")


def _busy(thread: int, native: int) -> float:
    """Seconds that a thread was on the processor, and where the system tells it, in the queue for it.

    On a machine that is busy otherwise, code that computes waits in this queue for most of its time.
    """
    try:
        on, queued, _ = Path(f"/proc/self/task/{native}/schedstat").read_text(encoding="ascii").split()
        return (int(on) + int(queued)) / 1e9
    except (OSError, ValueError):
        clock = getattr(time, "pthread_getcpuclockid", None)
        return float(time.clock_gettime(clock(thread))) if clock is not None else 0.0


def _outer_codes(frame: FrameType | None) -> list[CodeType]:
    """The code that runs the loop: what is on the stack outside of every callback."""
    codes = []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    return codes


def _entered(frame: FrameType | None, idle: Collection[CodeType]) -> FrameType | None:
    """The outermost frame of the callback that runs; None while the loop waits."""
    entered = None
    while frame is not None and frame.f_code not in idle:
        entered = frame
        frame = frame.f_back
    return entered
