"""Starts turns, keeps them running when their session is gone, and finds them again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

from pydantic import BaseModel

from engine.api.commands import Call, Command, Request
from engine.api.data import Write
from engine.api.errors import (
    DatabaseUnavailable,
    EngineError,
    Forbidden,
    IdempotencyConflict,
    InvalidRequest,
    LimitExceeded,
    ShuttingDown,
    StreamElsewhere,
    StreamNotFound,
)
from engine.api.events import Reason
from engine.api.identity import Principal
from engine.api.plugin import Listener, TurnEnded
from engine.api.streams import OnDisconnect, Said, StreamReader
from engine.auth.rates import Rates
from engine.bus.bus import Bus, new_stream_id
from engine.bus.stream import Stream
from engine.db.errors import RowConflict
from engine.guard import raised_at
from engine.log import get_logger
from engine.sessions.budgets import Budgets
from engine.sessions.gate import Gate
from engine.sessions.ledger import REAPED, Ledger, TurnRecord, body_hash
from engine.sessions.reader import Reader
from engine.sessions.record import RecordReader
from engine.sessions.table import CommandTable, validated
from engine.sessions.turn import Turn
from engine.stats import Stats
from engine.tracing import Tracing
from engine.uses import Uses
from engine.wire.apart import apart_if, is_large

log = get_logger(__name__)

TICK = 1.0
"""Seconds between checkpoints."""

ELSEWHERE_AGAIN = 2.0
"""Seconds after which a stream of another server is worth asking for again; a dead server's lease is a few times as long."""

