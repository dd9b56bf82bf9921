"""How much each principal may keep, held also while several of its files come at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from engine.api import QuotaExceeded


class _Account:
    """One principal's bytes: those that are kept, and those that come."""

    def __init__(self) -> None:
        self.shares = 0
        self.used: int | None = None
        self.asking = asyncio.Lock()


class Share:
    """What one file that comes has taken of its principal's quota."""

    def __init__(self, account: _Account, most: int) -> None:
        self._account = account
        self._most = most
        self.taken = 0

    def take(self, count: int) -> None:
        """Take so many bytes more; raises `QuotaExceeded` when they are not there."""
        used = self._account.used or 0
        if used + count > self._most:
            raise _exceeded(self._most, used)
        self._account.used = used + count
        self.taken += count


class Quota:
    """At most `most` bytes for each principal; `used` says how many of them are kept already.

    That is asked for once while files of a principal come. What is deleted in the meantime is free when they are all there.
    """

    def __init__(self, most: int, used: Callable[[str], Awaitable[int]]) -> None:
        self.most = most
        self._used = used
        self._accounts: dict[str, _Account] = {}

    def exceeded(self, used: int) -> QuotaExceeded:
        """The error for a file that is too much beside so many bytes."""
        return _exceeded(self.most, used)

    @asynccontextmanager
    async def share(self, principal: str) -> AsyncIterator[Share]:
        """For as long as one file comes. Where the block raises, what it took is given back."""
        account = self._accounts.setdefault(principal, _Account())
        account.shares += 1
        share = Share(account, self.most)
        try:
            async with account.asking:
                if account.used is None:
                    account.used = await self._used(principal)
            yield share
        except BaseException:
            account.used = None if account.used is None else account.used - share.taken
            raise
        finally:
            account.shares -= 1
            if not account.shares:
                del self._accounts[principal]


def _exceeded(most: int, used: int) -> QuotaExceeded:
    return QuotaExceeded(
        f"your objects may have {most} bytes together, of which {used} are taken; delete some first",
        limit=most,
        remaining=max(0, most - used),
    )
