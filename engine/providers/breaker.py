"""Leaving a provider alone that fails again and again."""

from collections.abc import Callable

from engine.log import get_logger

log = get_logger(__name__)


class Breaker:
    """Counts failures in a row. Open, it lets nobody through; after a while it lets one call try.

    Each `enter` that was granted is followed by one of `succeed`, `fail` and `release`.
    """

    __slots__ = ("_clock", "_failures", "_limit", "_name", "_opened_at", "_reset", "_tried_at")

    def __init__(self, failures: int, reset: float, clock: Callable[[], float], name: str = "") -> None:
        self._limit = failures
        self._reset = reset
        self._clock = clock
        self._name = name
        self._failures = 0
        self._opened_at: float | None = None
        self._tried_at: float | None = None

    @property
    def failures(self) -> int:
        """Failures since the last success."""
        return self._failures

    def wait(self) -> float:
        """Seconds until a call may be tried; 0.0 when one may be now."""
        if self._opened_at is None:
            return 0.0
        # While one call tries, the others wait for it, but not longer than the provider was to be left alone.
        since = self._opened_at if self._tried_at is None else self._tried_at
        return max(0.0, since + self._reset - self._clock())

    def enter(self) -> bool:
        """Ask for leave to call."""
        if self.wait() > 0:
            return False
        if self._opened_at is not None:
            self._tried_at = self._clock()
        return True

    def succeed(self) -> None:
        """The call was answered."""
        if self._opened_at is not None:
            log.info("provider_back", provider=self._name, failures=self._failures)
        self._failures = 0
        self._opened_at = None
        self._tried_at = None

    def fail(self) -> None:
        """The provider was not there for the call."""
        self._failures += 1
        self._tried_at = None
        if self._failures >= self._limit:
            if self._opened_at is None:
                log.warning("provider_left_alone", provider=self._name, failures=self._failures, seconds=self._reset)
            self._opened_at = self._clock()

    def release(self) -> None:
        """The call ended without a verdict: it was cancelled, or the provider refused it for good reason."""
        self._tried_at = None
