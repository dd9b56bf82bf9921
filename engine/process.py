"""What a server asks of its process: open files, the garbage collector, and the signals that end it."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import math
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from engine.guard import by_statement, raised_at
from engine.loader.code import Ownership, place_of
from engine.log import get_logger

log = get_logger(__name__)


def calm_the_collector() -> None:
    """Let the garbage collector leave alone what lives as long as the process, and look at the rest less often.

    As shipped it looks at everything each few thousand allocations, which at thousands of streams is most of the pauses. Of
    what is new it looks at 20,000 objects at a time, and at 100,000 of those that stayed: some 40 ms, in which nothing else
    runs. With more at a time, large bodies that are worked on made it half a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 5, 600)


def hurry_the_threads() -> None:
    """Have a thread that works give the event loop its turn ten times sooner than the interpreter's own 5 ms.

    A commit or a read in a database's thread is a millisecond of Python; while it lasts every stream would wait.
    """
    sys.setswitchinterval(0.0005)


def raise_file_limit() -> None:
    """Let this process open as many sockets as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class LoopLag:
    """Looks four times a second at how late the event loop is."""

    EVERY = 0.25

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        self._arm()

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self.EVERY
        self._timer = loop.call_at(self._due, self._look)

    def _look(self) -> None:
        self._observe(max(0.0, asyncio.get_running_loop().time() - self._due))
        self._arm()


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * resource.getpagesize()


def _malloc_trim() -> Callable[[], object] | None:
    """What has glibc give its free memory back to the system; None with another C library."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None
    return partial(trim, 0)


class Collector:
    """Looks for garbage that is a ring, in everything since the start, where that is quick or there is much to look at.

    The interpreter's own rule looks at everything only after many more allocations: never, on a server that is calm.
    """

    FEW = 100_000
    """Objects that are looked at in some fifty milliseconds, in which nothing else runs."""

    MANY = 500_000
    """Objects more than the last look left, for which a longer pause is worth it: about 100 MB."""

    def __init__(
        self, count: Callable[[], int] = lambda: len(gc.get_objects()), collect: Callable[[], object] = gc.collect
    ) -> None:
        self._count = count
        self._collect = collect
        self._left = 0

    def collect(self) -> bool:
        """Look now, unless that takes long and promises little; says whether it did."""
        if self.FEW < self._count() < self._left + self.MANY:
            return False
        self._collect()
        self._left = self._count()
        return True


class Trimming:
    """Looks every few seconds whether the process has grown, or large bodies have gone, and then has the C library give
    back what is free. Once no more bodies come it has the garbage collector look at what they left.

    glibc keeps freed memory in a heap for each thread, and what lies under a block in use for good.
    """

    EVERY = 5.0

    MUCH = 1 << 20
    """Bytes of large bodies and frames after which free memory is worth looking for."""

    GROWN = 32 << 20
    """Bytes above the last look after which free memory is worth looking for, and of a find after which to look again."""

    def __init__(
        self,
        trim: Callable[[], object] | None = None,
        resident: Callable[[], int] = resident_bytes,
        collector: Collector | None = None,
    ) -> None:
        self._trim = trim or _malloc_trim()
        self._resident = resident
        self._collector = collector or Collector()
        self._low = 0
        self._gone = 0
        self._littered = self._asked = self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        self._low = self._resident()
        self._arm()

    async def settled(self) -> None:
        """Wait until memory that is given back at this moment has been."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        await self.settled()

    def gone(self, count: int) -> None:
        """So many bytes of a large body, or of a large frame, are no longer needed, or soon will not be."""
        self._gone += count

    def _arm(self) -> None:
        if not self._stopped:
            self._timer = asyncio.get_running_loop().call_later(self.EVERY, self._look)

    def _look(self) -> None:
        now = self._resident()
        gone, self._gone = self._gone, 0
        if gone >= self.MUCH:
            self._littered = self._asked = True
        elif self._littered:
            # Not while bodies come: those that are worked on would be looked at, too.
            self._littered = False
            self._asked |= self._collector.collect()
        grown = now > self._low + self.GROWN
        self._littered |= grown
        if self._trim is not None and (self._asked or grown):
            self._asked = False
            # In a thread: it takes a lock of each heap in turn, for as long as its pages are walked.
            self._task = asyncio.create_task(self._give_back(), name="giving memory back")
        else:
            self._low = min(self._low, now)
            self._arm()

    async def _give_back(self) -> None:
        assert self._trim is not None
        before = self._resident()
        await asyncio.to_thread(self._trim)
        self._low = self._resident()
        self._asked = self._asked or before - self._low > self.GROWN
        self._arm()


class StopSignals:
    """SIGTERM and SIGINT as events: the first asks to `stop`, a second to `hurry`; SIGHUP asks to `reload`.

    `stopping` and `hurrying` are called at once with the first and each further one.
    """

    def __init__(self, stopping: Callable[[], None] | None = None, hurrying: Callable[[], None] | None = None) -> None:
        self._stopping = stopping
        self._hurrying = hurrying
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self.reload = asyncio.Event()

    def listen(self) -> None:
        """Take the signals of this process from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def _signalled(self) -> None:
        again = self.stop.is_set()
        (self.hurry if again else self.stop).set()
        called = self._hurrying if again else self._stopping
        if called is not None:
            called()


