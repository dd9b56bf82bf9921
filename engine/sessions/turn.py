"""One running turn: its task, its stream, and the one way in which it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from engine.api.commands import Closing, Serve
from engine.api.errors import (
    Cancelled,
    EngineError,
    ErrorBody,
    Internal,
    LogUnavailable,
    NotOwner,
    ProviderError,
    ShuttingDown,
)
from engine.api.events import Cost, Reason, Status, StatusChanged, StreamEnded, StreamStarted, Usage
from engine.api.streams import CancelAfter, Ending, OnDisconnect
from engine.bus.bus import Bus
from engine.bus.stream import Stream, Token
from engine.guard import let_go, raised_at
from engine.log import bound_contextvars, get_logger
from engine.sessions.ledger import Ledger
from engine.sessions.table import CommandTable
from engine.sessions.writer import StreamWriter
from engine.tracing import Tracing
from engine.wire.frames import encode_json

log = get_logger(__name__)

SAVED_WITHIN = 5.0
"""Seconds that the terminal event waits for the end commit."""

STOPPED_WITHIN = 5.0
"""Seconds that a cancelled task has to come to its end before the stream ends without it."""

WATCHED_WITHIN = 1.0
"""Seconds in which a turn that stops without a watcher must get its first: its caller may have left while it was prepared."""

NOT_SAVED = "not_saved"
"""Stage of the `status` that says, by an error's code, why nothing of a turn could be kept: its conversation is gone."""

_STOPPED: dict[Reason, type[EngineError]] = {"shutdown": ShuttingDown}


