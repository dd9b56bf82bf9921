"""Commits the rows of many callers together: one transaction at a time, the next as soon as the last is done."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from engine.api.data import Write
from engine.api.errors import DatabaseUnavailable
from engine.db.attempt import Attempt
from engine.db.errors import DatabaseOverloaded
from engine.db.link import Link
from engine.db.presence import Presence
from engine.db.refusals import refusal
from engine.db.statements import Statements

MAX_QUEUED_ROWS = 10_000
MAX_FLUSH_ROWS = 100
DEADLINE_SECONDS = 5.0
CLOSE_SECONDS = 5.0

# The pause between two attempts doubles from the first to the last.
FIRST_PAUSE_SECONDS = 0.02
LAST_PAUSE_SECONDS = 1.0
SHORTEST_ATTEMPT_SECONDS = 1.0

LEAST_LARGE = 100
"""Rows above which a group may count as large, whatever the bound of the queue is."""


@dataclass(slots=True, eq=False)
class Submission:
    """What one caller handed over; stands or falls as one."""

    writes: Sequence[Write]
    future: asyncio.Future[None]
    expires: float
    since: float
    settled: bool = False


class Writer:
    """The one writer of a database.

    Submissions are committed in the order in which they came; a group of them shares a transaction. One that breaks a
    rule of its table fails alone. While the database cannot write (locked, full, gone) the writer tries again and
    later submissions queue behind, each until its own deadline.
    """

    def __init__(self, link: Link, *, max_queued_rows: int = MAX_QUEUED_ROWS, presence: Presence | None = None) -> None:
        self._link = link
        self._presence = presence or Presence("", "writing")
        self._max_queued_rows = max_queued_rows
        self._statements = Statements(link.dialect)
        self._queue: deque[Submission] = deque()
        self._in_flight: list[Submission] = []
        self._rows = 0
        # A group of very many rows counts apart: it must not keep everybody else's few out of the queue.
        self._large = max(max_queued_rows // 4, LEAST_LARGE)
        self._large_rows = 0
        self._task: asyncio.Task[None] | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._closing = False

    @property
    def queued_rows(self) -> int:
        """Rows that are not yet committed, those under way included."""
        return self._rows + self._large_rows

    @property
    def behind(self) -> float:
        """Seconds for which the oldest rows wait."""
        waiting = next((each for each in (*self._in_flight, *self._queue) if not each.settled), None)
        return 0.0 if waiting is None else asyncio.get_running_loop().time() - waiting.since

    def submit(
        self, writes: Sequence[Write], *, deadline: float = DEADLINE_SECONDS, linger: float = 0.0
    ) -> asyncio.Future[None]:
        """Queue rows as one atomic group and return at once; the future is done when they are committed.

        Rows that nobody waits for may `linger` for so many seconds, to go with others that are in a hurry; a group without
        rows only calls them.
        It fails with RowConflict or RowRefused when these rows are at fault, with DatabaseOverloaded at once when too
        many rows wait, and with DatabaseUnavailable when the database could not commit them within `deadline` seconds;
        after a connection lost in mid-commit the rows may stand even then. Cancelling the future takes nothing back.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        # Looked at, whoever waits for it or not: the log has the failure once, for all rows.
        future.add_done_callback(_look_at)
        if self._closing:
            future.set_exception(DatabaseUnavailable("The database is being closed and takes no more rows."))
        elif (refusal := self._overload(len(writes))) is not None:
            future.set_exception(refusal)
        else:
            self._count(len(writes))
            self._queue.append(Submission(writes, future, loop.time() + deadline, loop.time()))
            if not linger:
                self._start()
            elif self._task is None and self._lingering is None:
                self._lingering = loop.call_later(linger, self._start)
        return future

    def _overload(self, rows: int) -> DatabaseOverloaded | None:
        """Why a group of so many rows cannot wait now: one large group waits at a time, beside the small ones."""
        waiting, full = self._rows, self._rows + rows > self._max_queued_rows
        if rows > self._large:
            waiting, full = self._large_rows, True
        if not waiting or not full:
            return None
        return DatabaseOverloaded(f"{waiting} rows wait for the database, which is the limit; try again shortly.")

    def _count(self, rows: int, sign: int = 1) -> None:
        if rows > self._large:
            self._large_rows += sign * rows
        else:
            self._rows += sign * rows

    def _start(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if self._task is None and self._queue:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="database writer")

    async def drain(self, timeout: float | None = None) -> bool:
        """Wait until nothing is queued, for `timeout` seconds at most; tells whether that was reached."""
        self._start()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=timeout)
        return self._task is None

    async def close(self, timeout: float = CLOSE_SECONDS) -> None:
        """Take no more rows, commit what is queued, and after `timeout` seconds fail what is left."""
        self._closing = True
        if not await self.drain(timeout) and (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        try:
            while self._queue:
                self._in_flight = self._take()
                await self._commit(self._in_flight)
        finally:
            # Nobody is left waiting, even when this task was cancelled or failed in a way that was not foreseen.
            for submission in (*self._in_flight, *self._queue):
                self._settle(
                    submission, DatabaseUnavailable("The database was closed before these rows were committed.")
                )
            self._in_flight = []
            self._queue.clear()
            self._task = None

    def _take(self) -> list[Submission]:
        batch = [self._queue.popleft()]
        rows = len(batch[0].writes)
        while self._queue and rows + len(self._queue[0].writes) <= MAX_FLUSH_ROWS:
            batch.append(self._queue.popleft())
            rows += len(batch[-1].writes)
        return batch

    async def _commit(self, batch: Sequence[Submission]) -> None:
        """Settle each submission of the batch: all in one transaction, or one by one when one of them is at fault."""
        attempt = self._attempt(batch)
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._link.run(attempt, limit=self._limit(batch))
            except Exception as error:
                if not self._link.passing(error):
                    return await self._find_guilty(batch, error, attempt.table)
                self._presence.failed(error)
                batch = self._drop_expired(batch)
                if not batch:
                    return None
                attempt = self._attempt(batch).after(attempt)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, LAST_PAUSE_SECONDS)
            else:
                self._presence.worked()
                for submission in batch:
                    self._settle(submission)
                return None

    async def _find_guilty(self, batch: Sequence[Submission], error: Exception, table: str) -> None:
        if len(batch) == 1:
            return self._settle(batch[0], refusal(error, table))
        for submission in batch:
            await self._commit([submission])
        return None

    def _attempt(self, batch: Sequence[Submission]) -> Attempt:
        return Attempt(self._statements, [submission.writes for submission in batch])

    def _limit(self, batch: Sequence[Submission]) -> float:
        left = min(submission.expires for submission in batch) - asyncio.get_running_loop().time()
        return max(left, SHORTEST_ATTEMPT_SECONDS)

    def _drop_expired(self, batch: Sequence[Submission]) -> list[Submission]:
        """Fail what is past its deadline, here and in the queue; return what is left of the batch."""
        now = asyncio.get_running_loop().time()
        for submission in (*batch, *self._queue):
            if submission.expires <= now:
                self._settle(submission, DatabaseUnavailable("The database could not write the rows in time."))
        self._queue = deque(submission for submission in self._queue if not submission.settled)
        return [submission for submission in batch if not submission.settled]

    def _settle(self, submission: Submission, error: Exception | None = None) -> None:
        if submission.settled:
            return
        submission.settled = True
        self._count(len(submission.writes), -1)
        if submission.future.done():  # whoever waited for it was cancelled
            return
        if error is None:
            submission.future.set_result(None)
        else:
            submission.future.set_exception(error)


def _look_at(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
