"""The official `openai` client: synchronous, asynchronous, and asynchronous over aiohttp."""

from __future__ import annotations

import asyncio
import sys

import openai

ASK = {"model": "openai/gpt-test", "messages": [{"role": "user", "content": "Say hello"}]}


def sync(url: str) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="any")
    assert client.chat.completions.create(**ASK).choices[0].message.content == "Say hello"
    pieces = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**ASK, stream=True)]
    assert "".join(pieces) == "Say hello"
    assert client.responses.create(model="openai/gpt-test", input="Say hello").output_text == "Say hello"
    assert "openai/gpt-test" in client.models.retrieve("openai/gpt-test").id
    try:
        client.chat.completions.create(**{**ASK, "model": "nowhere/at-all"})
    except openai.NotFoundError as error:
        assert error.code == "model_not_found"
    else:
        raise AssertionError("a model that is not there was found")


async def of(client: openai.AsyncOpenAI) -> None:
    made = await client.chat.completions.create(**ASK)
    assert made.choices[0].message.content == "Say hello"
    async with client.responses.stream(model="openai/gpt-test", input="Say hello") as stream:
        events = [event.type async for event in stream]
        assert (await stream.get_final_response()).output_text == "Say hello"
    assert events[-1] == "response.completed"


async def concurrent(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any") as client:
        await of(client)
    transport = openai.DefaultAioHttpClient()
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="any", http_client=transport) as client:
        await of(client)


if __name__ == "__main__":
    sync(sys.argv[1])
    asyncio.run(concurrent(sys.argv[1]))
