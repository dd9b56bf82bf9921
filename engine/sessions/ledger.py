"""The turn's row: written at accept and at the end, checkpointed once a second, and read when the log is gone."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, and_, or_, select

from engine.api.commands import Closing, Lost, Serve
from engine.api.data import Database, Write
from engine.api.errors import EngineError, ErrorBody, InvalidRequest, NotOwner, OwnerLost
from engine.api.events import Cost, Event, MessageSaved, StreamEnded, Usage
from engine.api.identity import Principal
from engine.api.streams import Ending, Said
from engine.bus.stream import Stream
from engine.db.errors import RowConflict
from engine.db.schema import turn_parts, turns
from engine.log import get_logger
from engine.providers.estimating import about, weight
from engine.sessions.checkpoints import Checkpoints, leftovers, read_turns
from engine.sessions.owners import is_alive, is_dead
from engine.sessions.patience import Patience
from engine.wire.control import StreamSnapshot

log = get_logger(__name__)

LINGER = 0.01
"""Seconds for which an accept commit that nobody waits for stands back: the request to the model goes first."""

LEASE = timedelta(seconds=15)
RENEWALS = 4
"""How often a lease is renewed while it lasts."""

REAPED = 100
"""Lost turns that are closed in one go: their output is in memory meanwhile."""

LEAP = 1 << 20
"""How far behind its last checkpoint the end of a lost turn is numbered: its process may have sent more than it kept."""

MOST_IN_COLUMN = 2**31 - 1
"""Tokens that a row can say; a turn of many calls is bounded by it, however much its vendor counted."""

CHUNK = 500
"""Turns that one statement reads by their ids; databases bound the parameters of a statement."""

FORGOTTEN = "the text of this error was deleted with the content of the turn"

UNSAVED_LIMIT = 10_000
"""Ends that wait in memory for a database that is away; past it the oldest is dropped, and the log says so."""


class _End(msgspec.Struct):
    """The rows of a turn's end, until the database has taken them.

    `told` learns once what became of them. `over` gives the command's rows for a turn that another process has closed,
    `bare` are the rows where these are refused.
    """

    stream: str
    writes: list[Write]
    told: asyncio.Future[None] | None = None
    over: Callable[[], Sequence[Write]] | None = None
    bare: list[Write] | None = None

    def go_over(self) -> bool:
        """Become the end of a turn that another process has closed; False where that is no use."""
        if self.over is None:
            return False
        mine = next(write for write in self.writes if write.must is not None and write.table is turns)
        where = {name: value for name, value in mine.where.items() if name != "status"}
        try:
            self.writes = [Write(turns, "update", mine.values, where), *self.over()]
        except Exception:
            log.exception("turn_closing_crashed", stream=self.stream)
            return False
        finally:
            self.over = None
        return True

    def tell(self, error: BaseException | None) -> None:
        if self.told is None or self.told.done():
            return
        if error is None:
            self.told.set_result(None)
        else:
            self.told.set_exception(error)


class TurnRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A turn as its row tells it."""

    stream: str
    command: str
    principal: str
    body_hash: str | None
    status: str
    n: int
    said: Said
    ended: StreamEnded | None
    model: str | None
    owner: str
    lease_until: datetime
    detail: dict[str, Any]
    api_key: str | None
    reserved_cost: str | None = None
    reserved_tokens: int | None = None

    @property
    def last(self) -> int:
        """Number of the terminal event."""
        return max(self.n, 1) if self.ended else _lost_last(self.n)

    def since(self, after: int) -> Recalled:
        """What a reader gets that has seen the events up to number `after`.

        Raises `InvalidRequest` for a number that the stream never had.
        """
        events: list[Event] = [self.said.saved] if self.said.saved is not None else []
        events.append(self.ended or lost_end(self))
        held = self.last - len(events)
        if after > self.last:
            raise InvalidRequest(
                f"the last event of this stream has number {self.last}, so none comes after {after}", field="after"
            )
        if after >= held:
            return Recalled(None, [(n, event) for n, event in enumerate(events, held + 1) if n > after])
        snapshot = StreamSnapshot(
            stream=self.stream,
            n=held,
            text=self.said.text,
            tool_calls=list(self.said.tool_calls),
            reasoning=self.said.reasoning,
        )
        return Recalled(snapshot, list(enumerate(events, held + 1)))


class Recalled(NamedTuple):
    """A turn told from its row: all that it said, unless the reader has that, and the numbered events that follow."""

    snapshot: StreamSnapshot | None
    events: list[tuple[int, Event]]


