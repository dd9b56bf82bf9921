"""Runs the tools that a model called: the server's own, and the client's."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

import msgspec
import structlog
from pydantic import ValidationError

from engine.api.chat import FunctionTool
from engine.api.errors import EngineError, ErrorBody, ToolFailed
from engine.api.events import ToolCall, ToolResult
from engine.api.streams import Writer
from engine.api.tools import Tool, ToolRequest
from engine.wire.validation import explain
from plugins.chat.waiting import Answered, WaitingCalls, as_text

log = structlog.get_logger(__name__)


def offer(tools: Sequence[Tool]) -> tuple[FunctionTool, ...]:
    """The server's tools as the model is told of them."""
    return tuple(
        FunctionTool(name=tool.name, description=tool.description, parameters=tool.parameters.model_json_schema())
        for tool in tools
    )


class ToolRun:
    """The tools of one turn: the server's, and `client`, the names of those that the client answers.

    A tool that fails, or that is none, is an event and a message to the model, never a dead turn.
    """

    def __init__(
        self, server: Mapping[str, Tool], waiting: WaitingCalls, timeout: float, client: Collection[str] = ()
    ) -> None:
        self._server = server
        self._client = frozenset(client)
        self._waiting = waiting
        self._timeout = timeout

    def mine(self, call: ToolCall) -> bool:
        """True when the server answers the call itself."""
        return call.name in self._server

    def announce(self, call: ToolCall) -> ToolCall:
        """The call as the client is told of it; one that the client is to answer is expected from now on."""
        if call.name not in self._client:
            return call
        self._waiting.expect(call.call_id)
        return msgspec.structs.replace(call, client=True)

    async def run(self, calls: Sequence[ToolCall], stream: Writer) -> list[ToolResult]:
        """Answer all calls at once; the results stand in the order of the calls."""
        results = await asyncio.gather(*(self._one(call, stream) for call in calls))
        return list(results)

    async def _one(self, call: ToolCall, stream: Writer) -> ToolResult:
        tool = self._server.get(call.name)
        try:
            result = await (self._serve(tool, call, stream) if tool is not None else self._ask(call))
        except EngineError as error:
            output = f"The tool failed: {error.message}"
            result = ToolResult(call_id=call.call_id, name=call.name, output=output, error=error.body())
        stream.publish(result)
        return result

    async def _serve(self, tool: Tool, call: ToolCall, stream: Writer) -> ToolResult:
        try:
            arguments = tool.parameters.model_validate_json(call.arguments or "{}")
        except ValidationError as error:
            raise explain(error, tool.parameters, what="arguments") from None
        request = ToolRequest(stream.principal, stream.id, call.call_id, arguments)
        try:
            async with asyncio.timeout(tool.timeout):
                output = as_text(await tool.run(request))
        except TimeoutError:
            raise ToolFailed(f"{tool.name} did not answer within {tool.timeout:g} seconds") from None
        except EngineError:
            raise
        except Exception:
            log.exception("tool_crashed", tool=tool.name, stream=stream.id)
            raise ToolFailed(f"{tool.name} failed inside the server") from None
        return ToolResult(call_id=call.call_id, name=call.name, output=output)

    async def _ask(self, call: ToolCall) -> ToolResult:
        if call.name not in self._client:
            raise ToolFailed(f"there is no tool {call.name[:80]!r}")
        try:
            async with asyncio.timeout(self._timeout):
                answered = await self._waiting.wait(call.call_id)
        except TimeoutError:
            raise ToolFailed(f"{call.name} was not answered by the client within {self._timeout:g} seconds") from None
        return ToolResult(call_id=call.call_id, name=call.name, output=answered.output, error=_error_of(answered))


def _error_of(answered: Answered) -> ErrorBody | None:
    if not answered.failed:
        return None
    message = answered.output[:500] or "the client's tool failed"
    return ErrorBody(code=ToolFailed.code, message=message, retryable=False)
