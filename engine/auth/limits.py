"""How much one principal may have open and may start; each bound is off where it is None."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from engine.api.errors import LimitExceeded
from engine.api.identity import Principal
from engine.auth.recent import Recent

REMEMBERED = 10_000
"""Principals whose requests are counted; beyond them, those that asked least lately start afresh."""

_MINUTE = 60.0

# Sums of fractions of a minute may come out a little above the whole.
_ROUNDING = 1e-6


class SocketCount:
    """The sockets that each principal holds open."""

    def __init__(self, bound: int | None) -> None:
        self._bound = bound
        self._held: dict[str, int] = {}

    def admit(self, principal: Principal) -> Callable[[], None]:
        """Count one more socket; the caller calls what it gets when that socket is closed. Raises LimitExceeded."""
        if self._bound is None:
            return _nothing
        id = principal.id
        held = self.held(principal)
        if held >= self._bound:
            raise LimitExceeded(f"a principal holds at most {self._bound} sockets open; close one first")
        self._held[id] = held + 1
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._leave(id)

        return leave

    def held(self, principal: Principal) -> int:
        """Sockets that the principal holds now; 0 where they are not counted."""
        return self._held.get(principal.id, 0)

    def _leave(self, id: str) -> None:
        self._held[id] -= 1
        if not self._held[id]:
            del self._held[id]


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many requests a minute has, how many are left now, and in how many seconds all are there again."""

    limit: int
    remaining: int
    reset: float

    def headers(self) -> dict[str, str]:
        """As OpenAI tells it, and as its clients read it."""
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{self.reset:.3f}s",
        }


class RequestRate:
    """The requests that each principal starts: a whole minute's worth at once, then as they come free one by one.

    `clock` counts seconds and never goes back.
    """

    def __init__(self, per_minute: int | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        # When each principal will have its whole minute's worth again: within a minute, as after no request at all.
        self._whole_at: Recent[str, float] = Recent(REMEMBERED, _MINUTE, clock)

    def admit(self, principal: Principal) -> None:
        """Count one more request; raises LimitExceeded, whose `retry_after` says when the next one is taken."""
        if self._per_minute is None:
            return
        now = self._clock()
        whole_at = max(now, self._whole_at.get(principal.id) or now) + _MINUTE / self._per_minute
        wait = whole_at - now - _MINUTE
        if wait > _ROUNDING:
            raise LimitExceeded(
                f"a principal starts at most {self._per_minute} requests a minute; the next one is taken in {wait:.1f} s",
                retry_after=wait,
            )
        self._whole_at.put(principal.id, whole_at)

    def allowance(self, principal: Principal) -> Allowance | None:
        """What is left of the principal's rate now; None where it is not limited."""
        if self._per_minute is None:
            return None
        now = self._clock()
        used = max(0.0, (self._whole_at.get(principal.id) or now) - now)
        left = (_MINUTE - used) * self._per_minute / _MINUTE
        return Allowance(self._per_minute, int(left + _ROUNDING), used)


def _nothing() -> None:
    """What there is to do when a socket that was not counted is closed."""
