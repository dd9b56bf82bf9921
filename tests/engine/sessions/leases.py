"""Time for ledgers, and a ledger that has waited for one lease."""

from __future__ import annotations

from engine.sessions.ledger import LEASE, RENEWALS, Ledger


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def wait(self, *ledgers: Ledger, seconds: float = LEASE.total_seconds()) -> None:
        """Let time go by in which the database answers each of the ledgers."""
        for _ in range(RENEWALS):
            for ledger in ledgers:
                await renew(ledger)
            self.now += seconds / RENEWALS
        for ledger in ledgers:
            await renew(ledger)


async def renew(ledger: Ledger) -> None:
    """One renewal, which an embedded database without turns has no need of."""
    done = ledger.checkpoint([], renew=True)
    if done is not None:
        await done
