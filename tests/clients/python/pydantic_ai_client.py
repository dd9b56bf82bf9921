"""`pydantic-ai`: an agent with a tool, over all three dialects."""

from __future__ import annotations

import sys
from collections.abc import Callable

from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider


def weather_noting(asked: list[str]) -> Callable[[str], str]:
    """A tool that notes which city it was asked for."""

    def weather(city: str) -> str:
        """Tells the weather of a city."""
        asked.append(city)
        return "18 degrees"

    return weather


def main(url: str) -> None:
    openai = OpenAIProvider(base_url=f"{url}/v1", api_key="any")
    models = (
        OpenAIChatModel("openai/gpt-test", provider=openai),
        OpenAIResponsesModel("openai/gpt-test", provider=openai),
        AnthropicModel("openai/gpt-test", provider=AnthropicProvider(base_url=url, api_key="any")),
    )
    for model in models:
        assert Agent(model).run_sync("Say hello").output == "Say hello"
        asked: list[str] = []
        Agent(model, tools=[weather_noting(asked)]).run_sync('call weather {"city": "Oslo"}')
        assert asked == ["Oslo"], model


if __name__ == "__main__":
    main(sys.argv[1])
