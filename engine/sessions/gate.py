"""The gate in front of every turn's start: a few turns begin in each turn of the event loop, and principals take turns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter

from engine.api.errors import Overloaded

FEWEST = 8
"""Turns that begin in one turn of the loop: to prepare one and to call its model is half a millisecond or two.

Fewer make short requests dearer, since the loop turns more often for them: with two each cost a quarter more.
"""

EACH = 0.005
"""Seconds of a turn of the loop for each of which one turn begins in the next: a busy loop turns seldom, and starts go on."""

MOST_AT_ONCE = 16

MOST_WAITING = 10_000


class Gate:
    """Lets those who wait pass in the order in which they came, one of each principal after another.

    `most` is how many may wait. Who comes while nobody waits passes at once, up to a few in one turn of the loop.
    """

    def __init__(self, most: int = MOST_WAITING, clock: Callable[[], float] = perf_counter) -> None:
        self.most = most
        self._clock = clock
        self._begun = 0.0
        """When this turn of the loop let its first one pass."""
        self._room = FEWEST
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}
        self._waiting = 0
        self._passed = 0
        """How many passed in this turn of the loop."""

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._waiting

    async def enter(self, principal: str) -> None:
        """Wait until it is the principal's turn; raises `Overloaded` where too many wait already."""
        if not self._lines and self._passed < self._room:
            self._pass()
            return
        if self._waiting >= self.most:
            raise Overloaded(
                "as many turns wait for their start as may; send this again in a moment",
                retry_after=1.0,
                limit=self.most,
                remaining=0,
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(principal, deque()).append(turn)
        self._waiting += 1
        try:
            await turn
        finally:
            self._waiting -= 1

    def _pass(self) -> None:
        if self._passed == 0:
            self._begun = self._clock()
            asyncio.get_running_loop().call_soon(self._next)
        self._passed += 1

    def _next(self) -> None:
        """A turn of the loop later: let the next few pass."""
        self._passed = 0
        self._room = max(FEWEST, min(MOST_AT_ONCE, int((self._clock() - self._begun) / EACH)))
        while self._lines and self._passed < self._room:
            principal = next(iter(self._lines))
            line = self._lines.pop(principal)
            turn = line.popleft()
            if line:
                self._lines[principal] = line  # behind the others
            if not turn.done():  # else who waited has left
                turn.set_result(None)
                self._pass()
