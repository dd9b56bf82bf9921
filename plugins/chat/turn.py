"""One chat turn: calls the model, runs its tools, and calls it again until it has answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import msgspec

from engine.api.chat import (
    ChatDelta,
    ChatDeltas,
    ChatRequest,
    Extra,
    Finish,
    Message,
    ReasoningPart,
    TextPart,
    ToolChoice,
)
from engine.api.errors import ContextTooLong
from engine.api.events import Event, ReasoningKept, TextDelta, ToolCall, ToolResult
from engine.api.providers import ChatChain
from engine.api.streams import Writer
from engine.wire.apart import apart_if, is_long
from plugins.chat.tools import ToolRun
from plugins.chat.voice import TurnVoice
from plugins.chat.window import estimated_tokens, fit, room


@dataclass(slots=True)
class Step:
    """What one call to the model brought."""

    text: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    reasoning: list[ReasoningPart] = field(default_factory=list)
    results: list[ToolResult] = field(default_factory=list)

    def messages(self) -> list[Message]:
        """The step as messages for the next one: the assistant's, and those of its tools."""
        parts = (*self.reasoning, *([TextPart("".join(self.text))] if self.text else ()))
        assistant = Message(role="assistant", parts=parts, tool_calls=tuple(self.calls))
        answers = [
            Message(role="tool", parts=(TextPart(result.output),), tool_call_id=result.call_id, name=result.name)
            for result in self.results
        ]
        return [assistant, *answers]


class ChatTurn:
    """Serves one `chat.send`. `asked` counts the messages of this turn at the end of the request's.

    `left_out` counts messages of the conversation that are too old to be read. `tell_reasoning` gives the client what the
    vendor wants back, for a turn that the client keeps. `voice` reads the answer aloud.
    """

    def __init__(
        self,
        chain: ChatChain,
        request: ChatRequest,
        tools: ToolRun,
        *,
        asked: int,
        wait_for_client: bool,
        max_steps: int,
        trim: bool,
        tell_reasoning: bool = False,
        voice: TurnVoice | None = None,
        left_out: int = 0,
    ) -> None:
        self.steps: list[Step] = []
        self._chain = chain
        self._request = request
        self._tools = tools
        self._asked = asked
        self._wait = wait_for_client
        self._max_steps = max_steps
        self._trim = trim
        self._tell_reasoning = tell_reasoning
        self._voice = voice
        self._left_out = left_out

    async def serve(self, stream: Writer) -> None:
        """Write the turn's stream."""
        if self._voice is None:
            await self._answer(stream)
        else:
            await self._voice.around(stream, self._answer)

    async def _answer(self, stream: Writer) -> None:
        request = self._request
        if self._left_out:
            stream.status("trimmed", _left_out(self._left_out))
        for left in range(self._max_steps, 0, -1):
            if left == 1 and self.steps:
                stream.status(
                    "step_budget", f"after {self._max_steps - 1} steps with tools the model answers without them"
                )
                request = msgspec.structs.replace(request, tool_choice=ToolChoice(mode="none"))
            request = await self._fitted(request, stream)
            step = Step()
            self.steps.append(step)
            await self._call_within_window(request, step, stream)
            if not step.calls or not self._goes_on(step):
                return
            step.results = await self._tools.run(
                [call for call in step.calls if self._wait or self._tools.mine(call)], stream
            )
            if len(step.results) < len(step.calls):
                return
            following = step.messages()
            self._asked += len(following)
            request = msgspec.structs.replace(request, messages=(*request.messages, *following), tool_choice=None)

    def _goes_on(self, step: Step) -> bool:
        return self._wait or any(self._tools.mine(call) for call in step.calls)

    async def _call_within_window(self, request: ChatRequest, step: Step, stream: Writer) -> None:
        """Call the model; where it counts more tokens than the estimate did, leave out more of the old turns."""
        while True:
            try:
                return await self._call(request, step, stream)
            except ContextTooLong:
                if not self._trim or step.text:
                    raise
                shorter = await apart_if(is_long(request), partial(self._shortened, request))
                if shorter is None:
                    raise
                stream.status("trimmed", _left_out(len(request.messages) - len(shorter.messages)))
                request = shorter

    async def _call(self, request: ChatRequest, step: Step, stream: Writer) -> None:
        take = self._take if self._voice is None else partial(self._take_aloud, self._voice)
        await self._chain.ask(request, stream, partial(take, step, stream))

    def _take_aloud(self, voice: TurnVoice, step: Step, stream: Writer, deltas: ChatDeltas) -> None:
        known, called = len(step.text), len(step.calls)
        self._take(step, stream, deltas)
        for text in step.text[known:]:
            voice.say(text)
        if len(step.calls) > called:
            voice.pause()

    def _take(self, step: Step, stream: Writer, deltas: ChatDeltas) -> None:
        if type(deltas) is TextDelta:
            if deltas.choice == 0:
                step.text.append(deltas.text)
            stream.publish(deltas)
        else:
            stream.extend(self._noted((deltas,) if isinstance(deltas, msgspec.Struct) else deltas, step, stream))

    def _noted(self, batch: Sequence[ChatDelta], step: Step, stream: Writer) -> list[ChatDelta | Event]:
        """Keep what the next step or the end needs; gives what the client is shown."""
        shown: list[ChatDelta | Event] = []
        for delta in batch:
            if isinstance(delta, TextDelta):
                if delta.choice == 0:
                    step.text.append(delta.text)
            elif isinstance(delta, ToolCall):
                step.calls.append(delta)
                shown.append(self._tools.announce(delta) if self._wait else delta)
                continue
            elif isinstance(delta, ReasoningPart):
                step.reasoning.append(delta)
                if self._tell_reasoning:
                    shown.append(_kept(delta))
            elif isinstance(delta, Finish):
                stream.finish(delta.reason, choice=delta.choice)
            elif isinstance(delta, Extra):
                stream.extra(dict(delta.fields))
            shown.append(delta)
        return shown

    async def _fitted(self, request: ChatRequest, stream: Writer) -> ChatRequest:
        fitting = await apart_if(is_long(request), partial(self._fitting, request))
        if len(fitting.messages) < len(request.messages):
            stream.status("trimmed", _left_out(len(request.messages) - len(fitting.messages)))
        return fitting

    def _fitting(self, request: ChatRequest) -> ChatRequest:
        tokens = room(request, self._chain.targets[0])
        if tokens is None or sum(map(estimated_tokens, request.messages)) <= tokens:
            return request
        if not self._trim:
            raise ContextTooLong("the conversation no longer fits into the model's context window", field="input")
        return msgspec.structs.replace(request, messages=fit(request.messages, tokens, self._asked))

    def _shortened(self, request: ChatRequest) -> ChatRequest | None:
        """The request with half of its old messages, or None when there are none to leave out."""
        old = request.messages[: len(request.messages) - self._asked]
        if not old:
            return None
        half = sum(map(estimated_tokens, old)) // 2
        asked = sum(map(estimated_tokens, request.messages[len(old) :]))
        kept = fit(request.messages, asked + half, self._asked)
        if len(kept) == len(request.messages):
            return None
        return msgspec.structs.replace(request, messages=kept)


def _left_out(count: int) -> str:
    return f"{count} old messages were left out: the conversation is longer than the model's context window"


def _kept(part: ReasoningPart) -> ReasoningKept:
    return ReasoningKept(provider=part.provider, text=part.text, signature=part.signature, id=part.id)