class LastWord:
    """Ends the process where its stop takes longer than it may, and says what it waited for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ends = math.inf
        self._status = 0
        self._sooner = threading.Event()
        self._thread: threading.Thread | None = None

    def within(self, seconds: float, status: int = 70) -> None:
        """End the process in so many seconds with an exit status, unless it has ended by then.

        The earliest end that was asked for holds.
        """
        self._status = status
        self._ends = min(self._ends, time.monotonic() + seconds)
        self._sooner.set()
        if self._thread is None:
            # Not awaited by the interpreter's own end, for which it waits, too.
            self._thread = threading.Thread(target=self._wait, name="last word", daemon=True)
            self._thread.start()

    def _wait(self) -> None:
        while (left := self._ends - time.monotonic()) > 0:
            self._sooner.clear()
            self._sooner.wait(left)
        log.critical("stop_forced", waiting=self._waiting()[:20])
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(self._status)

    def _waiting(self) -> list[str]:
        """Tasks and threads that are left, each with its place."""
        try:
            tasks = [f"task {task.get_name()}: {place_of(task)}" for task in asyncio.all_tasks(self._loop)]
        except RuntimeError:  # the set of tasks changed under this thread
            tasks = ["tasks that come and go"]
        threads = [f"thread {each.name}" for each in threading.enumerate() if not each.daemon]
        return [*sorted(tasks), *sorted(threads)]


class Blame:
    """Finds the plugin that an error came from, once there is a server whose plugins are known."""

    def __init__(self) -> None:
        self.owners: Callable[[], Ownership] | None = None

    def of(self, error: BaseException) -> str | None:
        """The plugin of the innermost frame that is a plugin's; several where it cannot be told, None where it is nobody's."""
        owners = self.owners() if self.owners is not None else None
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        for frame in reversed(frames):
            if owners is not None and (found := owners.owners(frame.f_code)):
                return ",".join(sorted(found))
        return None


def run_to_end(
    work: Coroutine[Any, Any, Any],
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    blame: Blame | None = None,
) -> Any:
    """Run as `asyncio.run` does; an exit that foreign code asks for in a task or callback of its own ends that alone.

    So does an interrupt that a statement raised: Ctrl-C is a signal, and arrives wherever the program is.
    """
    blame = blame or Blame()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        loop = runner.get_loop()
        main = loop.create_task(work)
        while True:
            try:
                return loop.run_until_complete(main)
            except (SystemExit, KeyboardInterrupt) as error:
                if main.done() or (isinstance(error, KeyboardInterrupt) and not by_statement(error)):
                    raise
                status = str(error.code) if isinstance(error, SystemExit) else "interrupt"
                log.error("exit_refused", plugin=blame.of(error), status=status, at=raised_at(error))


async def done_before(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, and say whether it was done; it is cancelled when the event comes before."""
    working, waiting = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if working.done():
        await working
        return True
    working.cancel()
    try:
        await working
    except asyncio.CancelledError:
        return False
    return True