KEY_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that are off where they are None."""

    principal_streams: int | None = None


class Supervisor:
    """Owns every turn's task. A turn belongs to its principal, not to the session that started it."""

    def __init__(
        self,
        bus: Bus,
        *,
        ledger: Ledger | None = None,
        limits: Limits | None = None,
        stats: Stats | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.bus = bus
        self.stats = stats or Stats()
        self.tracing = tracing or Tracing()
        self.ledger = ledger
        self.budgets: Budgets | None = None
        self.rates: Rates | None = None
        self.table = CommandTable()
        self.listeners: Iterable[tuple[str, Listener]] = ()
        """With the name of the plugin of each."""
        self.draining = False
        self.limits = limits or Limits()
        self.gate = Gate()
        self.uses: Uses[Turn, str] = Uses()
        """Turns that run, by the plugin whose command they are."""
        self._turns: dict[str, Turn] = {}
        self._taking: dict[int, Turn] = {}
        self._keys: dict[tuple[str, str], tuple[str, asyncio.Future[str]]] = {}
        self._key_of: dict[str, tuple[str, str]] = {}
        self._starting: dict[str, Principal] = {}
        """Turns that are being prepared or written down: they count against limits like those that run."""
        self._starts: set[asyncio.Task[Stream | TurnRecord]] = set()
        self._ticker: asyncio.Task[None] | None = None
        self._hurrying = False
        self._closing_lost = asyncio.Lock()
        self._idle = asyncio.Event()
        self._idle.set()

    # Starting

    async def start(
        self,
        principal: Principal,
        name: str,
        body: Mapping[str, Any] | BaseModel,
        *,
        key: str | None = None,
        on_disconnect: OnDisconnect = "continue",
    ) -> Stream | TurnRecord:
        """Start the command's turn; gives its stream, or the record of a turn whose stream is gone.

        Raises what makes the command `rejected`; then no stream exists. Under a key that was used before with the same
        body, the turn of then is given.
        """
        command = self.table.get(name, principal)
        if not isinstance(command, Command):
            raise InvalidRequest(f"{name} is answered at once and starts no stream", field="type")
        await self.gate.enter(principal.id)
        model = await apart_if(is_large(body), partial(validated, command, body))
        if key is None:
            return await self._begin(principal, command, model, None, None, on_disconnect)
        if not 0 < len(key) <= KEY_LENGTH:
            raise InvalidRequest(f"a key has 1 to {KEY_LENGTH} characters, this one has {len(key)}", field="key")
        # The start waits for its commit. A caller who leaves in between has its turn all the same.
        start = asyncio.create_task(self._start_once(principal, command, model, key, on_disconnect))
        self._starts.add(start)
        start.add_done_callback(self._starts.discard)
        return await asyncio.shield(start)

    async def call(self, principal: Principal, name: str, body: Mapping[str, Any] | BaseModel) -> Mapping[str, Any]:
        """Run a command that is answered at once."""
        command = self._table_for(principal, name, body).get(name, principal)
        if not isinstance(command, Call):
            raise InvalidRequest(f"{name} starts a stream", field="type")
        model = await apart_if(is_large(body), partial(validated, command, body))
        stream = getattr(model, "stream", "")
        return await command.handle(Request(principal, model, stream)) or {}

    def _table_for(self, principal: Principal, name: str, body: Mapping[str, Any] | BaseModel) -> CommandTable:
        """Where a call is looked up: one about a running turn of its own plugin belongs to what the turn was started with."""
        id = body.get("stream") if isinstance(body, Mapping) else getattr(body, "stream", None)
        turn = self.turn(principal, id) if isinstance(id, str) else None
        return turn.table if turn is not None and turn.table.brings_both(name, turn.command) else self.table

    async def _start_once(
        self, principal: Principal, command: Command[Any], body: BaseModel, key: str, on_disconnect: OnDisconnect
    ) -> Stream | TurnRecord:
        hashed = await apart_if(is_large(list(body.__dict__.values())), partial(_hashed, command.name, body))
        slot = principal.id, key
        while (known := self._keys.get(slot)) is not None:
            self._same(known[0], hashed)
            try:
                id = await asyncio.shield(known[1])
            except asyncio.CancelledError:
                raise
            except Exception:
                # The first try was rejected, so its key is free again.
                continue
            try:
                return await self.find(principal, id)
            except StreamNotFound:
                # Nothing knows the turn of then any more, so the key is free, too.
                if self._keys.get(slot) is known:
                    del self._keys[slot]
        started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        started.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._keys[slot] = hashed, started
        try:
            record = await self.ledger.by_key(principal, key) if self.ledger else None
            if record is not None:
                self._same(record.body_hash, hashed)
                del self._keys[slot]
                started.set_result(record.stream)
                return await self.find(principal, record.stream)
            try:
                stream = await self._begin(principal, command, body, key, hashed, on_disconnect)
            except RowConflict:
                # Another process of the same database may have been quicker with this key.
                record = await self.ledger.by_key(principal, key) if self.ledger else None
                if record is None:
                    raise
                self._same(record.body_hash, hashed)
                del self._keys[slot]
                started.set_result(record.stream)
                return await self.find(principal, record.stream)
        except BaseException as error:
            self._keys.pop(slot, None)
            if not started.done():
                started.set_exception(error if isinstance(error, Exception) else ShuttingDown("the server stops"))
            raise
        self._key_of[stream.id] = slot
        if stream.id not in self._turns:
            self._forget_key(stream.id)
        started.set_result(stream.id)
        return stream

    def _same(self, known: str | None, hashed: str) -> None:
        if known != hashed:
            raise IdempotencyConflict("this key was used with another body; a key belongs to one request", field="key")

    async def _begin(
        self,
        principal: Principal,
        command: Command[Any],
        body: BaseModel,
        key: str | None,
        hashed: str | None,
        on_disconnect: OnDisconnect,
    ) -> Stream:
        begun = perf_counter()
        self._admit(principal)
        id = new_stream_id()
        # From here to the stream's opening it waits for others, who may start turns meanwhile.
        self._starting[id] = principal
        self._idle.clear()
        try:
            return await self._prepare(principal, command, body, id, key, hashed, on_disconnect, begun)
        finally:
            del self._starting[id]
            self._rest()

    async def _prepare(
        self,
        principal: Principal,
        command: Command[Any],
        body: BaseModel,
        id: str,
        key: str | None,
        hashed: str | None,
        on_disconnect: OnDisconnect,
        begun: float,
    ) -> Stream:
        table = self.table
        owner = table.owner(command.name)
        if self.rates is not None:
            await self.rates.admit_turn(principal)
        if self.budgets is not None:
            await self.budgets.admit(principal, id)
        try:
            serve = await command.prepare(Request(principal, body, id))
        except BaseException:
            self._close_account(id)
            raise
        accepted: asyncio.Future[None] | None = None
        try:
            self._admit_none_while_draining()  # asked again: time has passed
            if self.ledger is not None:
                accepted = self.ledger.accept(id, principal, command.name, serve, key=key, hashed=hashed)
                if key is not None:
                    await asyncio.shield(accepted)
            token = self.bus.open(principal, command.name, id)
        except BaseException:
            if self.ledger is not None:
                self.ledger.forget(id)
            self._close_account(id)
            if serve.released is not None:
                serve.released()
            raise
        turn = Turn(
            bus=self.bus,
            token=token,
            serve=serve,
            command=command.name,
            scope=command.scope,
            table=table,
            on_disconnect=on_disconnect,
            ledger=self.ledger,
            accepted=accepted,
            on_over=self._over,
            begun=begun,
            tracing=self.tracing,
        )
        self._turns[id] = turn
        if serve.take is not None:
            self._taking[token.stream.number] = turn
        self.uses.begin(turn, owner)
        turn.begin()
        if self._hurrying:
            turn.cancel("shutdown")
        return token.stream

    def _rest(self) -> None:
        if not self._turns and not self._starting:
            self._idle.set()

    def _close_account(self, stream: str) -> None:
        if self.budgets is not None:
            self.budgets.end(stream, None, None)

    def _admit_none_while_draining(self) -> None:
        if self.draining:
            raise ShuttingDown(
                "the server is going down and takes no new work; connect again in a moment", retry_after=1.0
            )

    def _admit(self, principal: Principal) -> None:
        """Raise where the principal or the key has as many turns, starting or running, as it may have."""
        self._admit_none_while_draining()
        each, own = self.limits.principal_streams, principal.limits.streams
        if each is None and own is None:
            return
        starting = [other for other in self._starting.values() if other.id == principal.id]
        owners = [*starting, *(stream.principal for stream in self.bus.running(principal))]
        if each is not None and len(owners) >= each:
            raise LimitExceeded(
                f"{each} streams of {principal.subject} run already; one more is taken when one has ended",
                limit=each,
                remaining=0,
            )
        if own is not None and sum(other.key == principal.key for other in owners) >= own:
            raise LimitExceeded(
                f"{own} streams of {principal.key_subject} run already; one more is taken when one has ended",
                limit=own,
                remaining=0,
            )

    # Finding and stopping

    async def find(self, principal: Principal, id: str) -> Stream | TurnRecord:
        """The caller's stream, or what its row tells; raises `StreamNotFound` for unknown and foreign ids alike."""
        try:
            stream = self.bus.find(id, principal)
            return await self._saved_since(principal, stream) or stream
        except StreamNotFound:
            record = await self.ledger.by_stream(principal, id) if self.ledger else None
            if record is None:
                raise
            record = await self._closed_if_lost(principal, record)
            if self.ledger is not None and self.ledger.runs_elsewhere(record):
                raise StreamElsewhere(
                    "this stream runs on another server of the same database, or its server has just died; ask again in a "
                    "moment, there or here",
                    retry_after=ELSEWHERE_AGAIN,
                ) from None
            return record

    async def _saved_since(self, principal: Principal, stream: Stream) -> TurnRecord | None:
        """The record of a stream whose end was told as unsaved and is written by now: it knows the message that was saved."""
        if self.ledger is None or stream.ended is None or stream.ended.saved is not False:
            return None
        try:
            record = await self.ledger.by_stream(principal, stream.id)
        except DatabaseUnavailable:
            return None
        return record if record is not None and record.ended is not None and record.ended.saved else None

    async def _closed_if_lost(self, principal: Principal, record: TurnRecord) -> TurnRecord:
        """The record, closed where its process is dead. One caller at a time: the others find it closed."""
        if self.ledger is None or not self.ledger.is_lost(record):
            return record
        async with self._closing_lost:
            record = await self.ledger.by_stream(principal, record.stream) or record
            if self.ledger.is_lost(record):
                await self.ledger.reap(self._recovery)
                record = await self.ledger.by_stream(principal, record.stream) or record
        return record

    def turn(self, principal: Principal, id: str) -> Turn | None:
        """The caller's running turn of this id."""
        turn = self._turns.get(id)
        return turn if turn is not None and turn.stream.principal.id == principal.id else None

    def taking(self, principal: Principal, number: int) -> Turn | None:
        """The caller's turn whose stream has this number and takes binary frames; raises `Forbidden` for a key without
        the scope of its command."""
        turn = self._taking.get(number)
        if turn is None or turn.stream.principal.id != principal.id:
            return None
        if not principal.may(turn.scope):
            raise Forbidden(f"sound for {turn.command} needs a key with the scope {turn.scope!r}")
        return turn

    def stop_of_key(self, key: str, error: EngineError) -> None:
        """End the running turns that this API key started; their ends tell the error."""
        for turn in list(self._turns.values()):
            if turn.stream.principal.key == key:
                turn.fail(error)

    def callers(self) -> list[Principal]:
        """Who started the turns that run."""
        return [turn.stream.principal for turn in self._turns.values()]

    async def is_open(self, principal: Principal, id: str) -> bool | None:
        """Whether the caller's turn has not ended, here or elsewhere; one whose server is dead is closed. None: unknown."""
        if self.turn(principal, id) is not None or id in self._starting:
            return True
        if self.ledger is None:
            return None
        record = await self.ledger.by_stream(principal, id)
        if record is None:
            # Its server may live, and not have had the chance to write the row.
            return True if self.ledger.is_patient else None
        return (await self._closed_if_lost(principal, record)).ended is None

    async def cancel(self, principal: Principal, id: str, reason: Reason = "client_cancel") -> None:
        """Stop the caller's turn; one that has ended stays as it is."""
        turn = self.turn(principal, id)
        if turn is not None:
            turn.cancel(reason)
        else:
            await self.find(principal, id)

    def reader(self, stream: Stream, after: int = 0) -> Reader:
        """A reader in this process."""
        return Reader(stream, lambda: self._cancel_own(stream), after)

    def _cancel_own(self, stream: Stream) -> None:
        turn = self._turns.get(stream.id)
        if turn is not None:
            turn.cancel("client_cancel")

    @property
    def running(self) -> int:
        """Turns that have not ended."""
        return len(self._turns)

    def _over(self, turn: Turn) -> None:
        stream = turn.stream
        self._turns.pop(stream.id, None)
        self._taking.pop(stream.number, None)
        self.uses.end(turn)
        self._forget_key(stream.id)
        self._rest()
        ended = turn.ended
        assert ended is not None
        if self.budgets is not None:
            self.budgets.end(stream.id, ended.usage, ended.cost)
        if self.rates is not None and ended.usage is not None:
            self.rates.charge(stream.principal, ended.usage.input_tokens + ended.usage.output_tokens)
        if ended.status == "failed" and ended.error is not None:
            log.warning(
                "turn_failed",
                stream=stream.id,
                command=turn.command,
                principal=stream.principal.id,
                key=stream.principal.key,
                model=ended.model or turn.serve.model,
                code=ended.error.code,
                reason=ended.reason,
                seconds=round(self.bus.now() - stream.started, 3),
            )
        answered = turn.writer.answered
        self.stats.turn_ended(
            turn.command,
            ended,
            seconds=self.bus.now() - stream.started,
            first_word=answered - stream.started if answered is not None else None,
            added=_added(turn),
            events=stream.n,
        )
        fact = TurnEnded(
            stream=stream.id,
            command=turn.command,
            principal=stream.principal,
            status=ended.status,
            model=ended.model,
            usage=ended.usage,
            cost=ended.cost,
            detail=turn.serve.detail,
        )
        for plugin, listener in self.listeners:
            try:
                listener.handle(fact)
            except Exception as error:
                log.exception("listener_crashed", plugin=plugin, at=raised_at(error), stream=stream.id)

    def _forget_key(self, stream: str) -> None:
        slot = self._key_of.pop(stream, None)
        # Without a ledger the map in memory is all that knows a key; with one, the turn's row does.
        if slot is not None and self.ledger is not None:
            self._keys.pop(slot, None)

    # Life

    async def open(self) -> None:
        """Close turns that an earlier process left, and begin to checkpoint."""
        if self.ledger is not None:
            while await self.ledger.reap(self._recovery) == REAPED:
                pass
        self._ticker = asyncio.create_task(self._tick(), name="checkpoints")

    def _recovery(self, command: str) -> Callable[..., Any] | None:
        found = next((c for c in self.table.all() if c.name == command), None)
        return found.recover if isinstance(found, Command) else None

    async def _tick(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK)
            ticks += 1
            self.bus.sweep()
            if self.ledger is None:
                continue
            try:
                await self._checkpoint(ticks)
            except DatabaseUnavailable:
                pass  # the log has it from the database itself, once
            except EngineError as error:
                log.warning("checkpoint_failed", error=error.message)
            except Exception:
                log.exception("checkpoint_crashed")

    async def _checkpoint(self, ticks: int) -> None:
        assert self.ledger is not None
        running = [(turn.stream, turn.serve.keep) for turn in self._turns.values() if turn.running]
        done = self.ledger.checkpoint(running)
        if done is not None:
            await done
        self.ledger.retry_accepts()
        self.ledger.retry_unsaved()
        if ticks % 10 == 0:
            await self.ledger.reap(self._recovery)

    async def drain(self, seconds: float) -> None:
        """Take no new turns, let the running ones finish for `seconds`, then stop the rest."""
        self.draining = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            self.hurry()
            try:
                await asyncio.wait_for(self._idle.wait(), 12.0)
            except TimeoutError:
                log.error("turns_left_at_shutdown", count=len(self._turns))

    def hurry(self) -> None:
        """Stop every running turn now, and each that is about to run."""
        self._hurrying = True
        for turn in list(self._turns.values()):
            turn.cancel("shutdown")

    async def close(self) -> None:
        """Stop checkpointing."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)


def _hashed(command: str, body: BaseModel) -> str:
    return body_hash(command, body.model_dump(mode="json", exclude_unset=True))


def _added(turn: Turn) -> float | None:
    """The server's own share of the wait for the first word."""
    if turn.writer.first_word is None:
        return None
    at, waited = turn.writer.first_word
    return at - turn.begun - waited


class InProcessCommands:
    """Implements `engine.api.Commands`: other dialects and features start turns through it."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    async def start(
        self,
        principal: Principal,
        command: str,
        body: Mapping[str, Any] | BaseModel,
        *,
        key: str | None = None,
        on_disconnect: OnDisconnect = "continue",
    ) -> StreamReader:
        found = await self._supervisor.start(principal, command, body, key=key, on_disconnect=on_disconnect)
        return self._supervisor.reader(found) if isinstance(found, Stream) else RecordReader(found)

    async def watch(self, principal: Principal, stream: str, *, after: int = 0) -> StreamReader:
        found = await self._supervisor.find(principal, stream)
        return self._supervisor.reader(found, after) if isinstance(found, Stream) else RecordReader(found, after)

    def feed(self, principal: Principal, stream: str, n: int, data: bytes) -> int | None:
        turn = self._supervisor.turn(principal, stream)
        if turn is None or turn.serve.take is None:
            raise StreamNotFound(f"no stream {stream!r} takes binary frames")
        return turn.serve.take(n, data, 0)

    async def forget(self, principal: Principal, left: Mapping[str, Said]) -> list[Write]:
        for stream in left:
            self._supervisor.bus.forget(stream, principal)
        ledger = self._supervisor.ledger
        return await ledger.forgetting(principal, left) if ledger is not None and left else []

    async def is_open(self, principal: Principal, stream: str) -> bool | None:
        return await self._supervisor.is_open(principal, stream)

    async def call(self, principal: Principal, command: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._supervisor.call(principal, command, body)
