"""When a client that lost its server tries again, and when it gives up."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Times in seconds. Each attempt in a row doubles the delay up to `most`; half of it is left to chance, so that the
    clients of a server that restarts do not come back all at once. `patience` is how long an outage may last.
    """

    first: float = 0.25
    most: float = 8.0
    patience: float = 120.0

    def delay(self, attempt: int) -> float:
        """The pause before an attempt, counted from 0."""
        ceiling = min(self.most, self.first * 2.0 ** min(attempt, 32))
        return random.uniform(ceiling / 2, ceiling)


class Outage:
    """The attempts of one turn to get on. `over` forgets them."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._attempts = 0
        self._until: float | None = None

    def over(self) -> None:
        """The turn goes on."""
        self._attempts = 0
        self._until = None

    async def pause(self) -> bool:
        """Wait for the next attempt; False at once when patience has run out."""
        now = asyncio.get_running_loop().time()
        if self._until is None:
            self._until = now + self._backoff.patience
        elif now >= self._until:
            return False
        await asyncio.sleep(self._backoff.delay(self._attempts))
        self._attempts += 1
        return True
