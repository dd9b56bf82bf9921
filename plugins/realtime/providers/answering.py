"""The answering half of a cascade: a chat turn for what was said, read aloud while it is written."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from msgspec import structs

from engine.api import (
    Citation,
    Commands,
    EngineError,
    Event,
    MessageSaved,
    RealtimeForget,
    RealtimeRequest,
    RealtimeStage,
    RealtimeToolResult,
    SpeechModel,
    SpeechRequest,
    StatusChanged,
    StreamEnded,
    StreamReader,
    TextDelta,
    ToolCall,
    ToolResult,
)
from plugins.realtime.providers.remembered import Line, Remembered
from plugins.realtime.providers.written import Written
from plugins.vendors.speaking import TextFeed

LONGEST_ANSWER = 100_000
"""Characters of one answer that are read aloud."""


class Ask(msgspec.Struct, frozen=True):
    """Answer what was said until now."""

    instructions: str | None


class Cut(msgspec.Struct, frozen=True):
    """The person heard only this much of the last answer."""

    heard: str


class Answering:
    """Answers one after the other. What was heard of an answer that was stopped is all that its history keeps."""

    def __init__(
        self,
        commands: Commands,
        request: RealtimeRequest,
        stage: RealtimeStage,
        voice: SpeechModel | None,
        body: Mapping[str, Any],
    ) -> None:
        self.request = request
        self._commands = commands
        self._stage = stage
        self._voice = voice
        self._body = body
        self._conversation = request.conversation
        self._lines = Remembered()
        self._todo: deque[Ask | Cut] = deque()
        self._came = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._reader: StreamReader | None = None
        self._calls: set[str] = set()
        """Tools of the client's that the present answer waits for."""
        self._answered: str | None = None
        """The message that keeps the last answer, while it can still be cut."""

    def say(self, role: str, text: str, name: RealtimeForget) -> None:
        """Something that was said, to be answered with the next."""
        self._lines.say(role, text, name)

    def hear(self, text: str, turn: int) -> None:
        """Something that the person said aloud, likewise."""
        self.say("user", text, RealtimeForget(turn=turn))

    def forget(self, name: RealtimeForget) -> None:
        """Go on as if it had never been said."""
        if name.answer is not None and name.answer == self._answered:
            self._answered = None
        if not self._lines.forget(name):
            self._stage.show(StatusChanged(stage="nothing_forgotten", detail="nothing of that name is remembered"))

    def ask(self, instructions: str | None) -> None:
        """Answer what was said."""
        self._do(Ask(instructions))

    def stop(self, heard: str) -> None:
        """Answer no further, and remember only what was heard."""
        if any(isinstance(work, Ask) for work in self._todo):
            # It was not begun; what was said goes with the next one.
            self._todo = deque(work for work in self._todo if isinstance(work, Cut))
        elif self._running is None or self._running.cancel():
            self._do(Cut(heard))

    def _do(self, work: Ask | Cut) -> None:
        self._todo.append(work)
        self._came.set()

    async def tool_result(self, result: RealtimeToolResult) -> None:
        """Give the running turn what the client's tool answered."""
        reader = self._reader
        if reader is None:
            self._stage.show(StatusChanged(stage="tool_result_late", detail="the answer that asked for it is over"))
            return
        self._calls.discard(result.call_id)
        body = {"stream": reader.stream, **structs.asdict(result)}
        try:
            await self._commands.call(self._stage.stream.principal, "tool.result", body)
        except EngineError as error:
            self._stage.show(StatusChanged(stage="tool_result_refused", detail=error.message))

    async def run(self) -> None:
        """Do what is asked, until cancelled."""
        while True:
            while not self._todo:
                self._came.clear()
                await self._came.wait()
            work = self._todo.popleft()
            if isinstance(work, Cut):
                await self._cut(work.heard)
                continue
            self._running = asyncio.create_task(self._answer(work), name=f"answer in {self._stage.stream.id}")
            try:
                await asyncio.wait({self._running})
            finally:
                running, self._running = self._running, None
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            if not running.cancelled():
                running.result()

    # One answer

    async def _answer(self, ask: Ask) -> None:
        stage, said = self._stage, self._lines.take()
        self._answered = None
        stage.answering()
        model = self._voice if "audio" in self.request.modalities else None
        voice = AnswerVoice(model, self.request, stage) if model is not None else None
        ended: StreamEnded | None = None
        text: list[str] = []
        try:
            try:
                reader = self._reader = await self._start(said, ask.instructions)
            except asyncio.CancelledError:
                self._lines.give_back(said)
                raise
            if voice is not None:
                voice.follow(reader)
            try:
                async for _, event in reader:
                    if voice is not None:
                        voice.take(event)
                    match event:
                        case TextDelta():
                            text.append(event.text)
                            stage.text(event.text)
                        case ToolCall() if event.client:
                            self._calls.add(event.call_id)
                            stage.tool_call(event)
                        case ToolCall() | ToolResult() | Citation() | StatusChanged():
                            stage.show(event)
                        case StreamEnded():
                            ended = event
                        case _:
                            pass
                self._remember(said, "".join(text), reader)
            except asyncio.CancelledError:
                reader.cancel()
                await reader.ended()
                self._remember(said, "".join(text), reader)
                raise
            finally:
                self._reader = None
                reader.close()
                while self._calls:
                    stage.tool_cancelled(self._calls.pop())
            if voice is not None:
                await voice.spoken()
        except EngineError as error:
            stage.answered(error=error)
            return
        finally:
            if voice is not None:
                await voice.close()
        assert ended is not None
        if ended.finish_reason == "length" and self.request.max_output_tokens is not None:
            stage.show(StatusChanged(stage="answer_cut", detail="the model stopped: max_output_tokens"))
        stage.answered(
            usage=ended.usage,
            cost=ended.cost,
            conversation=self._conversation if self.request.store else None,
            message=self._answered if self.request.store else None,
            stream=reader.stream,
            error=ended.error,
        )

    async def _start(self, said: list[Line], instructions: str | None) -> StreamReader:
        request = self.request
        told = [text for text in (self._body.get("instructions"), request.instructions, instructions) if text]
        body: dict[str, Any] = {
            **self._body,
            "input": self._lines.asked(said),
            "instructions": "\n\n".join(told) or None,
            "client_tools": "wait",
            "store": request.store,
        }
        if (bound := request.max_output_tokens) is not None:
            body["max_output_tokens"] = min(bound, self._body.get("max_output_tokens", bound))
        if request.tools:
            body["tools"] = [
                {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
                for tool in request.tools
            ]
        if self._conversation is not None:
            body["conversation"] = self._conversation
        return await self._commands.start(self._stage.stream.principal, "chat.send", body, on_disconnect="cancel")

    def _remember(self, said: list[Line], text: str, reader: StreamReader) -> None:
        if self.request.store:
            if (saved := reader.said.saved) is not None:
                self._conversation, self._answered = saved.conversation, saved.message
            return
        self._lines.answered(said, text, reader.stream)
        if text:
            self._answered = reader.stream

    async def _cut(self, heard: str) -> None:
        answered, self._answered = self._answered, None
        if answered is None:
            return
        if not self.request.store:
            self._lines.cut(heard)
            return
        body = {"conversation": self._conversation, "message": answered, "heard": heard}
        try:
            await self._commands.call(self._stage.stream.principal, "chat.truncate", body)
        except EngineError as error:
            self._stage.show(StatusChanged(stage="not_truncated", detail=error.message))
            return
        self._stage.show(MessageSaved(conversation=self._conversation or "", message=answered))


class AnswerVoice:
    """Reads one answer aloud. What goes wrong with it is told, and never fails the text."""

    def __init__(self, model: SpeechModel, request: RealtimeRequest, stage: RealtimeStage) -> None:
        self._model = model
        self._stage = stage
        self._asked = SpeechRequest(
            model=model.target.model, voice=request.voice, language=request.translate_to or request.language
        )
        self._written = Written()
        self._feed = TextFeed(2 * LONGEST_ANSWER)
        self._taken = 0
        self._tasks = [asyncio.create_task(self._speak(), name=f"voice in {stage.stream.id}")]

    def follow(self, answer: StreamReader) -> None:
        """Read the answer of this turn."""
        self._tasks.append(asyncio.create_task(self._end(answer), name=f"last words in {self._stage.stream.id}"))

    def take(self, event: Event) -> None:
        """Read what an event of the answer says."""
        if isinstance(event, TextDelta):
            self._say(event.text)
        elif isinstance(event, ToolCall):
            # What was said before a tool is called is no half of what is said when it has answered.
            self._give(self._written.finish())

    async def _end(self, answer: StreamReader) -> None:
        """The last sentence does not wait until the turn is written down."""
        said = await answer.whole()
        self._say(said.text[self._taken :])
        self._give(self._written.finish())
        self._feed.finish()

    def _say(self, text: str) -> None:
        if not self._feed.over:
            self._taken += len(text)
            if self._taken <= LONGEST_ANSWER:
                self._give(self._written.feed(text))

    def _give(self, sentences: list[str]) -> None:
        if not self._feed.over:
            for sentence in sentences:
                self._feed.add(f"{sentence}\n\n")

    async def spoken(self) -> None:
        """Wait until all is made."""
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Speak no further."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _speak(self) -> None:
        stage = self._stage
        try:
            sounds = self._model.speak(self._asked, aiter(self._feed), stage.stream, answers=False)
            async with aclosing(sounds) as source:  # type: ignore[type-var]
                async for sound in source:
                    stage.sound(sound.pcm, sound.rate, self._written.of(sound.text))
                    await stage.room()
        except EngineError as error:
            self._feed.finish()
            stage.show(StatusChanged(stage="speech_failed", detail=error.message))
