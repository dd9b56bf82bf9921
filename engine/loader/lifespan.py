"""What a plugin keeps open while it is on: entered and left in one task of its own, each within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from engine.guard import Contained
from engine.log import get_logger

log = get_logger(__name__)

TOLD_EVERY = 5.0
"""Seconds after which the log says who is waited for, again and again."""

CLOSED_WITHIN = 5.0
"""Seconds that a plugin has to close what it kept open."""

LET_GO_WITHIN = 2.0
"""Seconds that its task has to end once it was cancelled; then it is left behind."""

Context = AbstractAsyncContextManager[None]


class OpenedTooLate(Exception):
    """Raised when a plugin does not open in its time; the message says at which place it waits."""


class Lifespan:
    """The contexts of one plugin. Whatever they do, `open` and `close` return in time."""

    def __init__(self, plugin: str, contexts: Iterable[Context]) -> None:
        self._plugin = plugin
        self._contexts = contexts
        self._at: Context | None = None
        self._ending = asyncio.Event()
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    async def open(self, seconds: float) -> None:
        """Enter the contexts, in order; raises what they raise, or `OpenedTooLate`."""
        self._task = asyncio.create_task(self._run(), name=f"lifespan of {self._plugin}")
        try:
            if not await self._waited(self._opened, seconds, "plugin_opens_slowly"):
                raise OpenedTooLate(
                    f"it was not open within {seconds:g} s{f' at {self._place}' if self._place else ''}"
                )
            await self._opened
        except BaseException:
            await self._let_go()
            raise

    async def close(self, seconds: float = CLOSED_WITHIN) -> None:
        """Leave the contexts, in reverse. What they raise is logged, and so is one that is not left in time."""
        if self._task is None:
            return
        self._ending.set()
        if not await self._waited(self._task, seconds, "plugin_closes_slowly"):
            log.error("plugin_did_not_close", plugin=self._plugin, seconds=seconds, at=self._place or None)
            await self._let_go()

    async def _run(self) -> None:
        try:
            with Contained(f"the lifespan of plugin {self._plugin!r}"):
                await self._hold()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not self._opened.done():
                self._opened.set_exception(error)
            else:
                log.exception("plugin_did_not_close", plugin=self._plugin)

    async def _hold(self) -> None:
        stack = AsyncExitStack()
        try:
            for context in self._contexts:
                self._at = context
                await stack.enter_async_context(context)
            self._opened.set_result(None)
            await self._ending.wait()
        finally:
            # Without the error: a context that was entered closes as at the end, whatever another one raised.
            await stack.aclose()

    async def _waited(self, future: asyncio.Future[None], seconds: float, event: str) -> bool:
        """Whether it is done in time. The log says who is waited for."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while (left := begun + seconds - loop.time()) > 0:
            done, _ = await asyncio.wait((future,), timeout=min(left, TOLD_EVERY))
            if done:
                return True
            waited = round(loop.time() - begun, 1)
            log.warning(event, plugin=self._plugin, seconds=waited, of=seconds, at=self._place or None)
        return future.done()

    async def _let_go(self) -> None:
        """Cancel the task, and leave it behind where it does not end."""
        if self._task is None or self._task.done():
            return
        self._task.cancel()
        await asyncio.wait((self._task,), timeout=LET_GO_WITHIN)
        if not self._task.done():
            log.error("plugin_ignores_cancel", plugin=self._plugin, at=self._place or None)

    @property
    def _place(self) -> str:
        """Where the last context stands that was entered, as far as it can be seen."""
        frame = getattr(getattr(self._at, "gen", None), "ag_frame", None)
        return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
