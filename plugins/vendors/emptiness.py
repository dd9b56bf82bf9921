"""Bytes of an answer that say nothing: comments, blank lines, events without content. They are signs of life, up to a bound."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from engine.wire.sse import SseEvent

BURST = 16 << 20
"""Bytes that say nothing, at any speed: previews of pictures and a request that is echoed have room."""

RATE = 256 << 10
"""Bytes a second beside them: a model that hides what it thinks sends an empty event for each token."""

MOST = 64 << 20
"""Bytes that say nothing in one answer, however slowly they come."""


class Emptiness:
    """What one answer brought without saying anything."""

    __slots__ = ("_begun", "_bytes", "_run")

    def __init__(self) -> None:
        self._begun = perf_counter()
        self._bytes = self._run = 0

    def said(self, events: Sequence[SseEvent]) -> None:
        """A read said something; what came before it was a part of these events as far as they are as long."""
        if self._run:
            self._bytes -= min(self._run, sum(len(event.data) for event in events))
            self._run = 0

    def is_too_much(self, size: int, now: float | None = None) -> bool:
        """Note a read of so many bytes that said nothing; whether they are more than an answer may have."""
        self._run += size
        self._bytes += size
        if self._bytes <= BURST:
            return False
        seconds = (perf_counter() if now is None else now) - self._begun
        return self._bytes > min(MOST, BURST + RATE * seconds)

    @property
    def mebibytes(self) -> int:
        """How much it is."""
        return self._bytes >> 20
