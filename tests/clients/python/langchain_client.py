"""`langchain-openai`: a whole answer, a stream, and a tool that is bound, over both of OpenAI's dialects."""

from __future__ import annotations

import sys

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def weather(city: str) -> str:
    """Tells the weather of a city."""
    return "18 degrees"


def main(url: str) -> None:
    for responses in (False, True):
        model = ChatOpenAI(model="openai/gpt-test", base_url=f"{url}/v1", api_key="any", use_responses_api=responses)
        assert model.invoke("Say hello").text == "Say hello"
        assert "".join(chunk.text for chunk in model.stream("Say hello")) == "Say hello"
        answer = model.bind_tools([weather]).invoke('call weather {"city": "Oslo"}')
        assert [call["args"] for call in answer.tool_calls] == [{"city": "Oslo"}], answer


if __name__ == "__main__":
    main(sys.argv[1])
