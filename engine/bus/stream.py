"""A stream: its log, its owner, its lanes and its readers. Only the bus and the holder of the token touch it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import ref

import msgspec

from engine.api.errors import AnswerTooLong, EngineError, NotOwner, SlowConsumer, StreamOver
from engine.api.events import (
    Audio,
    Citation,
    Event,
    LaneEnded,
    LaneStarted,
    MessageSaved,
    ReasoningDelta,
    Status,
    StreamEnded,
    TextDelta,
    ToolCall,
    ToolDelta,
    TranscriptFinal,
)
from engine.api.identity import Principal
from engine.api.streams import Said
from engine.bus.log import Entry, Log
from engine.wire.control import StreamSnapshot
from engine.wire.frames import join_deltas, stream_prefix

PATIENCE = 20.0
"""Seconds for which an owner that keeps pace waits for a reader that takes nothing."""

LOOK = 0.02

MOST_LANES = 255
"""Names of lanes in one stream: a binary frame has one byte for the lane."""


ANSWER_CHARACTERS = 2_000_000
"""Characters of output that a stream may have, where nothing else is configured."""


OBJECT = 64
"""What a tool call, a citation or a token's probability counts for, in characters, beside its text."""


class Mark(NamedTuple):
    """How much output a stream had at some moment: pieces of each choice, and of the other kinds."""

    choices: tuple[int, ...] = ()
    reasoning: int = 0
    tool_calls: int = 0
    citations: int = 0
    logprobs: int = 0


