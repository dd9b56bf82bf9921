"""Calls to models that are no turns: bounded, counted and written down like them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from time import perf_counter

from engine.api.errors import EngineError, Internal, ShuttingDown
from engine.api.events import Cost, Reason, Status, StreamEnded, Usage
from engine.api.identity import Principal
from engine.bus.bus import new_stream_id
from engine.sessions.supervisor import Supervisor


class Account:
    """What one call may use, and what it has used."""

    def __init__(self, supervisor: Supervisor, id: str, principal: Principal, command: str) -> None:
        self._supervisor = supervisor
        self._id = id
        self._principal = principal
        self._command = command
        self.written = False
        self.model: str | None = None
        self.usage = Usage()
        self.cost: Cost | None = None

    @property
    def bounded(self) -> bool:
        """Whether a budget bounds the call, so that what was put aside counts where its vendor tells no usage."""
        budgets = self._supervisor.budgets
        return budgets is not None and budgets.applies(self._id)

    async def reserve(self, tokens: int, cost: Decimal) -> None:
        """Put aside the most that the call can use; raises `BudgetExceeded`.

        Where a budget bounds it, its row is written before the call, so that it counts even if the process dies.
        """
        budgets, ledger = self._supervisor.budgets, self._supervisor.ledger
        if budgets is None or not budgets.applies(self._id):
            return
        if ledger is not None and not self.written:
            self.written = True
            ledger.begin(self._id, self._principal, self._command)
        await budgets.reserve(self._id, tokens, cost)

    def used(self, model: str, usage: Usage, cost: Cost | None) -> None:
        """The call has used so much: it was answered, or cut off once it had gone out."""
        self.model, self.usage, self.cost = model, usage, cost


class Accounts:
    """Implements what `engine.providers` opens around a call for embeddings."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    @asynccontextmanager
    async def open(self, principal: Principal, command: str, model: str) -> AsyncIterator[Account]:
        """Ask whether the principal may spend more, and write down at the end what it did; raises what refuses it."""
        supervisor, id, begun = self._supervisor, new_stream_id(), perf_counter()
        if supervisor.draining:
            raise ShuttingDown("the server is going down and takes no new work; ask again in a moment", retry_after=1.0)
        if supervisor.rates is not None:
            await supervisor.rates.admit_turn(principal)
        if supervisor.budgets is not None:
            await supervisor.budgets.admit(principal, id)
        account = Account(supervisor, id, principal, command)
        account.model = model
        status: Status = "completed"
        reason: Reason = "done"
        error: EngineError | None = None
        try:
            yield account
        except asyncio.CancelledError:
            status, reason = "cancelled", "disconnect"
            raise
        except BaseException as raised:
            status, reason = "failed", "provider_error"
            error = raised if isinstance(raised, EngineError) else Internal("the call failed inside the server")
            raise
        finally:
            ended = StreamEnded(
                status=status,
                reason=reason,
                error=error.body() if error is not None else None,
                model=account.model,
                usage=account.usage,
                cost=account.cost,
                saved=True,
            )
            if supervisor.budgets is not None:
                supervisor.budgets.end(id, ended.usage, ended.cost)
            if supervisor.rates is not None:
                supervisor.rates.charge(principal, account.usage.input_tokens)
            if supervisor.ledger is not None:
                supervisor.ledger.note(id, principal, command, ended, begun=account.written)
            supervisor.stats.turn_ended(
                command, ended, seconds=perf_counter() - begun, first_word=None, added=None, events=0
            )
