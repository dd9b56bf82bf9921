"""The deadlines of one call, held by a single timer of the event loop."""

import asyncio
import math

_TICK = 0.001
"""A timer may ring as much too early: the clock of uvloop counts milliseconds."""


class Watchdog:
    """Ends a wait for a provider that outlasts its deadline, by cancelling the task that waits.

    The timer is set anew only when it rings, so that a batch costs a few attributes and a look at the clock. A cancellation
    from elsewhere is told apart and stays one.
    """

    __slots__ = (
        "_armed",
        "_baseline",
        "_ends",
        "_left",
        "_loop",
        "_patience",
        "_task",
        "_time",
        "_timer",
        "_total",
        "_until",
        "fired",
    )

    def __init__(self, patience: float, total: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._time = self._loop.time
        self._patience = patience
        self._total = total
        self._ends = self._time() + total
        self._left: float | None = None
        self._task: asyncio.Task[object] | None = None
        self._baseline = 0
        self._timer: asyncio.TimerHandle | None = None
        self._armed = math.inf
        self._until = math.inf
        self.fired = False

    def begin(self) -> None:
        """The wait for the provider begins, in the task that is to be cancelled."""
        task = self._task = asyncio.current_task(self._loop)
        self._baseline = task.cancelling() if task else 0
        self.alive()

    def alive(self) -> None:
        """The provider gave a sign of life: the wait begins anew."""
        until = self._until = self._time() + self._patience
        if until < self._armed:
            self._arm(min(until, self._ends))

    def forgive(self) -> None:
        """The provider answered in the very moment of its deadline: the cancellation is taken back."""
        if self.fired:
            self.expired()

    def allow(self, patience: float) -> None:
        """Bound the waits that follow by another time."""
        self._patience = patience

    def hold(self) -> None:
        """What the provider does now does not count; every call of this gives it the whole time once more."""
        now = self._time()
        if self._left is None:
            self._left = self._ends - now
        self._patience = self._total
        self._ends = now + self._total

    def release(self, patience: float) -> None:
        """Time counts again, from where it was held."""
        if self._left is not None:
            self._ends = self._time() + self._left
            self._left = None
        self._patience = patience

    def end(self) -> None:
        """End the wait now, as if its time were over."""
        task = self._task
        if task is not None and not self.fired and task.cancelling() <= self._baseline:
            self.fired = True
            task.cancel()

    def stop(self) -> None:
        """Let go of the timer; nothing is cancelled from here on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._armed = math.inf

    def close(self) -> None:
        """Let go of the task, too, whose error may hold the call; the deadline is not asked about any more."""
        self.stop()
        self._task = None

    def expired(self) -> bool:
        """True when the deadline ended the wait; takes back the cancellation, unless somebody else cancelled too."""
        if not self.fired or self._task is None:
            return False
        self.fired = False
        return self._task.uncancel() <= self._baseline

    @property
    def verdict(self) -> str:
        """Which bound was passed, for the error's sentence."""
        if self._time() >= self._ends - _TICK:
            return f"did not finish within {self._total:g} s"
        return f"was silent for {self._patience:g} s"

    def _arm(self, until: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = until
        self._timer = self._loop.call_at(until, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._armed = math.inf
        until = min(self._until, self._ends)
        if self._time() < until - _TICK:
            self._arm(until)
        else:
            self.end()
