"""Tools of a turn: the server's run under the caller's identity, the client's are waited for, others are told to be none."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from engine.api.events import ToolCall, ToolResult
from engine.api.tools import Tool, ToolRequest
from engine.testing.providers import RecordingWriter
from plugins.chat.tools import ToolRun
from plugins.chat.waiting import WaitingCalls


class City(BaseModel):
    city: str


async def weather(request: ToolRequest) -> dict[str, str]:
    assert isinstance(request.arguments, City)
    return {"city": request.arguments.city, "for": request.principal.id}


async def broken(request: ToolRequest) -> str:
    raise RuntimeError("a secret of the plugin")


async def slow(request: ToolRequest) -> str:
    await asyncio.Event().wait()
    return ""


def tool(name: str, run: object, timeout: float = 5.0) -> Tool:
    return Tool(name=name, description="", parameters=City, run=run, timeout=timeout)  # type: ignore[arg-type]


SERVER = {"weather": tool("weather", weather), "broken": tool("broken", broken), "slow": tool("slow", slow, 0.01)}


def call(name: str, arguments: str = '{"city":"Oslo"}', id: str = "c1") -> ToolCall:
    return ToolCall(call_id=id, name=name, arguments=arguments)


async def outcome(run: ToolRun, made: ToolCall) -> ToolResult:
    (result,) = await run.run([made], RecordingWriter())
    return result


async def test_a_tool_of_the_server_runs_for_the_caller() -> None:
    result = await outcome(ToolRun(SERVER, WaitingCalls(), 5), call("weather"))
    assert (result.output, result.error) == ('{"city":"Oslo","for":"local"}', None)


async def test_arguments_that_do_not_fit_are_told_to_the_model() -> None:
    result = await outcome(ToolRun(SERVER, WaitingCalls(), 5), call("weather", '{"town":"Oslo"}'))
    assert result.error is not None and "city is required" in result.output


async def test_a_tool_that_raises_tells_nothing_of_its_inside() -> None:
    result = await outcome(ToolRun(SERVER, WaitingCalls(), 5), call("broken"))
    assert result.error is not None and (result.error.code, "secret" in result.output) == ("tool_failed", False)


async def test_a_tool_that_does_not_answer_is_given_up() -> None:
    result = await outcome(ToolRun(SERVER, WaitingCalls(), 5), call("slow"))
    assert result.error is not None and "did not answer" in result.output


async def test_a_tool_of_the_client_is_waited_for_and_answered_once() -> None:
    waiting = WaitingCalls()
    run = ToolRun(SERVER, waiting, 5, ["lookup"])
    announced = run.announce(call("lookup"))
    assert announced.client
    waiting.answer("c1", {"found": 1}, False)
    waiting.answer("c1", "another", False)
    assert (await outcome(run, announced)).output == '{"found":1}'


async def test_a_client_that_does_not_answer_is_told_of_to_the_model() -> None:
    run = ToolRun(SERVER, WaitingCalls(), 0.01, ["lookup"])
    result = await outcome(run, run.announce(call("lookup")))
    assert result.error is not None and "not answered by the client" in result.output


async def test_a_tool_that_nobody_has_is_told_to_be_none_at_once() -> None:
    run = ToolRun(SERVER, WaitingCalls(), 600, ["lookup"])
    announced = run.announce(call("invented"))
    result = await outcome(run, announced)
    assert not announced.client and result.error is not None and "no tool 'invented'" in result.output
