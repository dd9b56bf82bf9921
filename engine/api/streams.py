"""The rights to write and to read a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from engine.api.chat import ChatDelta
from engine.api.errors import ErrorBody, InvalidRequest
from engine.api.events import (
    Citation,
    Cost,
    Event,
    FinishReason,
    MessageSaved,
    Reason,
    Status,
    StreamEnded,
    ToolCall,
    Usage,
)
from engine.api.identity import Principal


class CancelAfter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Stop the turn this many seconds after its last watcher has left."""

    cancel_after: float


OnDisconnect: TypeAlias = Literal["continue", "cancel"] | CancelAfter
"""What happens to a turn when nobody watches it any more."""


_LONGEST_ABSENCE = 86_400
"""Seconds that a turn may wait for somebody to come back, at most."""

ON_DISCONNECT: dict[str, Any] = {
    "description": "What becomes of the turn when its last watcher has left.",
    "anyOf": [
        {"enum": ["continue", "cancel"]},
        {
            "type": "object",
            "properties": {
                "cancel_after": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": _LONGEST_ABSENCE,
                    "description": "Seconds.",
                }
            },
            "required": ["cancel_after"],
            "additionalProperties": False,
        },
    ],
    "default": "continue",
}
"""Its JSON schema."""


def parse_on_disconnect(value: object) -> OnDisconnect:
    """`continue`, `cancel`, or `{"cancel_after": seconds}`."""
    if value == "continue":
        return "continue"
    if value == "cancel":
        return "cancel"
    try:
        policy = msgspec.convert(value, CancelAfter)
    except msgspec.ValidationError:
        policy = None
    if policy is None or not 0 <= policy.cancel_after <= _LONGEST_ABSENCE:
        raise InvalidRequest(
            'on_disconnect is "continue", "cancel", or {"cancel_after": seconds} with at most 86400',
            field="on_disconnect",
        )
    return policy


class LaneWriter(Protocol):
    """The lent right to write one lane of a stream."""

    def audio(self, data: bytes, *, at: int = 0) -> None:
        """Publish audio; `at` is media time in milliseconds."""
        ...

    async def keep_pace(self, ahead: float) -> None:
        """Wait until the slowest reader has at most `ahead` seconds of the lane before it.

        Who makes audio faster than it is taken would lose it to those who are slow. A reader that takes nothing for a while is
        not waited for, and nobody is where nobody reads.
        """
        ...


class Writer(Protocol):
    """The right to write a stream, not to end it: its supervisor does that when the work is over.

    No method waits. Every one raises `NotOwner` once the right has passed on, `StreamOver` after the end.
    """

    @property
    def id(self) -> str: ...

    @property
    def principal(self) -> Principal: ...

    @property
    def watched(self) -> bool:
        """True while somebody reads the stream."""
        ...

    def text(self, text: str, *, choice: int = 0) -> None:
        """Publish a piece of the answer."""
        ...

    def reasoning(self, text: str) -> None:
        """Publish a piece of the model's thinking."""
        ...

    def status(self, stage: str, detail: str | None = None) -> None:
        """Tell whoever waits what is going on."""
        ...

    def publish(self, event: Event, /) -> None:
        """Publish one event of the stream's own lane; never a terminal one."""
        ...

    def extend(self, deltas: Iterable[ChatDelta | Event]) -> None:
        """Publish what one read brought: adjacent pieces of one kind are joined, what is no event is left out."""
        ...

    def lane(
        self, name: str, *, format: str | None = None, rate: int | None = None
    ) -> AbstractAsyncContextManager[LaneWriter]:
        """Lend a lane: it opens with `lane.started` and ends with `lane.ended` when the block does."""
        ...

    def meter(
        self,
        *,
        model: str | None = None,
        usage: Usage | None = None,
        cost: Cost | None = None,
        waited: float = 0.0,
    ) -> None:
        """Record which model answers and what it used; the terminal event tells it, however the turn ends.

        `waited` are the seconds that providers took since the last time that this was told.
        """
        ...

    def begun(self, answers: bool = True) -> None:
        """Say that the vendor has begun to answer, whether or not there is anything to show of it yet.

        False takes it back: it failed, and another one may be asked.
        """
        ...

    def finish(self, reason: FinishReason, *, choice: int = 0) -> None:
        """Say why the model stopped with a choice, for the terminal event."""
        ...

    def extra(self, fields: dict[str, object]) -> None:
        """Add fields of the vendor's answer that the engine does not use to the terminal event."""
        ...


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a stream has said so far, folded."""

    text: str = ""
    choices: tuple[str, ...] = ()
    """The text of every choice, where more than one was asked for."""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    citations: tuple[Citation, ...] = ()
    logprobs: tuple[dict[str, Any], ...] | None = None
    saved: MessageSaved | None = None


class Partial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a turn had said before it failed, in the error of an answer that was to be whole."""

    text: str = ""
    choices: tuple[str, ...] = ()
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a turn came out, before it is written down and told."""

    stream: str
    status: Status
    reason: Reason
    said: Said
    finish_reason: FinishReason | None = None
    error: ErrorBody | None = None
    model: str | None = None
    usage: Usage | None = None
    cost: Cost | None = None


class StreamReader(Protocol):
    """A reader of one stream, in process: each number once and in order, replay and live reading alike."""

    @property
    def stream(self) -> str: ...

    @property
    def said(self) -> Said:
        """All that the stream has said up to now, whether or not it was read here."""
        ...

    @property
    def over(self) -> StreamEnded | None:
        """The terminal event, once there is one."""
        ...

    def __aiter__(self) -> AsyncIterator[tuple[int, Event]]:
        """Number and event, up to and with `stream.ended`. Raises `SlowConsumer` when the reader fell off the tail."""
        ...

    async def whole(self) -> Said:
        """Wait until all was said: earlier than the terminal event, which waits until the turn is written down."""
        ...

    async def ended(self) -> StreamEnded:
        """Wait for the terminal event without reading what comes before it."""
        ...

    def cancel(self) -> None:
        """Stop the turn; the cancel reaches the vendor."""
        ...

    def close(self) -> None:
        """Stop watching; what becomes of the turn is said by its `on_disconnect`."""
        ...
