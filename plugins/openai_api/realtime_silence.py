"""Silence after an answer, in sessions whose client set `idle_timeout_ms`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from engine.api import AssistantEnded, AssistantStarted, Event, UserStarted


class Silence:
    """Calls `tell` once nobody has spoken for `after` seconds since the sound of an answer ended.

    `tell` is given where in the client's audio the silence began, in milliseconds. It is called once until somebody says
    something: a line that was left open is not asked for ever.
    """

    def __init__(self, tell: Callable[[int], Awaitable[None]]) -> None:
        self.after: float | None = None
        self._tell = tell
        self._told_once = False
        self._timer: asyncio.TimerHandle | None = None
        self._telling: asyncio.Task[None] | None = None

    def watch(self, event: Event, at: int) -> None:
        """An event of the call, when this much audio had come."""
        match event:
            case UserStarted():
                self.broken()
            case AssistantStarted():
                self._cancel()
            case AssistantEnded(status="completed") if self.after is not None and not self._told_once:
                self._cancel()
                self._timer = asyncio.get_running_loop().call_later(self.after, self._fire, at)
            case _:
                pass

    def broken(self) -> None:
        """Somebody says something, aloud or in writing."""
        self._told_once = False
        self._cancel()

    def _fire(self, since: int) -> None:
        self._timer, self._told_once = None, True
        self._telling = asyncio.create_task(self._told(since), name="silence in a session")

    async def _told(self, since: int) -> None:
        await self._tell(since)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def close(self) -> None:
        """The session is over."""
        self._cancel()
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)
