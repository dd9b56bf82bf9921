"""The right to write a stream, as the code that serves a turn holds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any, cast

from engine.api.chat import ChatDelta
from engine.api.errors import EngineError, Internal
from engine.api.events import (
    Cost,
    Event,
    FinishReason,
    ReasoningDelta,
    StatusChanged,
    TextDelta,
    ToolDelta,
    Usage,
)
from engine.api.identity import Principal
from engine.bus.stream import Lane, Stream, Token
from engine.wire.frames import join_deltas


class StreamWriter:
    """Implements `engine.api.Writer`; what it meters is read by the turn's supervisor."""

    __slots__ = (
        "__weakref__",
        "_stream",
        "_token",
        "answered",
        "cost",
        "extras",
        "finish_reasons",
        "first_word",
        "model",
        "publish",
        "usage",
    )

    def __init__(self, token: Token) -> None:
        self._token = token
        self._stream: Stream = token.stream
        # Without a frame of its own: every piece of every answer passes here.
        self.publish: Callable[[Event], None] = cast("Callable[[Event], None]", partial(token.stream.publish, token))
        self.model: str | None = None
        self.answered: float | None = None
        """When the model was first known, which is when it began to answer, on the loop's clock."""
        self.first_word: tuple[float, float] | None = None
        """That moment by `time.perf_counter`, and the seconds before it that went by waiting for providers."""
        self.usage: Usage | None = None
        self.cost: Cost | None = None
        self.finish_reasons: list[FinishReason | None] = []
        self.extras: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        return self._stream.id

    @property
    def principal(self) -> Principal:
        return self._stream.principal

    @property
    def watched(self) -> bool:
        return self._stream.watched

    def text(self, text: str, *, choice: int = 0) -> None:
        self._stream.publish(self._token, TextDelta(text, choice))

    def reasoning(self, text: str) -> None:
        self._stream.publish(self._token, ReasoningDelta(text))

    def status(self, stage: str, detail: str | None = None) -> None:
        self._stream.publish(self._token, StatusChanged(stage=stage, detail=detail))

    def extend(self, deltas: Iterable[ChatDelta | Event]) -> None:
        publish = self.publish
        pieces: list[Event] = []
        for delta in deltas:
            kind = type(delta)
            if kind is TextDelta or kind is ReasoningDelta or kind is ToolDelta:
                if pieces and not _alike(pieces[0], delta):  # type: ignore[arg-type]
                    publish(_joined(pieces))
                    pieces = []
                if kind is TextDelta and delta.logprobs is not None:  # type: ignore[union-attr]
                    publish(delta)  # type: ignore[arg-type]
                else:
                    pieces.append(delta)  # type: ignore[arg-type]
            elif isinstance(delta, Event):
                if pieces:
                    publish(_joined(pieces))
                    pieces = []
                publish(delta)
        if pieces:
            publish(_joined(pieces))

    @asynccontextmanager
    async def lane(self, name: str, *, format: str | None = None, rate: int | None = None) -> AsyncIterator[Lane]:
        lane = self._stream.lend(self._token, name, format=format, rate=rate)
        try:
            yield lane
        except EngineError as error:
            lane.end("failed", error)
            raise
        except Exception:
            lane.end("failed", Internal(f"lane {name} failed"))
            raise
        except BaseException:
            lane.end("cancelled")
            raise
        lane.end()

    def meter(
        self,
        *,
        model: str | None = None,
        usage: Usage | None = None,
        cost: Cost | None = None,
        waited: float = 0.0,
    ) -> None:
        self._stream.waited += waited
        if model is not None:
            self.model = model
            if self.answered is None:
                self.answered = asyncio.get_running_loop().time()
                self.first_word = perf_counter(), self._stream.waited
        self.usage = usage or self.usage
        self.cost = cost or self.cost

    def begun(self, answers: bool = True) -> None:
        self._stream.begin(self._token, answers)

    def finish(self, reason: FinishReason, *, choice: int = 0) -> None:
        reasons = self.finish_reasons
        reasons.extend([None] * (choice + 1 - len(reasons)))
        reasons[choice] = reason

    def extra(self, fields: dict[str, object]) -> None:
        self.extras = {**(self.extras or {}), **fields}


def _alike(one: Event, other: Event) -> bool:
    """True for two pieces that may become one."""
    if type(one) is not type(other):
        return False
    if isinstance(one, TextDelta) and isinstance(other, TextDelta):
        return one.choice == other.choice and other.logprobs is None
    if isinstance(one, ToolDelta) and isinstance(other, ToolDelta):
        return one.call_id == other.call_id and one.choice == other.choice
    return True


def _joined(pieces: list[Event]) -> Event:
    return pieces[0] if len(pieces) == 1 else join_deltas(pieces) or pieces[0]
