"""Chat providers that do as they are told, and a writer that remembers what it was told."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import ClassVar, TypeAlias

from engine.api.chat import ChatDelta, ChatDeltas, ChatRequest, Finish, Message, Role, TextPart
from engine.api.errors import EngineError, ErrorBody
from engine.api.events import (
    Audio,
    Cost,
    Event,
    FinishReason,
    LaneEnded,
    LaneStarted,
    ReasoningDelta,
    StatusChanged,
    TextDelta,
    ToolCall,
    Usage,
)
from engine.api.identity import LOCAL, Principal
from engine.api.providers import ProviderRole
from engine.api.streams import LaneWriter

Step: TypeAlias = ChatDeltas | str | asyncio.Event | BaseException
"""What a scripted provider does next: yield deltas (a text stands for a `TextDelta`), wait for an event, or raise."""


def answer(*texts: str, usage: Usage | None = None, reason: FinishReason = "stop") -> tuple[ChatDelta, ...]:
    """A whole answer: its pieces, the usage if any is given, and the finish."""
    pieces: tuple[ChatDelta, ...] = tuple(TextDelta(text) for text in texts)
    return (*pieces, *((usage,) if usage else ()), Finish(reason))


def ask(*texts: str, model: str = "any", role: Role = "user") -> ChatRequest:
    """A request with one message for each text."""
    messages = tuple(Message(role=role, parts=(TextPart(text),)) for text in texts or ("Hello",))
    return ChatRequest(model=model, messages=messages)


class ScriptedProvider:
    """Plays its script for every request. `requests` holds what it was asked; `running` counts open answers.

    `reached` is set when the script comes to a wait, `closed` when an answer was closed, by its end or from outside.
    """

    role: ClassVar[ProviderRole] = "chat"

    def __init__(
        self,
        *script: Step,
        name: str = "scripted",
        unavailable: str | None = None,
        own_address: bool = True,
        default_model: str | None = None,
    ) -> None:
        self.name = name
        self.unavailable = unavailable
        self.own_address = own_address
        self.default_model = default_model
        self.script: Sequence[Step] = script
        self.requests: list[ChatRequest] = []
        self.running = 0
        self.reached = asyncio.Event()
        self.closed = asyncio.Event()

    async def stream(self, request: ChatRequest) -> AsyncGenerator[ChatDeltas, None]:
        self.requests.append(request)
        with self._open():
            async with aclosing(self._play(self.script)) as played:
                async for deltas in played:
                    yield deltas

    @contextmanager
    def _open(self) -> Iterator[None]:
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self.closed.set()

    async def _play(self, script: Iterable[Step]) -> AsyncGenerator[ChatDeltas, None]:
        for step in script:
            if isinstance(step, asyncio.Event):
                self.reached.set()
                await step.wait()
            elif isinstance(step, BaseException):
                raise step
            else:
                yield TextDelta(step) if isinstance(step, str) else step


class SlowProvider(ScriptedProvider):
    """Waits `delay` seconds before each step of its script."""

    def __init__(self, delay: float, *script: Step, name: str = "slow") -> None:
        super().__init__(*script, name=name)
        self.delay = delay

    async def _play(self, script: Iterable[Step]) -> AsyncGenerator[ChatDeltas, None]:
        for step in script:
            await asyncio.sleep(self.delay)
            async with aclosing(super()._play((step,))) as played:
                async for deltas in played:
                    yield deltas


class FailingProvider(ScriptedProvider):
    """Raises `error` for the first `times` requests (None: for all), then plays its script.

    `error` may be a function that makes one, for errors that must not be shared.
    """

    def __init__(
        self,
        error: EngineError | Callable[[], BaseException],
        times: int | None = None,
        *script: Step,
        name: str = "failing",
    ) -> None:
        super().__init__(*script, name=name)
        self.error = error
        self.times = times

    async def _play(self, script: Iterable[Step]) -> AsyncGenerator[ChatDeltas, None]:
        if self.times is None or len(self.requests) <= self.times:
            raise self.error if isinstance(self.error, BaseException) else self.error()
        async with aclosing(super()._play(script)) as played:
            async for deltas in played:
                yield deltas


class RecordingLane:
    """A lent lane whose audio is published on its writer."""

    def __init__(self, writer: "RecordingWriter", name: str) -> None:
        self._writer = writer
        self._name = name

    def audio(self, data: bytes, *, at: int = 0) -> None:
        self._writer.publish(Audio(lane=self._name, data=data, at=at))

    async def keep_pace(self, ahead: float) -> None:
        pass


class RecordingWriter:
    """Implements `engine.api.Writer` without a bus: `events` are those a client would see, in order."""

    def __init__(self, id: str = "s_test", principal: Principal = LOCAL) -> None:
        self.id = id
        self.principal = principal
        self.watched = True
        self.events: list[Event] = []
        self.model: str | None = None
        self.usage: Usage | None = None
        self.cost: Cost | None = None
        self.finish_reason: FinishReason | None = None
        self.extras: dict[str, object] = {}
        self.answers = False
        self._lanes = 0

    @property
    def said(self) -> str:
        """The answer so far, of the first choice."""
        return "".join(event.text for event in self.events if isinstance(event, TextDelta) and event.choice == 0)

    @property
    def statuses(self) -> list[tuple[str, str | None]]:
        """Stage and detail of every status so far."""
        return [(event.stage, event.detail) for event in self.events if isinstance(event, StatusChanged)]

    def text(self, text: str, *, choice: int = 0) -> None:
        self.publish(TextDelta(text, choice))

    def reasoning(self, text: str) -> None:
        self.publish(ReasoningDelta(text))

    def status(self, stage: str, detail: str | None = None) -> None:
        self.publish(StatusChanged(stage=stage, detail=detail))

    def publish(self, event: Event) -> None:
        self.events.append(event)

    def extend(self, deltas: Iterable[ChatDelta | Event]) -> None:
        for delta in deltas:
            if isinstance(delta, Event):
                self.publish(delta)

    @asynccontextmanager
    async def lane(self, name: str, *, format: str | None = None, rate: int | None = None) -> AsyncIterator[LaneWriter]:
        self._lanes += 1
        self.publish(LaneStarted(lane=name, number=self._lanes, format=format, rate=rate))
        try:
            yield RecordingLane(self, name)
        except EngineError as error:
            self.publish(LaneEnded(lane=name, status="failed", error=error.body()))
            raise
        except BaseException:
            self.publish(LaneEnded(lane=name, status="cancelled"))
            raise
        self.publish(LaneEnded(lane=name))

    def meter(
        self,
        *,
        model: str | None = None,
        usage: Usage | None = None,
        cost: Cost | None = None,
        waited: float = 0.0,
    ) -> None:
        self.model = model or self.model
        self.usage = usage or self.usage
        self.cost = cost or self.cost

    def begun(self, answers: bool = True) -> None:
        self.answers = answers

    def finish(self, reason: FinishReason, *, choice: int = 0) -> None:
        if choice == 0:
            self.finish_reason = reason

    def extra(self, fields: dict[str, object]) -> None:
        self.extras |= fields


class RecordingRealtimeStage:
    """Implements `engine.api.RealtimeStage` without a call: `told` is what a provider told, as tuples of name and values.

    `pcm` is the sound of all answers, `words` are their words. `until` waits for something to be told.
    """

    def __init__(self) -> None:
        self.stream = RecordingWriter()
        self.told: list[tuple[object, ...]] = []
        self.pcm = bytearray()
        self.words = ""
        self._changed = asyncio.Event()

    def names(self) -> list[str]:
        """What was told, without values, and a row of the same once."""
        told = [str(each[0]) for each in self.told]
        return [name for at, name in enumerate(told) if at == 0 or told[at - 1] != name]

    def all(self, name: str) -> list[tuple[object, ...]]:
        """The values of each time that this was told."""
        return [each[1:] for each in self.told if each[0] == name]

    async def until(self, name: str, times: int = 1, timeout: float = 5.0) -> None:
        """Return once this was told so often; AssertionError after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while len(self.all(name)) < times:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"waited {timeout} s for {name} ({times}); told were {self.names()}") from None

    def _tell(self, *told: object) -> None:
        self.told.append(told)
        self._changed.set()

    def speech_began(self, at: int | None = None) -> None:
        self._tell("speech_began", at)

    def speech_ended(self, at: int | None = None) -> None:
        self._tell("speech_ended", at)

    def heard(self, text: str, *, final: bool) -> None:
        self._tell("heard", text, final)

    def answering(self) -> None:
        self._tell("answering")

    def text(self, text: str) -> None:
        self.words += text
        self._tell("text", text)

    def sound(self, pcm: bytes, rate: int, text: str = "") -> None:
        self.pcm += pcm
        self._tell("sound", len(pcm), rate, text)

    async def room(self) -> None:
        pass

    def tool_call(self, call: ToolCall) -> None:
        self._tell("tool_call", call)

    def tool_cancelled(self, call_id: str) -> None:
        self._tell("tool_cancelled", call_id)

    def show(self, event: Event) -> None:
        self._tell("show", event)

    def answered(
        self,
        *,
        usage: Usage | None = None,
        cost: Cost | None = None,
        conversation: str | None = None,
        message: str | None = None,
        stream: str | None = None,
        error: EngineError | ErrorBody | None = None,
    ) -> None:
        self._tell("answered", usage, error)

    def seam(self, detail: str) -> None:
        self._tell("seam", detail)
