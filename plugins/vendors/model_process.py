"""A process that holds a model of this machine and serves many at once over its pipes.

It starts at the first use, ends after some minutes without one, and is replaced when it has died: what it was asked then
fails with `ProcessEnded`, which a caller that still has its input may take for a reason to ask again.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any, Final

import structlog

from engine.api import EngineError, Health, ModelUnavailable, ProviderUnavailable
from plugins.vendors.model_frames import (
    DATA,
    END,
    FAILED,
    HEAD,
    LEFT,
    LONGEST,
    OPEN,
    ORDER,
    PROCESS,
    READY,
    REFUSED,
    frame,
)

log = structlog.get_logger(__name__)

IDLE = 600.0
"""Seconds without an exchange after which the process ends and its memory comes back."""

COOL_DOWN = 300.0
"""Seconds for which a model that could not be loaded is not tried again."""

LOADING = 60.0
"""Seconds in which a process must be ready."""

MOST_WAITING = 4 << 20
"""Bytes that may wait for the process; a machine that far behind serves nobody more."""

ANSWERS = 1_024
"""Frames of an exchange that may wait for their reader; one that is further behind ends with `ProviderUnavailable`."""


class ProcessEnded(ProviderUnavailable):
    """The process died while it was asked."""


class ModelProcess:
    """One program and its exchanges. `module` is run with `-m`; `order` says what it loads."""

    def __init__(self, module: str, title: str, order: Mapping[str, Any], *, idle: float = IDLE) -> None:
        self.title: Final = title
        self._module = module
        self._order = order
        self._idle_after = idle
        self._running: _Running | None = None
        self._starting = asyncio.Lock()
        self._refused: tuple[float, str] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self.description: Mapping[str, Any] = {}
        """What the process said of its model when it was last loaded."""

    @property
    def name(self) -> str:
        """What the process calls its model, or what it is expected to be."""
        return str(self.description.get("name", self.title))

    @property
    def refusal(self) -> str | None:
        """Why the model could not be loaded a short while ago; None where it may be tried."""
        if self._refused is None or monotonic() >= self._refused[0]:
            return None
        return self._refused[1]

    async def open(self, wanted: Mapping[str, Any]) -> Exchange:
        """Begin an exchange, and the process where there is none.

        Raises `ModelUnavailable` where the model cannot be loaded, `ProcessEnded` where the process dies meanwhile.
        """
        async with self._starting:
            if self._running is None or self._running.over:
                self._running = await self._start()
            self._stay()
            return self._running.open(wanted)

    async def warm(self) -> None:
        """Load the model, so that the first exchange does not wait for it; what fails is said to whoever asks."""
        try:
            (await self.open({"warm": True})).close()
        except EngineError as error:
            log.warning("model_process_not_ready", model=self.title, reason=error.message)

    def health(self) -> Health:
        """One line of `/health/ready`."""
        running = self._running
        if running is not None and not running.over:
            return Health("ok", f"{self.name}, process {running.pid} of {_resident(running.pid)} MB")
        if (refusal := self.refusal) is not None:
            return Health("degraded", refusal)
        return Health("ok", f"{self.title}, loaded at its first use")

    async def aclose(self) -> None:
        """End the process; its exchanges fail."""
        self._rest()
        running, self._running = self._running, None
        if running is not None:
            await running.stop()
        await asyncio.gather(*self._ending, return_exceptions=True)

    async def _start(self) -> _Running:
        if self._refused is not None and (reason := self.refusal) is not None:
            wait = round(self._refused[0] - monotonic(), 1)
            raise ModelUnavailable(reason, retryable=True, retry_after=wait)
        self._refused = None
        old, self._running = self._running, None
        if old is not None:
            await old.stop()
        # -P keeps the working directory, which may hold a folder of the same name, out of the import path.
        command = (sys.executable, "-P", "-m", self._module)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
        )
        running = _Running(process, self.title, on_idle=self._rest_later)
        try:
            async with asyncio.timeout(LOADING):
                await running.load({**self._order, "parent": os.getpid()})
        except TimeoutError:
            await running.stop()
            raise self._refuse(f"{self.title} was not loaded within {LOADING:.0f} seconds.") from None
        except ModelUnavailable as error:
            await running.stop()
            raise self._refuse(error.message) from None
        except BaseException:
            await running.stop()
            raise
        self.description = running.description
        log.info("model_process_ready", model=self.name, pid=running.pid)
        return running

    def _refuse(self, reason: str) -> ModelUnavailable:
        log.error("model_process_refused", model=self.title, reason=reason)
        self._refused = (monotonic() + COOL_DOWN, reason)
        return ModelUnavailable(reason, retryable=True, retry_after=COOL_DOWN)

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _rest_later(self) -> None:
        self._stay()
        self._idle = asyncio.get_running_loop().call_later(self._idle_after, self._rest)

    def _rest(self) -> None:
        self._stay()
        running = self._running
        if running is None or running.busy:
            return
        self._running = None
        task = asyncio.create_task(running.stop(), name=f"end of {self.title}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class _Running:
    """One process from its start to its end."""

    def __init__(self, process: Process, title: str, on_idle: Callable[[], None]) -> None:
        self._process = process
        self._on_idle = on_idle
        self._numbers = count(1)
        self._exchanges: dict[int, Exchange] = {}
        self._loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.title = title
        self.description: Mapping[str, Any] = {}
        self.over = False
        self._reading = asyncio.create_task(self._read(), name=f"answers of {title}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def busy(self) -> bool:
        return bool(self._exchanges)

    async def load(self, order: Mapping[str, Any]) -> None:
        self.write(PROCESS, ORDER, json.dumps(order).encode())
        await asyncio.shield(self._loaded)

    def open(self, wanted: Mapping[str, Any]) -> Exchange:
        exchange = Exchange(self, next(self._numbers))
        self._exchanges[exchange.number] = exchange
        self.write(exchange.number, OPEN, json.dumps(wanted).encode())
        return exchange

    def write(self, number: int, kind: int, payload: bytes = b"") -> None:
        """Raises `ProcessEnded` where the process is gone, `ProviderUnavailable` where it is far behind."""
        stdin = self._process.stdin
        assert stdin is not None
        if self.over or self._process.returncode is not None or stdin.is_closing():
            raise ProcessEnded(f"The process of {self.title} ended.")
        if stdin.transport.get_write_buffer_size() > MOST_WAITING:
            raise ProviderUnavailable(f"This machine is too slow for so much at once: {self.title} is far behind.")
        stdin.write(frame(number, kind, payload))

    async def drain(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            await stdin.drain()
        except ConnectionError:
            raise ProcessEnded(f"The process of {self.title} ended.") from None

    def leave(self, exchange: Exchange) -> None:
        if self._exchanges.pop(exchange.number, None) is None:
            return
        if not self.over:
            try:
                self.write(exchange.number, LEFT)
            except ProviderUnavailable:
                # It ends, or is so far behind that it must.
                self._kill()
        if not self._exchanges:
            self._on_idle()

    async def stop(self) -> None:
        self._kill()
        self._reading.cancel()
        await asyncio.gather(self._reading, self._process.wait(), return_exceptions=True)
        self._end()

    def _kill(self) -> None:
        if self._process.returncode is None:
            try:
                self._process.send_signal(signal.SIGKILL)
            except ProcessLookupError:
                pass

    async def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        try:
            while True:
                number, kind, size = HEAD.unpack(await stdout.readexactly(HEAD.size))
                if size > LONGEST:
                    return
                payload = await stdout.readexactly(size)
                if number == PROCESS:
                    self._state(kind, payload)
                elif (exchange := self._exchanges.get(number)) is not None:
                    exchange.came(kind, payload)
        except asyncio.IncompleteReadError:
            pass
        finally:
            self._kill()
            self._end()

    def _state(self, kind: int, payload: bytes) -> None:
        if self._loaded.done():
            return
        if kind == READY:
            self.description = json.loads(payload)
            self._loaded.set_result(None)
        elif kind == REFUSED:
            self._loaded.set_exception(ModelUnavailable(payload.decode(errors="replace")))

    def _end(self) -> None:
        if self.over:
            return
        self.over = True
        if not self._loaded.done():
            self._loaded.set_exception(ProcessEnded(f"The process of {self.title} ended before it was ready."))
            self._loaded.exception()
        for exchange in list(self._exchanges.values()):
            exchange.lose(ProcessEnded(f"The process of {self.title} ended."))


class Exchange:
    """One request to the process, and what comes back."""

    def __init__(self, running: _Running, number: int) -> None:
        self.number = number
        self._running = running
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._came = asyncio.Event()
        self._lost: ProviderUnavailable | None = None

    async def send(self, data: bytes) -> None:
        """More input; waits while the pipe is full."""
        self._running.write(self.number, DATA, data)
        await self._running.drain()

    async def finish(self) -> None:
        """No more input comes."""
        self._running.write(self.number, END)
        await self._running.drain()

    async def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        """Frames up to the end; raises `ProcessEnded` where the process dies, `ProviderUnavailable` with its reason."""
        while True:
            while self._waiting:
                kind, payload = self._waiting.popleft()
                if kind == END:
                    return
                if kind == FAILED:
                    raise ProviderUnavailable(payload.decode(errors="replace"))
                yield kind, payload
            if self._lost is not None:
                raise self._lost
            self._came.clear()
            await self._came.wait()

    def close(self) -> None:
        """Wait for no more."""
        self._running.leave(self)
        self._waiting.clear()

    def came(self, kind: int, payload: bytes) -> None:
        """A frame of the process."""
        if len(self._waiting) >= ANSWERS:
            self._running.leave(self)
            self.lose(ProviderUnavailable("What the model said was not read for too long."))
            return
        self._waiting.append((kind, payload))
        self._came.set()

    def lose(self, error: ProviderUnavailable) -> None:
        """The process is gone, or this exchange."""
        self._lost = error
        self._came.set()


def _resident(pid: int) -> int:
    """Megabytes that a process holds; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000
