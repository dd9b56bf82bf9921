"""The tools that the model of a call uses: the server's run here, the client's are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec
from msgspec import structs
from pydantic import ValidationError

from engine.api import (
    EngineError,
    Overloaded,
    RealtimeToolResult,
    Tool,
    ToolCall,
    ToolCallNotFound,
    ToolCancelled,
    ToolRequest,
    ToolResult,
    Writer,
)
from engine.wire.validation import explain

MOST_WAITING = 1_000
"""Calls of the client's tools that wait for an answer; the oldest are forgotten first."""


class CallTools:
    """Which calls have no answer yet. `answer` is given what the server's own `tools` say."""

    def __init__(self, tools: Mapping[str, Tool], answer: Callable[[RealtimeToolResult], None]) -> None:
        self._tools = tools
        self._answer = answer
        self._waiting: dict[str, str] = {}
        self._running: dict[str, tuple[str, asyncio.Task[None]]] = {}

    def called(self, call: ToolCall, stream: Writer) -> None:
        """The model calls one."""
        tool = self._tools.get(call.name)
        stream.publish(structs.replace(call, client=tool is None))
        if tool is not None:
            running = asyncio.create_task(self._run(tool, call, stream), name=f"tool, call {stream.id}")
            self._running[call.call_id] = call.name, running
            return
        self._waiting[call.call_id] = call.name
        if len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]

    def cancelled(self, call_id: str, stream: Writer) -> None:
        """The model wants no answer any more: a tool that runs is stopped."""
        name = self._waiting.pop(call_id, None)
        if name is None and call_id in self._running:
            name, running = self._running[call_id]
            running.cancel()
        if name is not None:
            stream.publish(ToolCancelled(call_id=call_id, name=name))

    def answered(self, call_id: str) -> None:
        """The client's tool answers; raises `ToolCallNotFound` where nobody waits for that."""
        if self._waiting.pop(call_id, None) is None:
            raise ToolCallNotFound(
                f"the model waits for no answer to {call_id[:80]!r}: each tool.call is answered once, "
                "and not after tool.cancelled",
                field="call_id",
            )

    async def close(self) -> None:
        """Stop those that run."""
        running = [task for _, task in self._running.values()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, tool: Tool, call: ToolCall, stream: Writer) -> None:
        try:
            output, failure = await _outcome(tool, call, stream)
        finally:
            self._running.pop(call.call_id, None)
        body = failure.body() if failure is not None else None
        stream.publish(ToolResult(call_id=call.call_id, name=call.name, output=output, error=body))
        self._answer(RealtimeToolResult(call.call_id, output, failure is not None))


async def _outcome(tool: Tool, call: ToolCall, stream: Writer) -> tuple[str, EngineError | None]:
    """What the model is told, and what went wrong."""
    failure: EngineError
    try:
        arguments = tool.parameters.model_validate_json(call.arguments or "{}")
        async with asyncio.timeout(tool.timeout):
            return as_text(await tool.run(ToolRequest(stream.principal, stream.id, call.call_id, arguments))), None
    except ValidationError as error:
        failure = explain(error, tool.parameters, what="arguments")
    except EngineError as error:
        failure = error
    except TimeoutError:
        failure = Overloaded(f"the tool {call.name} took longer than {tool.timeout:g} s")
    return f"The tool failed: {failure.message}", failure


def as_text(output: object) -> str:
    """What a tool answered, as a model is told it."""
    return output if isinstance(output, str) else msgspec.json.encode(output, enc_hook=str).decode()
