"""From a vendor's events to the engine's deltas, one read at a time."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
import structlog

from engine.api import (
    ChatDelta,
    ChatDeltas,
    ChatRequest,
    Citation,
    EngineError,
    InvalidRequest,
    PushedAnswer,
    ReasoningDelta,
    StatusChanged,
    TextDelta,
    ToolDelta,
)
from engine.wire.apart import LARGE, apart, is_large, is_long
from engine.wire.extent import MOST_EVENT_VALUES, Extent
from engine.wire.sse import SseEvent
from plugins.vendors.emptiness import Emptiness
from plugins.vendors.failures import Vendor
from plugins.vendors.halves import Halves
from plugins.vendors.lenient import Reader
from plugins.vendors.transport import Body, EventStream

T = TypeVar("T", bound=msgspec.Struct)

log = structlog.get_logger(__name__)

MOST_CITATIONS = 1_000
"""Citations of one answer; a vendor that sends more has the rest left out, and the log says so."""

MOST_AT_ONCE = 256
"""Deltas of one read that are given out in one turn of the loop; a vendor may send very many in one event."""

ANSWERING = StatusChanged(stage="answering")
"""The vendor's answer has begun: its head is there."""


class Batch:
    """The deltas of one read, in order; adjacent pieces of text, of reasoning or of one call's arguments become one delta."""

    __slots__ = ("_call", "_choice", "_deltas", "_kind", "_pieces")

    def __init__(self) -> None:
        self._deltas: list[ChatDelta] = []
        self._pieces: list[str] = []
        self._kind: type[TextDelta | ReasoningDelta | ToolDelta] = TextDelta
        self._choice = 0
        self._call = ("", "")

    def text(self, text: str, choice: int = 0) -> None:
        """Add a piece of the answer."""
        if self._kind is not TextDelta or choice != self._choice:
            self._join()
            self._kind, self._choice = TextDelta, choice
        self._pieces.append(text)

    def reasoning(self, text: str) -> None:
        """Add a piece of the model's thinking."""
        if self._kind is not ReasoningDelta:
            self._join()
            self._kind = ReasoningDelta
        self._pieces.append(text)

    def arguments(self, call_id: str, name: str, arguments: str, choice: int = 0) -> None:
        """Add a piece of the arguments of a call."""
        call = call_id, name
        if self._kind is not ToolDelta or call != self._call or choice != self._choice:
            self._join()
            self._kind, self._call, self._choice = ToolDelta, call, choice
        self._pieces.append(arguments)

    def add(self, delta: ChatDelta) -> None:
        """Add a delta that is not joined with others."""
        self._join()
        self._deltas.append(delta)

    def take(self) -> list[ChatDelta]:
        """Everything since the last call."""
        pieces = self._pieces
        if len(pieces) == 1 and not self._deltas and self._kind is TextDelta:
            # Nearly every read brings one piece of text and nothing else.
            return [TextDelta(pieces.pop(), self._choice)]
        self._join()
        deltas, self._deltas = self._deltas, []
        return deltas

    def _join(self) -> None:
        if not self._pieces:
            return
        text = "".join(self._pieces)
        if self._kind is TextDelta:
            self._deltas.append(TextDelta(text, self._choice))
        elif self._kind is ReasoningDelta:
            self._deltas.append(ReasoningDelta(text))
        else:
            call_id, name = self._call
            self._deltas.append(ToolDelta(call_id=call_id, name=name, arguments=text, choice=self._choice))
        self._pieces.clear()