def body_hash(command: str, body: Mapping[str, Any]) -> str:
    """What makes two requests under one key the same."""
    canonical = msgspec.json.encode([command, body], order="sorted")
    return hashlib.sha256(canonical).hexdigest()


def _now() -> datetime:
    return datetime.now(UTC)


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


class Ledger:
    """Turn rows of this process, which is their `owner` for as long as it renews their lease."""

    def __init__(
        self,
        database: Database,
        owner: str,
        *,
        embedded: bool,
        lease: timedelta = LEASE,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._database = database
        self._owner = owner
        self._embedded = embedded
        self._lease = lease
        self._clock = clock or _loop_time
        self._renewed: float | None = None
        self._patience = Patience(lease, self._clock)
        self._checkpoints = Checkpoints()
        self._accepting: dict[str, tuple[list[Write], asyncio.Future[None]]] = {}
        self._unsaved: deque[_End] = deque()

    def accept(
        self, stream: str, principal: Principal, command: str, serve: Serve, *, key: str | None, hashed: str | None
    ) -> asyncio.Future[None]:
        """Write the turn and the command's rows in one transaction."""
        row = self._row(stream, principal, command) | {
            "key": key,
            "body_hash": hashed,
            "model": serve.model,
            "keep": serve.keep,
            "detail": dict(serve.detail),
        }
        writes = [Write(turns, "insert", row), *serve.rows]
        future = self._database.submit(writes, linger=0.0 if key is not None else LINGER)
        self._accepting[stream] = writes, future
        future.add_done_callback(partial(self._accepted, stream))
        return future

    def begin(self, stream: str, principal: Principal, command: str) -> None:
        """Write a call that is no turn before it is made."""
        begun = self._database.submit([Write(turns, "insert", self._row(stream, principal, command))])
        begun.add_done_callback(partial(self._accepted, stream))

    def note(self, stream: str, principal: Principal, command: str, ended: StreamEnded, *, begun: bool = False) -> None:
        """Write a call that is over and was no turn: nothing of it can be watched, and its row counts like a turn's.

        One that was `begun` may have its row already.
        """
        row = self._row(stream, principal, command) | {"n": 1} | _end_values(ended, Said())
        write = Write(turns, "upsert", row, {"stream": stream}) if begun else Write(turns, "insert", row)
        self._submit(_End(stream, [write]))

    def _row(self, stream: str, principal: Principal, command: str) -> dict[str, Any]:
        now = _now()
        return {
            "stream": stream,
            "principal": principal.id,
            "api_key": principal.key,
            "command": command,
            "key": None,
            "body_hash": None,
            "owner": self._owner,
            "lease_until": now + self._lease,
            "status": "running",
            "model": None,
            "n": 0,
            "keep": False,
            "detail": {},
            "created_at": now,
        }

    def _accepted(self, stream: str, done: asyncio.Future[None], *, again: bool = False) -> None:
        if done.cancelled():
            return
        error = done.exception()
        # A commit whose outcome was not known stands where its rows, whose ids are nobody else's, are there already.
        if error is None or (again and isinstance(error, RowConflict)):
            self._accepting.pop(stream, None)
        else:
            log.warning("turn_accept_not_written", stream=stream, error=str(error))

    def retry_accepts(self) -> None:
        """Submit again the rows of running turns that the database did not take: others learn from them that these run."""
        for stream, (writes, done) in list(self._accepting.items()):
            if not done.done() or done.cancelled() or not getattr(done.exception(), "retryable", False):
                continue
            row = {**writes[0].values, "lease_until": _now() + self._lease}
            writes = [msgspec.structs.replace(writes[0], values=row), *writes[1:]]
            future = self._database.submit(writes)
            self._accepting[stream] = writes, future
            future.add_done_callback(partial(self._accepted, stream, again=True))

    def hurry(self) -> None:
        """Have accept commits that stand back written now: a turn has come to its end and waits for its own."""
        self._database.submit([])

    def forget(self, stream: str) -> None:
        """Drop the rows of an accept commit that did not go through: the turn was refused and has no end."""
        self._accepting.pop(stream, None)

    def checkpoint(
        self, running: Sequence[tuple[Stream, bool]], *, renew: bool | None = None
    ) -> asyncio.Future[None] | None:
        """Keep what the running turns have said since the last time, in one transaction.

        `renew` renews the leases, too; by itself that is done as often as they need it, and again at once where it failed.
        Where several processes have the database, one without turns does the same: it learns whether others can renew.
        """
        kept = [stream for stream, keep in running if keep]
        writes = [row for stream in kept for row in self._checkpoints.rows(stream, self._owner)]
        renew = self._renewal_is_due() if renew is None else renew
        renew = renew and bool(running or not self._embedded)
        if renew:
            # One statement for all: each row's lease stands in an index, and to move it costs more than the text.
            mine = {"owner": self._owner, "status": "running"}
            writes.append(Write(turns, "update", {"lease_until": _now() + self._lease}, mine))
        writes += self._checkpoints.removals()
        if not writes:
            return None
        done = self._database.submit(writes)
        self._checkpoints.committing(kept, done)
        if renew:
            done.add_done_callback(self._renewal_done)
        return done

    def _renewal_is_due(self) -> bool:
        return self._renewed is None or self._clock() - self._renewed >= self._lease.total_seconds() / RENEWALS

    def _renewal_done(self, done: asyncio.Future[None]) -> None:
        if not done.cancelled() and done.exception() is None:
            self._renewed = self._clock()
            self._patience.answered()

    def end(self, stream: Stream, keep: bool, ended: StreamEnded, closing: Closing, n: int) -> asyncio.Future[None]:
        """Write the end of a turn and what its command leaves behind in one transaction; `n` numbers the terminal event.

        Where the accept commit did not go through, its rows are written now, before the end's. Where another process took
        this one for dead and has closed the turn, its end is written over that one. Where the database refuses the
        command's rows, then or now, the turn's own row is written without them, and the future fails.
        """
        self._checkpoints.end(stream.id)
        saved = closing.event if isinstance(closing.event, MessageSaved) else None
        said = msgspec.structs.replace(stream.said, saved=saved) if keep else Said()
        values = _end_values(ended, said) | {"n": n}
        where = {"stream": stream.id, "owner": self._owner}
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        told.add_done_callback(lambda done: done.cancelled() or done.exception())
        alone = _end_values(msgspec.structs.replace(ended, saved=False), msgspec.structs.replace(said, saved=None))
        # Where it is refused, a `status` that says so comes before the end, in the place of the closing event.
        refused = Write(turns, "update", alone | {"n": n + (closing.event is None)}, where)
        closed = NotOwner("this turn was closed by another server")
        first = Write(turns, "update", values, {**where, "status": "running"}, closed)
        over = closing.over or (lambda: closing.rows)

        def write(_: object = None) -> None:
            accept, refusal = self._not_accepted(stream.id)
            bare = [*accept[:1], refused]
            if refusal is None:
                self._submit(_End(stream.id, [*accept, first, *closing.rows], told, over=over, bare=bare))
                return
            self._submit(_End(stream.id, bare))
            if not told.done():
                told.set_exception(refusal)

        _, accepting = self._accepting.get(stream.id, ([], None))
        if accepting is None or accepting.done():
            write()
        else:
            accepting.add_done_callback(write)
        return told

    def _submit(self, end: _End) -> None:
        self._database.submit(end.writes).add_done_callback(partial(self._submitted, end))

    def _not_accepted(self, stream: str) -> tuple[list[Write], BaseException | None]:
        """The rows of an accept commit that did not go through, and why the database will never take them."""
        writes, future = self._accepting.pop(stream, ([], None))
        if future is None or not future.done() or future.cancelled():
            return writes, None
        error = future.exception()
        if error is None:
            return [], None
        return writes, None if getattr(error, "retryable", False) else error

    def retry_unsaved(self) -> None:
        """Submit again the ends that the database did not take."""
        for _ in range(len(self._unsaved)):
            self._submit(self._unsaved.popleft())

    def _submitted(self, end: _End, done: asyncio.Future[None]) -> None:
        if done.cancelled():
            if end.told is not None:
                end.told.cancel()
            return
        if (error := done.exception()) is None:
            end.tell(None)
            return
        if isinstance(error, NotOwner) and end.go_over():
            log.warning("turn_closed_by_another", stream=end.stream)
            self._submit(end)
            return
        end.tell(error)
        if isinstance(error, EngineError) and not error.retryable:
            log.error("turn_end_refused", stream=end.stream, error=error.message)
            if end.bare is not None:
                self._submit(_End(end.stream, end.bare))
            return
        if len(self._unsaved) >= UNSAVED_LIMIT:
            log.error("turn_end_dropped", stream=self._unsaved.popleft().stream)
        self._unsaved.append(end)
        log.warning("turn_end_waits_for_database", stream=end.stream, waiting=len(self._unsaved))

    def runs_elsewhere(self, record: TurnRecord) -> bool:
        """True for a turn of another process whose end is not written: whether it lives is `is_lost`'s to say."""
        return not self._embedded and record.ended is None and record.owner != self._owner

    def is_lost(self, record: TurnRecord) -> bool:
        """True for a turn of another process that is dead: for certain, or as its lease says where that can be relied on."""
        if record.ended is not None or record.owner == self._owner:
            return False
        if self._embedded or is_dead(record.owner):
            return True
        return self._patience.over and record.lease_until < _now() and not is_alive(record.owner)

    @property
    def is_patient(self) -> bool:
        """True while a process that lives may not have had the chance to write what it has to."""
        return not self._embedded and not self._patience.over

    async def forgetting(self, principal: Principal, left: Mapping[str, Said]) -> list[Write]:
        """The rows that leave of the principal's turns only what `left` says, beside how they ended and what they used."""
        for end in self._unsaved:
            end.writes = _leaving(end.writes, left)
            end.bare = end.bare and _leaving(end.bare, left)
        ended, parts = await self._database.look(partial(_ends_and_parts, principal=principal.id, streams=list(left)))
        mine = {stream: {"stream": stream, "principal": principal.id} for stream in left}
        return [
            *(Write(turns, "update", {"said": said}, mine[stream]) for stream, said in left.items()),
            *(
                Write(turns, "update", {"ended": _without_words(end), "detail": {}}, mine[stream])
                for stream, end in ended.items()
            ),
            *(Write(turn_parts, "delete", {}, {"stream": stream}) for stream in parts),
        ]

    async def by_key(self, principal: Principal, key: str) -> TurnRecord | None:
        """The turn that was started under this key, by any process."""
        return await self._one(and_(turns.c.principal == principal.id, turns.c.key == key))

    async def by_stream(self, principal: Principal, stream: str) -> TurnRecord | None:
        """The caller's turn of this id."""
        return await self._one(and_(turns.c.stream == stream, turns.c.principal == principal.id))

    async def _one(self, condition: Any) -> TurnRecord | None:
        rows = await self._database.look(partial(read_turns, condition=condition, limit=1))
        return _record(rows[0]) if rows else None

    async def reap(self, recover: Callable[[str], Callable[[Lost], Closing] | None]) -> int:
        """Close the turns whose process died, with what it checkpointed; gives how many, at most `REAPED`.

        `recover` finds a command's rows for a lost turn. Another live process's turns are left alone: theirs is the lease,
        once every process has had the time to renew it, and a process of this machine is known to live or to be dead. The
        embedded database has one process, so whatever runs there under another owner is lost.
        """
        others = and_(turns.c.status == "running", turns.c.owner != self._owner)
        lost = others
        if not self._embedded:
            owners = await self._database.look(partial(_owners, others=others))
            lost = and_(others, turns.c.owner.in_([owner for owner in owners if is_dead(owner)]))
            if self._patience.over:
                quiet = [owner for owner in owners if not is_alive(owner)]
                lost = or_(lost, and_(others, turns.c.owner.in_(quiet), turns.c.lease_until < _now()))
        rows = await self._database.look(partial(read_turns, condition=lost, limit=REAPED))
        for row in rows:
            record = _record(row)
            ended = lost_end(record)
            ending = Ending(
                stream=record.stream,
                status=ended.status,
                reason=ended.reason,
                said=record.said,
                error=ended.error,
                model=ended.model,
                usage=ended.usage,
            )
            try:
                find = recover(record.command) if row["keep"] else None
                lost_turn = Lost(record.stream, record.principal, record.detail, ending)
                closing = find(lost_turn) if find is not None else Closing()
                await self._database.submit([_lost_row(record, ended, closing), *closing.rows])
            except NotOwner:
                continue  # another server was quicker, or its own was only slow
            except Exception as error:
                if getattr(error, "retryable", False):
                    raise
                # What its command would have written is lost; the turn itself is over all the same.
                log.exception("turn_recovery_crashed", stream=record.stream, command=record.command)
                with suppress(NotOwner):
                    await self._database.submit([_lost_row(record, ended, Closing())])
            log.warning("turn_recovered", stream=record.stream, characters=len(record.said.text))
        if rows:
            await self._remove_leftovers()
        return len(rows)

    async def _remove_leftovers(self) -> None:
        streams = await self._database.look(leftovers)
        await self._database.submit([Write(turn_parts, "delete", {}, {"stream": stream}) for stream in streams])


def _owners(connection: Connection, others: Any) -> list[str]:
    return list(connection.execute(select(turns.c.owner).where(others).distinct()).scalars())


def _leaving(writes: Sequence[Write], left: Mapping[str, Said]) -> list[Write]:
    """The same rows, in which of some turns only what is left of their content is written."""
    return [
        msgspec.structs.replace(write, values={**write.values, "said": left[write.where["stream"]]})
        if write.table is turns and "said" in write.values and write.where.get("stream") in left
        else write
        for write in writes
    ]


def _ends_and_parts(
    connection: Connection, principal: str, streams: Sequence[str]
) -> tuple[dict[str, StreamEnded], list[str]]:
    """The terminal events of a principal's turns, and the turns among those that have checkpoints."""
    ended: dict[str, StreamEnded] = {}
    parts: list[str] = []
    for start in range(0, len(streams), CHUNK):
        mine = and_(turns.c.stream.in_(streams[start : start + CHUNK]), turns.c.principal == principal)
        over = select(turns.c.stream, turns.c.ended).where(mine, turns.c.status != "running")
        ended |= {row.stream: msgspec.convert(row.ended, StreamEnded) for row in connection.execute(over) if row.ended}
        kept = select(turn_parts.c.stream).distinct().join(turns, turns.c.stream == turn_parts.c.stream)
        parts += connection.execute(kept.where(mine, turns.c.status != "running")).scalars()
    return ended, parts


def _without_words(ended: StreamEnded) -> StreamEnded:
    """A terminal event without texts that may repeat what was asked or answered."""
    error = ended.error and msgspec.structs.replace(ended.error, message=FORGOTTEN, field=None)
    return msgspec.structs.replace(ended, error=error, extra=None)


def lost_end(record: TurnRecord) -> StreamEnded:
    """The terminal event of a turn whose process died: usage is estimated from what was checkpointed."""
    return StreamEnded(
        status="failed",
        reason="owner_lost",
        error=ErrorBody(
            code=OwnerLost.code,
            message="the server stopped in the middle of this turn; what it had said is kept",
            retryable=True,
        ),
        model=record.model,
        usage=_estimate(record),
        cost=None if record.reserved_cost is None else Cost(amount=record.reserved_cost),
        saved=True,
    )


def _lost_last(n: int) -> int:
    """Number of the end of a turn that was lost behind `n`.

    It leaves room for a saved message, which nobody knows of before the turn is closed: who asks before and after that gets
    one number.
    """
    return n + LEAP + 2


def _estimate(record: TurnRecord) -> Usage:
    """Where a budget had put tokens aside, these: the vendor may charge for all of them."""
    said = about(weight(record.said.text))
    sent = max(0, (record.reserved_tokens or 0) - said)
    return Usage(input_tokens=sent, output_tokens=said, estimated=True)


def _lost_row(record: TurnRecord, ended: StreamEnded, closing: Closing) -> Write:
    saved = closing.event if isinstance(closing.event, MessageSaved) else None
    said = msgspec.structs.replace(record.said, saved=saved)
    values = _end_values(ended, said) | {"n": _lost_last(record.n)}
    # Its owner may have renewed the lease since it was read: then the turn runs.
    running = {
        "stream": record.stream,
        "owner": record.owner,
        "status": "running",
        "lease_until": record.lease_until,
    }
    return Write(turns, "update", values, running, NotOwner("this turn was closed by another server"))


def _end_values(ended: StreamEnded, said: Said) -> dict[str, Any]:
    usage, cost = ended.usage or Usage(), ended.cost or Cost(amount="0")
    # A turn that was refused before any model answered keeps the one that it asked for.
    model = {"model": ended.model} if ended.model is not None else {}
    return {
        **model,
        "status": ended.status,
        "said": said,
        "ended": ended,
        "input_tokens": min(usage.input_tokens, MOST_IN_COLUMN),
        "output_tokens": min(usage.output_tokens, MOST_IN_COLUMN),
        "cost": cost.amount,
        "currency": cost.currency,
        "ended_at": _now(),
    }


def _record(row: Mapping[str, Any]) -> TurnRecord:
    return TurnRecord(
        stream=row["stream"],
        command=row["command"],
        principal=row["principal"],
        body_hash=row["body_hash"],
        status=row["status"],
        n=row["n"],
        said=msgspec.convert(row["said"] or {}, Said),
        ended=msgspec.convert(row["ended"], StreamEnded) if row["ended"] else None,
        model=row["model"],
        owner=row["owner"],
        lease_until=row["lease_until"],
        detail=row["detail"] or {},
        api_key=row["api_key"],
        reserved_cost=row["reserved_cost"],
        reserved_tokens=row["reserved_tokens"],
    )
