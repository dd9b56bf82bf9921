"""Names of tools that are longer than a vendor takes: shortened on the way out, and mapped back in its calls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from engine.api import ChatDelta, ChatDeltas, ChatRequest, FunctionTool, Message, PushedAnswer

LIMIT = 64
"""Characters that OpenAI takes, its imitators, and Google; Anthropic takes 128."""

_DIGEST = 10


def shortened(request: ChatRequest, limit: int = LIMIT) -> tuple[ChatRequest, Mapping[str, str]]:
    """The request with names of at most `limit` characters, and the long name of each that was shortened.

    A name is shortened to the same one in every request, in tools, choice and history alike, and never to that of
    another tool.
    """
    if not any(len(name) > limit for name in _names(request)):
        return request, {}
    taken = {name for name in _names(request) if len(name) <= limit}
    short: dict[str, str] = {}
    for name in _names(request):
        if len(name) > limit and name not in short:
            short[name] = _short(name, limit, taken)
            taken.add(short[name])
    return _renamed(request, short), {after: before for before, after in short.items()}


def _names(request: ChatRequest) -> Iterator[str]:
    for tool in request.tools:
        if isinstance(tool, FunctionTool):
            yield tool.name
    if request.tool_choice is not None and request.tool_choice.name:
        yield request.tool_choice.name
    for message in request.messages:
        yield from (call.name for call in message.tool_calls)
        if message.role == "tool" and message.name:
            yield message.name


def _short(name: str, limit: int, taken: Iterable[str]) -> str:
    """The beginning of a name and a digest of all of it; a longer digest where another tool has that name."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    for length in range(_DIGEST, limit):
        if (made := f"{name[: limit - length - 1]}_{digest[:length]}") not in taken:
            break
    return made


def _renamed(request: ChatRequest, short: Mapping[str, str]) -> ChatRequest:
    def tool_of(name: str) -> str:
        return short.get(name, name)

    choice = request.tool_choice
    return msgspec.structs.replace(
        request,
        tools=tuple(
            msgspec.structs.replace(tool, name=tool_of(tool.name)) if isinstance(tool, FunctionTool) else tool
            for tool in request.tools
        ),
        tool_choice=msgspec.structs.replace(choice, name=tool_of(choice.name)) if choice and choice.name else choice,
        messages=tuple(_message(message, tool_of) for message in request.messages),
    )


def _message(message: Message, tool_of: Callable[[str], str]) -> Message:
    if message.role == "tool" and message.name:
        return msgspec.structs.replace(message, name=tool_of(message.name))
    if not message.tool_calls:
        return message
    calls = tuple(msgspec.structs.replace(call, name=tool_of(call.name)) for call in message.tool_calls)
    return msgspec.structs.replace(message, tool_calls=calls)


def lengthened(answer: PushedAnswer, long: Mapping[str, str]) -> PushedAnswer:
    """The answer with the tools' own names in its calls."""
    return _Lengthened(answer, long) if long else answer


class _Lengthened:
    """An answer whose calls name tools by their long names."""

    __slots__ = ("_answer", "_long")

    def __init__(self, answer: PushedAnswer, long: Mapping[str, str]) -> None:
        self._answer = answer
        self._long = long

    async def push(self, take: Callable[[ChatDeltas], object]) -> None:
        """Ask the model and call `take` with its deltas."""
        await self._answer.push(lambda deltas: take(self._of(deltas)))

    def _of(self, deltas: ChatDeltas) -> ChatDeltas:
        if isinstance(deltas, msgspec.Struct):
            return self._one(deltas)
        return [self._one(delta) for delta in deltas]

    def _one(self, delta: ChatDelta) -> ChatDelta:
        name = getattr(delta, "name", None)
        if isinstance(name, str) and (long := self._long.get(name)) is not None:
            return msgspec.structs.replace(delta, name=long)
        return delta
