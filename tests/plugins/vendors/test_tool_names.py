"""Names of tools for vendors that take shorter ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.api import (
    ChatDelta,
    ChatDeltas,
    FunctionTool,
    Message,
    TextDelta,
    TextPart,
    ToolCall,
    ToolChoice,
)
from plugins.vendors.tool_names import LIMIT, lengthened, shortened
from tests.plugins.vendors.kit import ask, user

LONG = "mcp__playwright__" + "browser_take_screenshot_" * 4
TWIN = LONG + "_2"


def call(name: str) -> ToolCall:
    return ToolCall(call_id="c1", name=name, arguments="{}")


def names(*tools: str) -> list[str]:
    request, _ = shortened(ask(tools=tuple(FunctionTool(name=name) for name in tools)))
    return [tool.name for tool in request.tools if isinstance(tool, FunctionTool)]


def test_short_names_leave_a_request_as_it_is() -> None:
    request = ask(tools=(FunctionTool(name="a" * LIMIT),))
    assert shortened(request) == (request, {})
    assert shortened(request)[0] is request


def test_a_long_name_is_short_and_the_same_in_tools_choice_and_history() -> None:
    history = (
        user("Go"),
        Message(role="assistant", tool_calls=(call(LONG),)),
        Message(role="tool", tool_call_id="c1", name=LONG, parts=(TextPart("done"),)),
    )
    request, long = shortened(
        ask(messages=history, tools=(FunctionTool(name=LONG),), tool_choice=ToolChoice(mode="function", name=LONG))
    )
    (short,) = long
    assert len(short) <= LIMIT and long == {short: LONG}
    assert [tool.name for tool in request.tools if isinstance(tool, FunctionTool)] == [short]
    assert request.tool_choice is not None and request.tool_choice.name == short
    assert request.messages[1].tool_calls[0].name == short
    assert request.messages[2].name == short


def test_a_name_is_shortened_to_the_same_one_whatever_stands_beside_it() -> None:
    assert names(LONG) == names("other", TWIN, LONG)[2:]


def test_names_that_begin_alike_stay_apart() -> None:
    assert len(set(names(LONG, TWIN, LONG + "_3"))) == 3


def test_a_short_name_that_another_tool_has_is_not_taken() -> None:
    (short,) = names(LONG)
    taken, other = names(short, LONG)
    assert taken == short and other != short and len(other) <= LIMIT


class Said:
    """An answer that gives out these deltas."""

    def __init__(self, *deltas: ChatDeltas) -> None:
        self.deltas = deltas

    async def push(self, take: Callable[[ChatDeltas], object]) -> None:
        for delta in self.deltas:
            take(delta)


@pytest.mark.parametrize("together", [False, True])
async def test_calls_name_the_tool_as_the_client_does(together: bool) -> None:
    (short,) = names(LONG)
    deltas: list[ChatDelta] = [TextDelta("x"), call(short), call("other")]
    taken: list[ChatDeltas] = []
    await lengthened(Said(deltas) if together else Said(*deltas), {short: LONG}).push(taken.append)
    assert (taken[0] if together else taken) == [TextDelta("x"), call(LONG), call("other")]


@pytest.mark.parametrize("together", [False, True])
async def test_tools_that_look_alike_when_they_are_short_are_told_apart_in_one_stream(together: bool) -> None:
    twins = [LONG + "-soft", LONG + "_soft", LONG + "-Soft", LONG[:LIMIT], names(LONG + "-soft")[0]]
    request, long = shortened(ask(tools=tuple(FunctionTool(name=name) for name in twins)))
    sent = [tool.name for tool in request.tools if isinstance(tool, FunctionTool)]
    assert len(set(sent)) == len(twins) and all(len(name) <= LIMIT for name in sent)
    taken: list[ChatDeltas] = []
    deltas: list[ChatDelta] = [call(name) for name in sent]
    await lengthened(Said(deltas) if together else Said(*deltas), long).push(taken.append)
    assert (taken[0] if together else taken) == [call(name) for name in twins]


def test_a_call_in_the_history_has_the_name_that_its_tool_has_now() -> None:
    """Which names are free may differ from one request of a conversation to the next; within each they fit together."""
    called = Message(role="assistant", tool_calls=(call(LONG),))
    squatter = FunctionTool(name=names(LONG)[0])
    for tools in ((FunctionTool(name=LONG),), (squatter, FunctionTool(name=LONG)), (squatter,)):
        request, long = shortened(ask(messages=(user("Go"), called), tools=tools))
        sent = request.messages[1].tool_calls[0].name
        offered = [tool.name for tool in request.tools if isinstance(tool, FunctionTool)]
        assert long[sent] == LONG
        assert (sent in offered) == (FunctionTool(name=LONG) in tools)
