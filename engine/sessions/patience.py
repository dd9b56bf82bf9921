"""When a lease that has run out says that its process is dead: not while the database was away from everybody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta


class Patience:
    """Whether every living process has had the chance to renew its leases.

    A process can renew nothing while the database is away, so that behind such a time the leases of the living have run out
    as well. They renew as soon as it answers; whoever reads a lease waits for as long as one lasts. What this process writes
    itself at short intervals tells it whether the database was away, also before it looked for the first time.
    """

    def __init__(self, lease: timedelta, clock: Callable[[], float]) -> None:
        self._lease = lease.total_seconds()
        self._clock = clock
        self._answered: float | None = None
        self._since = 0.0

    def answered(self) -> None:
        """The database has just taken a renewal."""
        now = self._clock()
        if self._answered is None or now - self._answered > self._gap:
            self._since = now
        self._answered = now

    @property
    def over(self) -> bool:
        """True where the database has taken renewals for one whole lease, and does so still."""
        now = self._clock()
        return self._answered is not None and now - self._answered <= self._gap and now - self._since >= self._lease

    @property
    def _gap(self) -> float:
        """The longest time between two renewals in which nobody's lease can have run out for want of the database."""
        return self._lease / 2
