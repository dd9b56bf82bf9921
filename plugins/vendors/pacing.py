"""How long the answers of all vendors are decoded in one turn of the event loop: they share one budget."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

TURN = 0.002
"""Seconds for which answers are decoded in one turn of the loop, all of them together."""

_MARK = TURN / 4


class Pace:
    """The budget of one event loop. What goes beyond it stands in line, and is taken in the next turns in order.

    The line holds each open answer once at most, so that the bound on open turns is its bound.
    """

    __slots__ = ("__weakref__", "_line", "_loop", "_marked", "_serving", "spent")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._line: deque[Callable[[], None]] = deque()
        self._marked = self._serving = False
        self.spent = 0.0
        """Seconds of this turn of the loop."""

    @property
    def is_free(self) -> bool:
        """Whether nobody waits and this turn has time left."""
        return not self._line and self.spent < TURN

    def spend(self, seconds: float) -> None:
        """Note time that decoding took. Turns that take little are not told apart, which costs a callback each."""
        self.spent += seconds
        if self.spent > _MARK and not self._marked:
            self._marked = True
            self._loop.call_soon(self._next_turn)

    def line_up(self, go: Callable[[], None]) -> None:
        """Call `go` in one of the next turns. It takes one piece, and lines up again for the rest where others wait."""
        self._line.append(go)
        if not self._serving:
            self._serving = True
            self._loop.call_soon(self._serve)

    def _next_turn(self) -> None:
        self._marked = False
        if not self._line:
            self.spent = 0.0

    def _serve(self) -> None:
        self.spent = 0.0
        line = self._line
        # Those who line up meanwhile come in the next turn.
        for _ in range(len(line)):
            go = line.popleft()
            go()
            if self.spent >= TURN:
                break
        self._serving = bool(line)
        if line:
            self._loop.call_soon(self._serve)


_paces: WeakKeyDictionary[asyncio.AbstractEventLoop, Pace] = WeakKeyDictionary()


def pace() -> Pace:
    """The budget of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _paces.get(loop)
    if found is None:
        found = _paces[loop] = Pace(loop)
    return found
