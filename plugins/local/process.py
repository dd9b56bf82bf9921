"""One run of the child program, from its order to its end."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from plugins.local.child import Order, Report

PROGRAM = Path(__file__).with_name("child.py")
TAIL_BYTES = 4096
SHOWN_LINES = 3


class LlamaProcess:
    """A running child. Whoever spawned it must `stop` it, also after it has ended by itself."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._tail = b""
        self._errors = asyncio.create_task(self._keep_errors(), name="local_model_stderr")

    @classmethod
    async def spawn(cls, order: Order) -> LlamaProcess:
        """Start the program in a process group of its own, so that Ctrl-C in a terminal reaches the server alone."""
        pipe = asyncio.subprocess.PIPE
        # -P keeps the folder of the program, whose names are common ones, out of the child's import path.
        command = (sys.executable, "-P", str(PROGRAM))
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(order).encode() + b"\n")
        return cls(process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def reports(self) -> AsyncIterator[Report]:
        """What the child says of itself, until it ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            yield json.loads(line)

    async def ended(self) -> str:
        """Wait for the end and tell how it came, with the last lines that it wrote to standard error."""
        code = await self._process.wait()
        await self._errors
        how = f"exit status {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        last = self._tail.decode(errors="replace").strip().splitlines()[-SHOWN_LINES:]
        return f"{how}: {'; '.join(last)}" if last else how

    async def stop(self, grace: float) -> None:
        """End the process and reap it: politely, and by force after `grace` seconds or when this call is cancelled."""
        try:
            self._send(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._process.wait()
        finally:
            self._send(signal.SIGKILL)
            await self._process.wait()
            await self._errors

    def _send(self, sign: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(sign)

    async def _keep_errors(self) -> None:
        assert self._process.stderr is not None
        while piece := await self._process.stderr.read(TAIL_BYTES):
            self._tail = (self._tail + piece)[-TAIL_BYTES:]
