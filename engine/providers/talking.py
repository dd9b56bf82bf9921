"""What a conversation by voice may use: each of its answers is put aside before it is given, and counted once it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UNSET, structs

from engine.api.errors import BudgetExceeded, EngineError
from engine.api.events import Usage
from engine.api.providers import Target
from engine.api.realtime import (
    REALTIME_RATE,
    RealtimeAnswer,
    RealtimeAudio,
    RealtimeCommit,
    RealtimeInput,
    RealtimeRequest,
    RealtimeStage,
    RealtimeText,
    RealtimeToolResult,
    RealtimeUpdate,
)
from engine.api.streams import Writer
from engine.log import get_logger
from engine.providers.estimating import about, most_of_text, weight
from engine.providers.metering import Ledgers
from engine.providers.pricing import dearest

log = get_logger(__name__)

UNASKED_ANSWER = 4096
"""Tokens to which each answer of a conversation under a budget is bounded."""

LEAST_ANSWER = 64
"""Fewer tokens than these are no spoken answer: some three seconds."""

HEARD_A_SECOND, SAID_A_SECOND = 32, 25
"""Tokens of a second of sound, with the vendors that have most."""

AHEAD = 30
"""Seconds of the person's sound that are put aside at once."""

_BYTES_A_SAMPLE = 2