class Token:
    """The right to write one stream. Compared by identity; there is at most one live token for a stream."""

    __slots__ = ("__weakref__", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream


class Stream:
    """One unit of work that clients can watch.

    `room` is how many characters of output it may still have; past it `publish` raises `AnswerTooLong`.
    `n` is the last number given, `waited` the seconds that its owner has waited for providers, `begun` whether one of them
    answers, `settled` whether the work is done, so that only its end is to come. `on_unwatched` is called when the last cursor
    of a running stream has left.
    """

    __slots__ = (
        "_choices",
        "_citations",
        "_cursors",
        "_lanes",
        "_last_token",
        "_logprobs",
        "_reasoning",
        "_saved",
        "_settling",
        "_token",
        "_tool_calls",
        "_writing",
        "begun",
        "ended",
        "id",
        "kind",
        "log",
        "n",
        "number",
        "on_unwatched",
        "prefix",
        "principal",
        "room",
        "settled",
        "started",
        "waited",
        "words",
    )

    def __init__(
        self,
        id: str,
        number: int,
        principal: Principal,
        kind: str,
        log: Log,
        started: float,
        room: int = ANSWER_CHARACTERS,
    ) -> None:
        self.id = id
        self.number = number
        self.principal = principal
        self.kind = kind
        self.log = log
        self.started = started
        self.room = room
        self.n = 0
        self.words = 0
        self.waited = 0.0
        self.ended: StreamEnded | None = None
        self.settled = False
        self.begun = False
        self.prefix = stream_prefix(id)
        self.on_unwatched: Callable[[], None] | None = None
        self._token: Token | None = None
        self._last_token: ref[Token] | None = None
        self._cursors: list[Cursor] = []
        self._lanes: dict[str, Lane] | None = None
        self._choices: list[list[str]] = [[]]
        self._reasoning: list[str] = []
        self._logprobs: list[dict[str, Any]] | None = None
        self._tool_calls: list[ToolCall] = []
        self._writing: dict[tuple[int, str], list[ToolDelta]] | None = None
        self._citations: list[Citation] = []
        self._saved: MessageSaved | None = None
        self._settling: list[asyncio.Future[None]] | None = None

    # The owner's side

    def grant(self) -> Token:
        """Make the current token; the one before is dead at this instant."""
        token = Token(self)
        if self.ended is None:
            self._token = token
        else:
            self._last_token = ref(token)
        return token

    def owned(self, token: Token) -> None:
        """Raises `NotOwner` unless `token` is the current one; asked before anything else, also after the end."""
        if token is not (self._token if self._last_token is None else self._last_token()):
            raise NotOwner(f"stream {self.id} is written by another owner")

    def publish(self, token: Token, event: Event) -> int:
        """Number an event, log it and wake the readers; gives the number. Never waits."""
        if token is not self._token:
            self.owned(token)
        if self.ended is not None:
            raise StreamOver(f"stream {self.id} ended at number {self.n}")
        text = type(event) is TextDelta
        if not text and isinstance(event, StreamEnded):
            raise TypeError("a stream is ended with end()")
        size = len(event.text) if text and event.logprobs is None else self._output(event)  # type: ignore[attr-defined]
        if size > self.room:
            raise AnswerTooLong("the answer is longer than this server takes; what came before is kept")
        # What the log does not take was not said.
        n = self.n + 1
        self.log.append(Entry(n, event))
        self.n = n
        self.room -= size
        if not text:
            self._fold(event)
        elif event.choice or event.logprobs is not None:  # type: ignore[attr-defined]
            self._fold_text(event)  # type: ignore[arg-type]
        else:
            self.words += 1
            self._choices[0].append(event.text)  # type: ignore[attr-defined]
        for cursor in self._cursors:
            cursor.wake(cursor)
        return n

    def begin(self, token: Token, answers: bool = True) -> None:
        """A provider has begun to answer, of which there may be nothing to show yet; or it was given up again."""
        self.owned(token)
        if self.begun is not answers:
            self.begun = answers
            self._wake()

    def settle(self, token: Token) -> None:
        """The work is done and has said all that it says; its end may still be written down."""
        self.owned(token)
        self.settled = True
        waiting, self._settling = self._settling or (), None
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def until_settled(self) -> None:
        """Wait for `settle`."""
        if self.settled:
            return
        future = asyncio.get_running_loop().create_future()
        self._settling = [*(self._settling or ()), future]
        await future

    def end(self, token: Token, event: StreamEnded) -> int:
        """Write the terminal event. Raises `LanesOpen` while a lent lane is, `StreamOver` at a second call."""
        self.owned(token)
        if self.ended is not None:
            raise StreamOver(f"stream {self.id} ended at number {self.n}")
        if self._lanes and any(lane.open for lane in self._lanes.values()):
            raise LanesOpen(f"stream {self.id} cannot end before its lanes have")
        self.log.append(Entry(self.n + 1, event))
        self.n += 1
        self.ended = event
        self.settle(token)
        # A stream and its token hold each other, and through `on_unwatched` a turn with all that it asked: left so, each
        # would be memory until the garbage collector came by.
        self._token, self._last_token = None, ref(token)
        self.on_unwatched = None
        return self._wake()

    def lend(self, token: Token, name: str, *, format: str | None = None, rate: int | None = None) -> Lane:
        """Open a lane: its holder may write it and may not end the stream.

        A name keeps its number for the stream's life, so that old audio can be told apart at a replay, too.
        """
        self.owned(token)
        if self._lanes is None:
            self._lanes = {}
        former = self._lanes.get(name)
        if former is not None and former.open:
            raise ValueError(f"lane {name} of stream {self.id} is open already")
        number = former.number if former is not None else len(self._lanes) + 1
        if number > MOST_LANES:
            raise ValueError(f"stream {self.id} has {MOST_LANES} lanes already; lend one of them again")
        lane = Lane(self, token, name, number)
        self.publish(token, LaneStarted(lane=name, number=number, format=format, rate=rate))
        self._lanes[name] = lane
        return lane

    def end_lanes(self, token: Token, status: Status = "cancelled") -> None:
        """End every lane that is still open."""
        self.owned(token)
        for lane in (self._lanes or {}).values():
            if lane.open:
                lane.open = False
                self.publish(token, LaneEnded(lane=lane.name, status=status))

    def lane_number(self, name: str) -> int:
        """The number that a lane's binary frames carry; 0 where there is no such lane."""
        lane = (self._lanes or {}).get(name)
        return lane.number if lane is not None else 0

    # What it has said

    @property
    def said(self) -> Said:
        """Everything said so far."""
        return msgspec.structs.replace(self.said_since(Mark()), saved=self._saved)

    def snapshot(self, n: int) -> StreamSnapshot:
        """All of it in one frame, for a reader to whom number `n + 1` comes next."""
        said = self.said
        writing = (join_deltas(pieces) for pieces in (self._writing or {}).values())
        return StreamSnapshot(
            stream=self.id,
            n=n,
            text=said.text,
            tool_calls=list(said.tool_calls),
            reasoning=said.reasoning,
            tool_deltas=[each for each in writing if isinstance(each, ToolDelta)],
        )

    @property
    def mark(self) -> Mark:
        """How much output there is so far."""
        return Mark(
            tuple(map(len, self._choices)),
            len(self._reasoning),
            len(self._tool_calls),
            len(self._citations),
            len(self._logprobs or ()),
        )

    def said_since(self, mark: Mark) -> Said:
        """The output that came after a mark: the parts of a stream, added up, are `said`."""
        before = mark.choices + (0,) * (len(self._choices) - len(mark.choices))
        choices = ["".join(pieces[start:]) for pieces, start in zip(self._choices, before, strict=True)]
        return Said(
            text=choices[0],
            choices=tuple(choices) if len(choices) > 1 else (),
            reasoning="".join(self._reasoning[mark.reasoning :]),
            tool_calls=tuple(self._tool_calls[mark.tool_calls :]),
            citations=tuple(self._citations[mark.citations :]),
            logprobs=tuple(self._logprobs[mark.logprobs :]) if self._logprobs is not None else None,
        )

    def _fold_text(self, event: TextDelta) -> None:
        self.words += 1
        choices = self._choices
        if event.choice:
            while len(choices) <= event.choice:
                choices.append([])
        choices[event.choice].append(event.text)
        if event.logprobs is not None:
            if self._logprobs is None:
                self._logprobs = []
            self._logprobs.extend(event.logprobs)

    def _fold(self, event: Event) -> None:
        if isinstance(event, ReasoningDelta):
            self._reasoning.append(event.text)
        elif isinstance(event, ToolDelta):
            self._write(event)
        elif isinstance(event, ToolCall):
            self._tool_calls.append(event)
            if self._writing:
                self._writing.pop((event.choice, event.call_id), None)
        elif isinstance(event, Citation):
            self._citations.append(event)
        elif isinstance(event, TranscriptFinal):
            before = self._choices[0]
            before.append(f" {event.text}" if before else event.text)
        elif isinstance(event, MessageSaved):
            self._saved = event

    def _output(self, event: Event) -> int:
        """Characters of output that an event adds; the pieces of a call counted while they came."""
        size = _output(event)
        if self._writing and isinstance(event, ToolCall):
            size -= sum(map(_output, self._writing.get((event.choice, event.call_id), ())))
        return max(0, size)

    def _write(self, event: ToolDelta) -> None:
        if self._writing is None:
            self._writing = {}
        self._writing.setdefault((event.choice, event.call_id), []).append(event)

    def _wake(self) -> int:
        for cursor in self._cursors:
            cursor.wake(cursor)
        return self.n

    # The readers' side

    def subscribe(self, after: int, wake: Callable[[Cursor], None]) -> Cursor:
        """A cursor behind number `after`. `wake` is called at every event, synchronously: it must only take note."""
        cursor = Cursor(self, after, wake)
        self._cursors.append(cursor)
        return cursor

    def leave(self, cursor: Cursor) -> None:
        """Forget a cursor; the last one to leave a running stream is told to its supervisor."""
        if cursor in self._cursors:
            self._cursors.remove(cursor)
            if not self._cursors and self.ended is None and self.on_unwatched is not None:
                self.on_unwatched()

    @property
    def watched(self) -> bool:
        """True while somebody reads."""
        return bool(self._cursors)

    @property
    def lags(self) -> list[int]:
        """How many events each reader is behind."""
        return [self.n - cursor.after for cursor in self._cursors]


class Lane:
    """The lent right to write one lane. Dead with the token that lent it."""

    __slots__ = ("_token", "name", "number", "open", "stream")

    def __init__(self, stream: Stream, token: Token, name: str, number: int) -> None:
        self.stream = stream
        self.name = name
        self.number = number
        self.open = True
        self._token = token

    def audio(self, data: bytes, *, at: int = 0) -> None:
        """Publish audio of this lane; `at` is media time in milliseconds, which fits 32 bits."""
        if not 0 <= at < 1 << 32:
            raise ValueError(f"media time is 0 to {(1 << 32) - 1} ms, not {at}")
        self._write(Audio(lane=self.name, data=data, at=at))

    async def keep_pace(self, ahead: float) -> None:
        """Wait for the slowest reader; see `engine.api.LaneWriter`."""
        waited = 0.0
        before = self._unheard()
        while before > ahead and waited < PATIENCE:
            # Readers move by looking at the log, and tell nobody.
            await asyncio.sleep(LOOK)
            now = self._unheard()
            waited = 0.0 if now < before else waited + LOOK
            before = now

    def _unheard(self) -> float:
        """Seconds of this lane that the slowest reader has not taken."""
        after = min((cursor.after for cursor in self.stream._cursors), default=None)
        return 0.0 if after is None else self.stream.log.audio_after(self.name, after)

    def end(self, status: Status = "completed", error: EngineError | None = None) -> None:
        """End the lane; a second end is none."""
        if self.open:
            self._write(LaneEnded(lane=self.name, status=status, error=error.body() if error else None))
            self.open = False

    def _write(self, event: Event) -> None:
        self.stream.owned(self._token)
        if not self.open:
            raise StreamOver(f"lane {self.name} of stream {self.stream.id} is over")
        self.stream.publish(self._token, event)


class Cursor:
    """A reader's place in a stream's log. Replay and live reading are one path; nothing is queued for it."""

    __slots__ = ("after", "stream", "wake")

    def __init__(self, stream: Stream, after: int, wake: Callable[[Cursor], None]) -> None:
        self.stream = stream
        self.after = after
        self.wake = wake

    def take(self, limit: int = 1024) -> Sequence[Entry]:
        """The next entries, at most `limit`; moves the place. Raises `SlowConsumer` when they are no longer held."""
        entries = self.stream.log.read(self.after, limit)
        if entries:
            self.after = entries[-1].n
        return entries

    @property
    def behind(self) -> bool:
        """True while there is something to take."""
        return self.after < self.stream.log.committed

    @property
    def over(self) -> bool:
        """True once the terminal event was taken."""
        return self.stream.ended is not None and self.after >= self.stream.n

    def close(self) -> None:
        """Leave the stream; it goes on without this reader as its `on_disconnect` says."""
        # The reader holds this cursor and `wake` holds the reader: left so, the two would keep the stream's log in memory
        # until the garbage collector came by.
        self.wake = _asleep
        self.stream.leave(self)


def _output(event: Event) -> int:
    """Characters of output that an event adds to what its stream keeps; each object counts beside its text."""
    if isinstance(event, TextDelta):
        objects = sum(1 + len(each.get("top_logprobs") or ()) for each in event.logprobs or ())
        return len(event.text) + objects * OBJECT
    if isinstance(event, ReasoningDelta | TranscriptFinal):
        return len(event.text)
    if isinstance(event, ToolDelta):
        return len(event.arguments)
    if isinstance(event, ToolCall):
        return OBJECT + len(event.name) + len(event.arguments)
    if isinstance(event, Citation):
        return OBJECT + len(event.url) + len(event.title or "") + len(event.text or "")
    return 0


def _asleep(_: Cursor) -> None:
    """What a cursor wakes that nobody reads by any more."""


class LanesOpen(EngineError):
    """Raised when the owner ends a stream while a lane that it lent is still open."""

    code = "lanes_open"
    status = 409


__all__ = ("Cursor", "Lane", "LanesOpen", "SlowConsumer", "Stream", "Token")
