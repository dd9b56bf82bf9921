"""Calls of tools one after the other, for dialects in which only one part of an answer grows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from engine.api import Event, StreamEnded, ToolCall, ToolDelta


@dataclass(slots=True)
class WrittenCall:
    """A call as it is written. `whole` is the call itself, once the model has made it."""

    call_id: str
    name: str
    pieces: list[str] = field(default_factory=list)
    whole: ToolCall | None = None
    opened_whole: bool = False
    """Whether it was made already when it opened."""
    _incomplete: int = -1

    @property
    def arguments(self) -> str:
        """The arguments as far as they are known."""
        return self.whole.arguments if self.whole is not None else "".join(self.pieces)

    @property
    def call(self) -> ToolCall:
        """The call, with what is known of it."""
        return self.whole or ToolCall(call_id=self.call_id, name=self.name, arguments=self.arguments)

    def is_complete(self) -> bool:
        """Whether nothing is missing: the call is made, or its arguments are a whole JSON text."""
        if self.whole is not None:
            return True
        if self._incomplete == len(self.pieces) or not self.pieces or not self.pieces[-1].rstrip().endswith("}"):
            return False
        try:
            msgspec.json.decode("".join(self.pieces))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            self._incomplete = len(self.pieces)
            return False
        return True


@dataclass(frozen=True, slots=True)
class CallBegun:
    """A call opens."""

    call: WrittenCall


@dataclass(frozen=True, slots=True)
class CallGrown:
    """The open call goes on with a piece of its arguments."""

    call: WrittenCall
    piece: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The open call is closed; `cut` says that the stream ended in the middle of it."""

    call: WrittenCall
    cut: bool = False


@dataclass(frozen=True, slots=True)
class CallSigned:
    """A call that was closed as its arguments were whole is made, with the signature that its vendor wants back."""

    call: ToolCall


Step: TypeAlias = Event | CallBegun | CallGrown | CallEnded | CallSigned


class CallOrder:
    """Makes of a stream one in which each call is written from its beginning to its end.

    Models may write several calls at once, or words in the middle of one: what comes then waits until the open call is
    closed. That is when the call is made, or as soon as something else comes and its arguments are whole.
    """

    __slots__ = ("_closed", "_held", "_open", "_waiting")

    def __init__(self) -> None:
        self._open: WrittenCall | None = None
        self._waiting: dict[tuple[int, str], WrittenCall] = {}
        self._closed: set[tuple[int, str]] = set()
        self._held: list[Event] = []

    @property
    def writing(self) -> bool:
        """Whether a call is open."""
        return self._open is not None

    def take(self, event: Event) -> Iterator[Step]:
        """What comes of an event, in order."""
        if isinstance(event, ToolDelta):
            yield from self._delta(event)
        elif isinstance(event, ToolCall):
            yield from self._call(event)
        elif isinstance(event, StreamEnded):
            yield from self._rest()
            yield event
        elif self._open is None:
            yield event
        elif self._open.is_complete():
            yield from self._close()
            yield from self.take(event)
        else:
            self._held.append(event)

    def _delta(self, delta: ToolDelta) -> Iterator[Step]:
        key = (delta.choice, delta.call_id)
        if key in self._closed:
            return
        call = self._waiting.get(key)
        if call is None:
            if self._open is not None and self._open.is_complete():
                yield from self._close()
            call = self._waiting[key] = WrittenCall(delta.call_id, delta.name)
        call.pieces.append(delta.arguments)
        if self._open is call:
            yield CallGrown(call, delta.arguments)
        elif self._open is None:
            yield from self._next()

    def _call(self, made: ToolCall) -> Iterator[Step]:
        key = (made.choice, made.call_id)
        if key in self._closed:
            if made.signature is not None:
                yield CallSigned(made)
            return
        call = self._waiting.setdefault(key, WrittenCall(made.call_id, made.name))
        call.whole = made
        if self._open is call:
            yield from self._close()
        elif self._open is None or self._open.is_complete():
            if self._open is not None:
                yield from self._close()
            yield from self._next()

    def _next(self) -> Iterator[Step]:
        """Open the calls that wait, up to one that is not made yet."""
        while self._open is None and self._waiting:
            call = self._open = next(iter(self._waiting.values()))
            call.opened_whole = call.whole is not None
            yield CallBegun(call)
            if call.pieces:
                yield CallGrown(call, "".join(call.pieces))
            if call.whole is not None:
                yield from self._end()

    def _close(self) -> Iterator[Step]:
        """Close the open call, and go on with what has waited for that."""
        yield from self._end()
        yield from self._next()
        if self._open is None:
            held, self._held = self._held, []
            for event in held:
                yield from self.take(event)

    def _end(self, *, cut: bool = False) -> Iterator[Step]:
        call = self._open
        if call is None:
            return
        if not call.pieces and call.whole is not None and call.whole.arguments:
            yield CallGrown(call, call.whole.arguments)
        self._open = None
        key = next(key for key, each in self._waiting.items() if each is call)
        del self._waiting[key]
        self._closed.add(key)
        yield CallEnded(call, cut=cut)

    def _rest(self) -> Iterator[Step]:
        """Close what the end of the stream has left open."""
        while self._open is not None:
            yield from self._end(cut=not self._open.is_complete())
            yield from self._next()
        held, self._held = self._held, []
        for event in held:
            yield from self.take(event)
