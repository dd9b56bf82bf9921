"""Whose turn it is to be heard, where one model serves many recordings."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")


class Rank(IntEnum):
    """Lower goes first: the end of what somebody has just said, a look at what is being said, a recording."""

    FINAL = 0
    PARTIAL = 1
    RECORDED = 2


@dataclass(slots=True, eq=False)
class Line(Generic[T]):
    """The jobs of one recording, heard one after the other. At most one is a look at what is open."""

    jobs: deque[tuple[Rank, int, T]] = field(default_factory=deque)
    busy: bool = False
    closed: bool = False


class Jobs(Generic[T]):
    """The lines of all recordings. Within a rank the oldest job goes first, so that lines take turns."""

    def __init__(self) -> None:
        self._lines: set[Line[T]] = set()
        self._number = 0
        self._changed = Condition()

    def open(self) -> Line[T]:
        """A line for one more recording."""
        line: Line[T] = Line()
        with self._changed:
            self._lines.add(line)
        return line

    def close(self, line: Line[T]) -> None:
        """Nothing of this recording is wanted any more."""
        with self._changed:
            line.closed = True
            line.jobs.clear()
            self._lines.discard(line)

    def put(self, line: Line[T], rank: Rank, job: T, *, replaces: Callable[[T], bool] = lambda job: False) -> None:
        """One more job; those that it `replaces` and nobody has begun are dropped."""
        with self._changed:
            if line.closed:
                return
            line.jobs = deque(each for each in line.jobs if not replaces(each[2]))
            self._number += 1
            line.jobs.append((rank, self._number, job))
            self._changed.notify()

    def idle(self, line: Line[T]) -> bool:
        """Whether nothing of a recording waits or is worked on."""
        with self._changed:
            return not line.busy and not line.jobs

    def work(self, do: Callable[[Line[T], T], None]) -> None:
        """Do one job, when there is one."""
        with self._changed:
            while (line := self._next()) is None:
                self._changed.wait()
            line.busy = True
            job = line.jobs.popleft()[2]
        try:
            do(line, job)
        finally:
            with self._changed:
                line.busy = False
                self._changed.notify()

    def _next(self) -> Line[T] | None:
        waiting = [line for line in self._lines if line.jobs and not line.busy]
        return min(waiting, key=lambda line: line.jobs[0][:2], default=None)
