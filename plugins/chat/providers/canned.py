"""A model that is none: scripted answers, the same each time, for who builds and tests clients."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from engine.api.chat import ChatDeltas, ChatRequest, Finish, FunctionTool
from engine.api.errors import ProviderRefused, UnsupportedParameter
from engine.api.events import ReasoningDelta, StatusChanged, TextDelta, ToolCall, ToolDelta, Usage
from engine.api.providers import ModelInfo, Price, ProviderRole

NAME = "canned"
MODEL = "echo"

REASONING, TOOL, SLOW, LONG, ERROR, BREAK = "/reasoning", "/tool", "/slow", "/long", "/error", "/break"
TRIGGERS: Mapping[str, str] = {
    REASONING: "reasoning comes before the answer",
    TOOL: "the tool named behind it is called, or the first that is offered; its result is told",
    SLOW: "so many seconds pass before each sentence: `/slow 2`; 1 without a number, 30 at most",
    LONG: "so many sentences more: `/long 500`; 100 without a number, 5000 at most",
    ERROR: "no answer begins: `provider_refused`",
    BREAK: "the answer ends with `provider_refused` behind its first sentence",
}
"""Words that may stand anywhere in the last message, and what each does."""

INFO = ModelInfo(
    id=NAME,
    provider=NAME,
    model=MODEL,
    capabilities=frozenset({"tools", "reasoning"}),
    price=Price(),
    description="no model: scripted answers to test clients with",
)

_STAND_IN = "no model answers: the text is scripted, as [plugins.chat] canned has it"
_REASONING = "The message asks for reasoning. There is none to be had, so these words stand in for it. "
_PIECE = re.compile(r"\s*\S{1,12}")
_SAMPLES: Mapping[str, Any] = {
    "string": "canned",
    "integer": 1,
    "number": 1,
    "boolean": True,
    "array": [],
    "object": {},
    "null": None,
}


class CannedChat:
    """Answers without a vendor, a model or a cost; on where `[plugins.chat] canned` says so."""

    role: ClassVar[ProviderRole] = "chat"
    name = NAME
    default_model = MODEL
    unavailable: str | None = None

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatDeltas]:
        """Say what the last message asks for, in pieces; a tool's result is told as it is."""
        if request.n > 1:
            raise UnsupportedParameter("the canned model gives one answer", field="n")
        yield StatusChanged(stage="canned", detail=_STAND_IN)
        last = request.messages[-1]
        asked = _words(last.text) if last.role == "user" else {}
        if ERROR in asked:
            raise ProviderRefused(f"the message asks for an error by {ERROR}")
        if REASONING in asked:
            for piece in _pieces(_REASONING):
                yield ReasoningDelta(piece)
        tool = _tool(request, asked[TOOL]) if TOOL in asked else None
        if tool is not None:
            for delta in _call(tool, len(request.messages)):
                yield delta
            yield _usage(request, 1)
            yield Finish("tool_calls")
            return
        left = request.max_output_tokens or 1 << 30
        told = 0
        for number, sentence in enumerate(_sentences(request, asked)):
            if SLOW in asked:
                await asyncio.sleep(_number(asked[SLOW], 1.0, 30.0))
            if number == 1 and BREAK in asked:
                raise ProviderRefused(f"the message asks for an error behind the first sentence by {BREAK}")
            for piece in _pieces(sentence):
                if told == left:
                    yield _usage(request, told)
                    yield Finish("length")
                    return
                told += 1
                yield TextDelta(piece)
            await asyncio.sleep(0)
        yield _usage(request, told)
        yield Finish("stop")


def _words(text: str) -> dict[str, str]:
    """The triggers of a message, each with the word behind it."""
    words = text.split()
    return {word: following for word, following in zip(words, [*words[1:], ""], strict=True) if word in TRIGGERS}


def _sentences(request: ChatRequest, asked: Mapping[str, str]) -> Iterator[str]:
    last = request.messages[-1]
    heading = "The tool answered" if last.role == "tool" else "You said"
    yield f"{heading}: {' '.join(last.text.split()) or 'nothing'}. "
    if TOOL in asked:
        yield "There is no such tool to call: none is offered by that name. "
    yield "This answer is scripted; no model made it. "
    yield "It comes in pieces, and is the same each time."
    if LONG in asked:
        for number in range(1, int(_number(asked[LONG], 100, 5000)) + 1):
            yield f" Sentence {number} follows the one before."


def _pieces(text: str) -> Sequence[str]:
    pieces = _PIECE.findall(text)
    rest = text[sum(map(len, pieces)) :]
    return [*pieces[:-1], pieces[-1] + rest] if pieces else [text]


def _tool(request: ChatRequest, name: str) -> FunctionTool | None:
    """The tool of that name; where none is, the first that is offered, if the word behind the trigger is no name of one."""
    if request.tool_choice is not None and request.tool_choice.mode == "none":
        return None
    offered = [tool for tool in request.tools if isinstance(tool, FunctionTool)]
    named = [tool for tool in offered if tool.name == name]
    return next(iter(named or offered), None)


def _call(tool: FunctionTool, number: int) -> Iterator[ToolDelta | ToolCall]:
    """A call with a value for each property that the tool needs, in two pieces and whole."""
    properties: Mapping[str, Any] = tool.parameters.get("properties", {})
    needed = {name: _sample(properties.get(name, {})) for name in tool.parameters.get("required", ())}
    arguments, id = json.dumps(needed), f"call_{number}"
    middle = len(arguments) // 2
    for piece in (arguments[:middle], arguments[middle:]):
        yield ToolDelta(call_id=id, name=tool.name, arguments=piece)
    yield ToolCall(call_id=id, name=tool.name, arguments=arguments)


def _sample(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return None
    if choices := schema.get("enum"):
        return choices[0]
    kind = schema.get("type", "string")
    return _SAMPLES.get(kind if isinstance(kind, str) else next(iter(kind), "null"))


def _number(word: str, otherwise: float, most: float) -> float:
    try:
        return min(max(float(word), 0.0), most)
    except ValueError:
        return otherwise


def _usage(request: ChatRequest, told: int) -> Usage:
    return Usage(input_tokens=sum(len(message.text.split()) for message in request.messages), output_tokens=told)