class Decoder(ABC):
    """Folds the events of one answer into deltas.

    `over` is set with the vendor's terminal event. What stands in a read before a failure is still given out:
    `feed` returns it and leaves the failure in `failure`.
    """

    def __init__(self, vendor: Vendor) -> None:
        self.vendor = vendor
        self.out = Batch()
        self.over = False
        self.failure: EngineError | None = None
        self._halves: Halves | None = None
        self._sources = 0

    @abstractmethod
    def event(self, event: SseEvent) -> None:
        """Put the deltas of one event into `out`, or set `over`, or raise the vendor's failure."""

    @abstractmethod
    def body_ended(self) -> None:
        """The body is over without a terminal event: put what is missing into `out`, or raise that it was cut off."""

    def feed(self, events: Sequence[SseEvent]) -> list[ChatDelta]:
        """The deltas of one read."""
        try:
            for event in events:
                if len(event.data) > LARGE:
                    self._check_extent(event)
                self.event(event)
                if self.over:
                    break
        except EngineError as error:
            self.failure = error
        except (msgspec.MsgspecError, UnicodeError) as error:
            self.failure = self.vendor.broke_protocol(_complaint(error))
        # Without a frame of its own: every read of every answer passes here.
        return self.out.take() if self._halves is None else self._taken()

    def end(self) -> list[ChatDelta]:
        """The deltas that stand out when the body is over; raises `ProviderUnavailable` when it was cut off."""
        try:
            self.body_ended()
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise self.vendor.broke_protocol(_complaint(error)) from None
        return self._taken()

    def cite(self, sources: Iterable[Citation]) -> None:
        """Put sources into `out`, as far as an answer may have them."""
        for source in sources:
            if self._sources == MOST_CITATIONS:
                log.warning("citations_left_out", vendor=self.vendor.title, most=MOST_CITATIONS)
            self._sources += 1
            if self._sources > MOST_CITATIONS:
                return
            self.out.add(source)

    def read(self, reader: Reader[T], data: bytes) -> T:
        """A document of the vendor's; where it is not as its reference says, without the fields that do not fit."""
        try:
            return reader.strict(data)
        except (msgspec.MsgspecError, UnicodeError):
            self._halves = self._halves or Halves()
            return reader.leniently(data)

    def beside(self, reader: Reader[T], data: bytes) -> T | None:
        """A document that the answer can do without, as counts and sources; None where it cannot be read."""
        try:
            return self.read(reader, data)
        except (msgspec.MsgspecError, UnicodeError):
            return None

    def _check_extent(self, event: SseEvent) -> None:
        """Raise for an event that would become more than is taken, before anything is made of it."""
        try:
            Extent(event.data, "event", most_values=MOST_EVENT_VALUES).check()
        except InvalidRequest as error:
            raise self.vendor.broke_protocol(f"an event of its stream is too much, {error.message}") from None

    def _taken(self) -> list[ChatDelta]:
        deltas = self.out.take()
        return deltas if self._halves is None else self._halves.mend(deltas)


class Answer:
    """A vendor's answer, to be pushed once; see `engine.api.PushedAnswer`. One that `goes_on` is no new one to the client."""

    __slots__ = ("_decoder", "_goes_on", "_stream")

    def __init__(self, stream: EventStream, decoder: Decoder, *, goes_on: bool = False) -> None:
        self._stream = stream
        self._decoder = decoder
        self._goes_on = goes_on

    async def push(self, take: Callable[[ChatDeltas], object]) -> None:
        """Send the request and call `take` with the deltas of each read, within the callback that brought its bytes."""
        decoder = self._decoder
        waiting: list[ChatDelta] = []
        stream, emptiness = self._stream, Emptiness()

        def read(events: list[SseEvent]) -> bool | None:
            nonlocal waiting
            deltas = waiting or decoder.feed(events)
            size = stream.count()
            if deltas:
                emptiness.said(events)
            elif emptiness.is_too_much(size):
                raise decoder.failure or decoder.vendor.says_nothing(emptiness.mebibytes)
            if len(deltas) == 1:
                take(deltas[0])
            elif len(deltas) > MOST_AT_ONCE:
                deltas, waiting = deltas[:MOST_AT_ONCE], deltas[MOST_AT_ONCE:]
                take(deltas)
                return None
            else:
                take(deltas)  # none are a sign of life
            waiting = []
            if decoder.failure is not None:
                raise decoder.failure
            return decoder.over

        async with stream:
            if not self._goes_on:
                take(ANSWERING)
            await stream.read(read)
            if decoder.over:
                return
            over = read(stream.end())
            while over is None:
                await asyncio.sleep(0)
                over = read([])
            if over or not (waiting := decoder.end()):
                return
            over = read([])
            while over is None:
                await asyncio.sleep(0)
                over = read([])


def encoded(body: Any) -> Body:
    """A request body as JSON; a large one is encoded in a thread, when the request is sent."""
    return partial(encode_body, body) if is_large(body) else encode_body(body)


def answer_to(request: ChatRequest, make: Callable[[], PushedAnswer]) -> PushedAnswer:
    """The answer that `make` gives; to a long request, whose body takes a while to make, it is made in a thread."""
    return _Later(make) if is_long(request) else make()


class _Later:
    """An answer that is made, and with it the body of its request, in a thread."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], PushedAnswer]) -> None:
        self._make = make

    async def push(self, take: Callable[[ChatDeltas], object]) -> None:
        """Make the answer and push it."""
        answer = await apart(self._make)
        await answer.push(take)


def encode_body(body: Any) -> bytes:
    """A request body as JSON; `InvalidRequest` for text that no JSON in UTF-8 can hold."""
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        raise InvalidRequest("The text holds half of a surrogate pair, which is no character.", field="input") from None


def _complaint(error: Exception) -> str:
    if isinstance(error, msgspec.ValidationError):
        return f"an event is not of the known form ({error})"
    return "an event is not valid JSON"