class Talking:
    """The spending of one conversation. `refused` is what ends it: the error of a budget that pays for no further answer."""

    def __init__(self, target: Target, request: RealtimeRequest, ledgers: Ledgers, stream: Writer) -> None:
        self._price = target.info.price if target.info is not None else None
        self._longest = (target.info.max_output if target.info is not None else None) or UNASKED_ANSWER
        self._rate = getattr(target.provider, "rate", REALTIME_RATE)
        self._ledgers = ledgers
        self._stream = stream
        self._last = Usage()
        """What the last answer used: its input and its output are the context of the next."""
        self._words, self._answers = _words_of(request), request.turn_detection.answer
        self._written = 0
        self._heard = 0
        self._paid = AHEAD
        self._due = asyncio.Event()
        self._said = 0.0
        self._asked = False
        self._request = request
        self._untold = False
        """The vendor does not know the bound yet: it is told before the next thing that the client says."""
        self.bound: int | None = None
        self.refused: asyncio.Future[BudgetExceeded] = asyncio.get_running_loop().create_future()

    async def begin(self, request: RealtimeRequest) -> RealtimeRequest:
        """The request with a bound on each answer, where a budget has to know it; raises `BudgetExceeded`."""
        if self._ledgers.applies(self._stream):
            self.bound = self._affordable()
            await self._put_aside()
        return self._bounded(request)

    def _bounded(self, request: RealtimeRequest) -> RealtimeRequest:
        """The request with the smaller of its own bound and of what budgets can pay for."""
        bounds = [each for each in (self.bound, request.max_output_tokens) if each is not None]
        return structs.replace(request, max_output_tokens=min(bounds, default=None))

    async def judge(self) -> None:
        """Put aside each answer that may follow; a budget that does not pay for it is told as `refused`."""
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await self._put_aside_some()
            except BudgetExceeded as error:
                self.refused.set_result(error)
                return
            except EngineError as error:
                # Conversations go on while a database is away, within the budgets that are known.
                log.warning("answer_not_put_aside", stream=self._stream.id, error=error.message)

    async def _put_aside_some(self) -> None:
        """Put the next answer aside, a shorter one where that is what is left for it."""
        try:
            await self._put_aside()
        except BudgetExceeded:
            less = self._affordable()
            if self.bound is not None and less >= self.bound:
                raise
            self.bound, self._untold = less, True
            await self._put_aside()

    async def intake(self, items: AsyncIterator[RealtimeInput]) -> AsyncIterator[RealtimeInput]:
        """What the client says, on its way to the vendor."""
        async for item in items:
            if self._untold:
                self._untold = False
                yield RealtimeUpdate(self._bounded(self._request))
            match item:
                case RealtimeAudio(pcm):
                    self._heard += len(pcm)
                    if self._seconds > self._paid:
                        self._paid += AHEAD
                        self._due.set()
                case RealtimeText(text=text):
                    self._written += most_of_text(text)
                case RealtimeToolResult(output=output):
                    self._written += most_of_text(output)
                    self._asked = True
                case RealtimeAnswer():
                    self._asked = True
                case RealtimeCommit():
                    self._asked = self._asked or self._answers
                case RealtimeUpdate(request):
                    self._request = request
                    self._words, self._answers = _words_of(request), request.turn_detection.answer
                    item = RealtimeUpdate(self._bounded(request))
                case _:
                    pass
            yield item

    def answering(self) -> None:
        """The vendor gives an answer."""
        self._asked, self._said = True, 0.0

    def sounded(self, pcm: bytes, rate: int) -> None:
        """A piece of its sound."""
        self._said += len(pcm) / _BYTES_A_SAMPLE / rate * SAID_A_SECOND

    def said(self, text: str) -> None:
        """A piece of its words."""
        self._said += about(weight(text))

    def used(self, usage: Usage) -> None:
        """An answer is over, and used so much."""
        self._last = usage
        self._written = self._heard = 0
        self._paid, self._asked, self._said = AHEAD, False, 0.0
        self._due.set()

    def unsaid(self) -> Usage | None:
        """What an answer used of which the vendor did not tell it; None where none was asked for.

        Under a budget that is the most that it can be, otherwise an estimate.
        """
        if not self._asked:
            return None
        heard, written = self._next_input(self._seconds)
        spoken = round(self._said) if self.bound is None else max(self.bound, round(self._said))
        return Usage(
            input_tokens=heard + written,
            output_tokens=spoken,
            audio_input_tokens=heard,
            audio_output_tokens=spoken,
            estimated=True,
        )

    @property
    def _seconds(self) -> float:
        return self._heard / _BYTES_A_SAMPLE / self._rate

    def _next_input(self, seconds: float) -> tuple[int, int]:
        """The most tokens of sound and of words that the next answer has as its input."""
        last = self._last
        sound = 0 if last.audio_input_tokens is UNSET else last.audio_input_tokens
        words = max(last.input_tokens - sound, self._words)
        return sound + last.output_tokens + round(seconds * HEARD_A_SECOND), words + self._written

    def _most_input(self) -> tuple[int, Decimal]:
        heard, written = self._next_input(max(self._paid, self._seconds))
        price = self._price
        if price is None:
            return heard + written, Decimal(0)
        cost = heard * (price.audio_input or price.input) + written * price.input
        return heard + written, cost.scaleb(-6)

    def _affordable(self) -> int:
        """Tokens of an answer that half of what is left pays for, so that it pays for the next one, too."""
        tokens, dollars = self._ledgers.room(self._stream)
        sent, cost = self._most_input()
        most = [UNASKED_ANSWER, self._longest]
        if tokens is not None:
            most.append((tokens - sent) // 2)
        if dollars is not None and self._price is not None and (each := dearest(self._price)):
            most.append(int((dollars - cost).scaleb(6) / each) // 2)
        return max(LEAST_ANSWER, min(most))

    async def _put_aside(self) -> None:
        tokens, cost = self._most_input()
        said = self.bound if self.bound is not None else min(UNASKED_ANSWER, self._longest)
        if self._price is not None:
            cost += (said * dearest(self._price)).scaleb(-6)
        await self._ledgers.reserve(self._stream, tokens + said, cost)


class Overheard:
    """A stage on which each answer is counted: one of which the vendor tells no usage by an estimate."""

    def __init__(self, stage: RealtimeStage, talking: Talking) -> None:
        self._stage = stage
        self._talking = talking

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage, name)

    def answering(self) -> None:
        self._talking.answering()
        self._stage.answering()

    def text(self, text: str) -> None:
        self._talking.said(text)
        self._stage.text(text)

    def sound(self, pcm: bytes, rate: int, text: str = "") -> None:
        self._talking.sounded(pcm, rate)
        self._stage.sound(pcm, rate, text)

    def answered(self, *, usage: Usage | None = None, **told: Any) -> None:
        self._stage.answered(usage=usage if usage is not None else self._talking.unsaid(), **told)


def _words_of(request: RealtimeRequest) -> int:
    """The most tokens of what a conversation is told before it begins."""
    tools = msgspec.json.encode(request.tools, enc_hook=str).decode() if request.tools else ""
    past = sum(most_of_text(each.text) for each in request.past)
    return most_of_text(request.instructions or "") + most_of_text(tools) + past
