"""`langchain-openai` and `langchain-anthropic`: whole answers, streams, and a bound tool whose answer is sent back."""

from __future__ import annotations

import sys

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def weather(city: str) -> str:
    """Tells the weather of a city."""
    return "18 degrees"


def check(model: ChatOpenAI | ChatAnthropic) -> None:
    assert model.invoke("Say hello").text == "Say hello"
    assert "".join(chunk.text for chunk in model.stream("Say hello")) == "Say hello"
    asked = HumanMessage('call weather {"city": "Oslo"}')
    able = model.bind_tools([weather])
    streamed = None
    for chunk in able.stream([asked]):
        streamed = chunk if streamed is None else streamed + chunk
    for answer in (able.invoke([asked]), streamed):
        assert answer is not None
        assert [call["args"] for call in answer.tool_calls] == [{"city": "Oslo"}], answer
        result = ToolMessage("18 degrees", tool_call_id=answer.tool_calls[0]["id"], name="weather")
        assert able.invoke([asked, answer, result]).text == "done"


def main(url: str) -> None:
    name = "openai/gpt-test"
    for responses in (False, True):
        check(ChatOpenAI(model=name, base_url=f"{url}/v1", api_key="any", use_responses_api=responses))
    check(ChatAnthropic(model=name, base_url=url, api_key="any", max_tokens=100))


if __name__ == "__main__":
    main(sys.argv[1])