class Turn:
    """Runs what a command prepared, and ends its stream exactly once, however the task came out.

    `table` has the commands that it was started with: calls about it are answered by these, whatever was switched since.
    `accepted` is the commit of the turn's row: the end commit waits for it. `on_over` is told when the stream has ended.
    `begun` is when its command came, by `time.perf_counter`.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        token: Token,
        serve: Serve,
        command: str,
        scope: str,
        table: CommandTable,
        on_disconnect: OnDisconnect,
        ledger: Ledger | None,
        accepted: asyncio.Future[None] | None,
        on_over: Callable[[Turn], None],
        begun: float,
        tracing: Tracing,
    ) -> None:
        self.stream: Stream = token.stream
        self.begun = begun
        self.command = command
        self.scope = scope
        self.table = table
        self.serve = serve
        self.writer = StreamWriter(token)
        self.ended: StreamEnded | None = None
        self._tracing = tracing
        self._bus = bus
        self._token = token
        self._on_disconnect = on_disconnect
        self._ledger = ledger
        self._accepted = accepted
        self._on_over = on_over
        self._stop: Reason | None = None
        self._failing: EngineError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._ending = False
        self._released = False

    def begin(self) -> None:
        """Publish the first event and start the work."""
        self.stream.on_unwatched = self._unwatched
        self.stream.publish(self._token, StreamStarted(model=self.serve.model))
        self._task = self._loop.create_task(self._work(), name=f"turn {self.stream.id}")
        self._task.add_done_callback(self._served)
        policy = self._on_disconnect
        if policy != "continue":
            within = policy.cancel_after if isinstance(policy, CancelAfter) else WATCHED_WITHIN
            self._arm(within, self._nobody_came_back)

    async def _work(self) -> None:
        who = self.stream.principal
        with (
            bound_contextvars(stream=self.stream.id, principal=who.id, key=who.key),
            self._tracing.turn(self.command, self.stream.id) as span,
        ):
            try:
                await self.serve.serve(self.writer)
            finally:
                writer, usage = self.writer, self.writer.usage or Usage()
                span.tell(
                    gen_ai__response__model=writer.model,
                    gen_ai__usage__input_tokens=usage.input_tokens,
                    gen_ai__usage__output_tokens=usage.output_tokens,
                    betterai__cost=writer.cost.amount if writer.cost is not None else None,
                )

    @property
    def running(self) -> bool:
        """False once the work is over, though its end may not be written yet."""
        return not self._ending

    def cancel(self, reason: Reason) -> None:
        """Stop the work; its end follows. A second cancel changes nothing, nor one that comes when the work is done."""
        if self._ending or self._stop is not None or self._task is None or self._task.done():
            return
        self._stop = reason
        self._task.cancel()
        self._arm(STOPPED_WITHIN, self._abandon)

    def fail(self, error: EngineError) -> None:
        """Stop the work for a reason of the server's own, which the end tells as a failure."""
        if not self._ending and self._stop is None:
            self._failing = error
            self.cancel("shutdown")

    def _unwatched(self) -> None:
        if self._ending or self._stop is not None:
            return
        if self._on_disconnect == "cancel":
            self.cancel("disconnect")
        elif isinstance(self._on_disconnect, CancelAfter):
            self._arm(self._on_disconnect.cancel_after, self._nobody_came_back)

    def _nobody_came_back(self) -> None:
        if not self.stream.watched:
            self.cancel("disconnect")

    def _arm(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, then)

    def _abandon(self) -> None:
        log.error("turn_ignores_cancel", stream=self.stream.id, command=self.command)
        self._end(*self._stopped())

    def _served(self, task: asyncio.Task[None]) -> None:
        # A task cancelled before its first step never enters its own `finally`, so the end is written from here.
        error = None if task.cancelled() else task.exception()
        self._task = None  # it holds the traceback of its error, whose frames hold this turn
        try:
            self._end_as(task, error)
        finally:
            let_go(error)

    def _end_as(self, task: asyncio.Task[None], error: BaseException | None) -> None:
        """Write the end that follows from how the work ended."""
        if self._ending:
            return
        if self._stop is not None:
            # However the work took the cancel: what it left unsaid makes it no completed one.
            if error is not None and not isinstance(error, EngineError):
                log.warning("turn_crashed_when_cancelled", stream=self.stream.id, command=self.command, exc_info=error)
            self._end(*self._stopped())
        elif task.cancelled():
            self._end("failed", "internal", Internal("the turn was stopped from within the server"))
        elif error is None:
            self._end("completed", "done", None)
        else:
            self._end(*self._failed(error))

    def _stopped(self) -> tuple[Status, Reason, EngineError | None]:
        reason = self._stop or "client_cancel"
        if self._failing is not None:
            return "failed", reason, self._failing
        kind = _STOPPED.get(reason, Cancelled)
        message = {
            "client_cancel": "the turn was cancelled",
            "disconnect": "nobody watched the turn any more",
            "shutdown": "the server went down before the turn was done",
        }.get(reason, "the turn was stopped")
        return "cancelled", reason, kind(message)

    def _failed(self, error: BaseException) -> tuple[Status, Reason, EngineError]:
        if isinstance(error, LogUnavailable):
            return "failed", "log_unavailable", error
        if isinstance(error, NotOwner):
            return "failed", "owner_lost", error
        if isinstance(error, EngineError):
            reason: Reason = "provider_error" if isinstance(error, ProviderError) else "internal"
            return "failed", "provider_error" if error.status < 500 else reason, error
        log.error(
            "turn_crashed",
            stream=self.stream.id,
            command=self.command,
            plugin=self.table.owner(self.command),
            at=raised_at(error),
            exc_info=error,
        )
        return "failed", "internal", Internal("the turn failed inside the server; its log has the cause")

    def _end(self, status: Status, reason: Reason, error: EngineError | None) -> None:
        """Take the right to write away from the work, write the end down, then tell it."""
        self._ending = True
        if self._timer is not None:
            self._timer.cancel()
        self._token = self._bus.handover(self._token)
        self.stream.end_lanes(self._token)
        self.stream.settle(self._token)
        writer = self.writer
        body: ErrorBody | None = error.body() if error is not None and status == "failed" else None
        ended = StreamEnded(
            status=status,
            reason=reason,
            finish_reason=writer.finish_reasons[0] if writer.finish_reasons else None,
            finish_reasons=writer.finish_reasons if len(writer.finish_reasons) > 1 else None,
            error=body,
            model=writer.model,
            usage=writer.usage or Usage(),
            cost=writer.cost or (None if writer.usage else Cost(amount="0")),
            extra=writer.extras,
        )
        ended = self._sendable(ended)
        closing = self._closing(ended)
        if self._ledger is None:
            self._tell(ended, closing, None)
        else:
            _Commit(self, self._ledger, self._accepted, ended, closing).begin()

    def _sendable(self, ended: StreamEnded) -> StreamEnded:
        """The same end, without what the work put into it that has no JSON."""
        try:
            encode_json(ended)
        except Exception:
            log.exception("turn_end_not_encodable", stream=self.stream.id, command=self.command)
            problem = Internal("the turn failed, and what it said of its failure could not be sent")
            return StreamEnded(
                status=ended.status,
                reason=ended.reason,
                finish_reason=ended.finish_reason,
                error=problem.body() if ended.error is not None else None,
                usage=ended.usage,
                cost=ended.cost,
            )
        return ended

    def _closing(self, ended: StreamEnded) -> Closing:
        if self.serve.closing is None:
            return Closing()
        ending = Ending(
            stream=self.stream.id,
            status=ended.status,
            reason=ended.reason,
            said=self.stream.said,
            finish_reason=ended.finish_reason,
            error=ended.error,
            model=ended.model,
            usage=ended.usage,
            cost=ended.cost,
        )
        try:
            return self.serve.closing(ending)
        except Exception:
            log.exception("turn_closing_crashed", stream=self.stream.id, command=self.command)
            return Closing()

    def _tell(
        self, ended: StreamEnded, closing: Closing, saved: bool | None, refused: EngineError | None = None
    ) -> None:
        """Publish what the commit brought, or why it was refused, free what the turn held, publish the terminal event."""
        if refused is not None:
            with contextlib.suppress(Exception):
                self.stream.publish(self._token, StatusChanged(stage=NOT_SAVED, detail=refused.code))
        if closing.event is not None and saved is not False:
            try:
                self.stream.publish(self._token, closing.event)
            except Exception:
                log.exception("turn_closing_event_refused", stream=self.stream.id, command=self.command)
        self.release()
        self.ended = msgspec.structs.replace(ended, saved=saved)
        self._bus.end(self._token, self.ended)
        self._on_over(self)

    def release(self) -> None:
        """Free what the command holds for the turn, once."""
        if not self._released and self.serve.released is not None:
            with contextlib.suppress(Exception):
                self.serve.released()
        self._released = True


class _Commit:
    """Writes a turn's end: after the accept commit, and for at most `SAVED_WITHIN` seconds."""

    def __init__(
        self, turn: Turn, ledger: Ledger, accepted: asyncio.Future[None] | None, ended: StreamEnded, closing: Closing
    ) -> None:
        self._turn = turn
        self._ledger = ledger
        self._accepted = accepted
        self._ended = ended
        self._closing = closing
        self._told = False

    def begin(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SAVED_WITHIN, self._tell, False)
        if self._accepted is None or self._accepted.done():
            self._write(self._accepted)
        else:
            self._accepted.add_done_callback(self._write)
            self._ledger.hurry()

    def _write(self, accepted: asyncio.Future[None] | None) -> None:
        if accepted is not None and not accepted.cancelled():
            accepted.exception()  # looked at: the ledger writes what the accept commit could not
        turn = self._turn
        n = turn.stream.n + (2 if self._closing.event is not None else 1)
        record = msgspec.structs.replace(self._ended, saved=True)
        done = self._ledger.end(turn.stream, turn.serve.keep, record, self._closing, n)
        done.add_done_callback(self._done)

    def _done(self, done: asyncio.Future[None]) -> None:
        error = None if done.cancelled() else done.exception()
        self._tell(not done.cancelled() and error is None, error)

    def _tell(self, saved: bool, error: BaseException | None = None) -> None:
        if not self._told:
            self._told = True
            self._timer.cancel()
            refused = error if isinstance(error, EngineError) and not error.retryable else None
            self._turn._tell(self._ended, self._closing, saved, refused)
