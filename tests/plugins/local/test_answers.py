"""The real model behind its HTTP door: what an OpenAI-compatible client may count on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from plugins.local.settings import LocalSettings
from plugins.local.supervisor import LlamaServer

CHAT = "chat/completions"


@pytest.fixture
async def client(server: LlamaServer) -> AsyncIterator[aiohttp.ClientSession]:
    async with await _connect(server) as client:
        yield client


@pytest.fixture
async def wide(model: Path) -> AsyncIterator[LlamaServer]:
    """A server as shipped, with room for long answers."""
    server = LlamaServer(LocalSettings(model_path=model))
    server.start()
    yield server
    await server.aclose()


async def _connect(server: LlamaServer) -> aiohttp.ClientSession:
    endpoint = await server.ready()
    return aiohttp.ClientSession(
        f"{endpoint.base_url}/",
        headers={"Authorization": f"Bearer {endpoint.api_key}"},
        # The server closes a connection after a streamed answer without saying so.
        connector=aiohttp.TCPConnector(force_close=True),
    )


def _ask(text: str, **fields: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 40, **fields}


ENDLESS = _ask("Write.", stream=True, ignore_eos=True, max_tokens=4000)


async def _chunks(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.content:
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])


async def test_a_stranger_without_the_key_is_refused(client: aiohttp.ClientSession) -> None:
    async with client.post(CHAT, json=_ask("Hi"), headers={"Authorization": "Bearer guess"}) as answer:
        assert answer.status == 401


async def test_an_answer_is_streamed_and_its_usage_comes_last(client: aiohttp.ClientSession) -> None:
    body = _ask("Say hello.", stream=True, stream_options={"include_usage": True}, ignore_eos=True)
    async with client.post(CHAT, json=body) as answer:
        chunks = [chunk async for chunk in _chunks(answer)]
    # A picture alone takes several of the forty tokens.
    assert len(chunks) > 5
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 40
    assert {chunk["model"] for chunk in chunks} == {"SmolLM2-135M-Instruct.Q4_1"}


async def test_four_chats_are_answered_at_once(wide: LlamaServer) -> None:
    async with await _connect(wide) as client:
        running = [await client.post(CHAT, json=ENDLESS) for _ in range(3)]
        # Behind one another, three such answers would take minutes.
        async with asyncio.timeout(20), client.post(CHAT, json=_ask("Hi", max_tokens=1)) as fourth:
            assert fourth.status == 200
        for answer in running:
            answer.close()


async def test_a_schema_is_kept_to_by_grammar(client: aiohttp.ClientSession) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}, "sure": {"type": "boolean"}},
        "required": ["colour", "sure"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "colour", "strict": True, "schema": schema}}
    body = _ask("Which colour is the sky?", response_format=wanted, temperature=0, max_tokens=200)
    async with client.post(CHAT, json=body) as answer:
        said = json.loads((await answer.json())["choices"][0]["message"]["content"])
    assert said.keys() == {"colour", "sure"}
    assert said["colour"] in ("red", "blue")


async def test_closed_connections_stop_the_model(wide: LlamaServer) -> None:
    async with await _connect(wide) as client:
        for _ in range(4):
            answer = await client.post(CHAT, json=ENDLESS)
            await answer.content.readany()
            answer.close()
        # All four places would be taken for minutes.
        async with asyncio.timeout(20), client.post(CHAT, json=_ask("Hi", max_tokens=1)) as fifth:
            assert fifth.status == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_a_prompt_over_the_context_is_refused_with_both_figures(
    client: aiohttp.ClientSession, stream: bool
) -> None:
    async with client.post(CHAT, json=_ask("word " * 600, stream=stream)) as answer:
        assert answer.status == 400
        error = (await answer.json())["error"]
    assert error["type"] == "exceed_context_size_error"
    assert error["n_prompt_tokens"] > error["n_ctx"] == 512


async def test_an_answer_without_a_limit_ends_with_the_context(client: aiohttp.ClientSession) -> None:
    body = {"messages": [{"role": "user", "content": "word " * 400}], "ignore_eos": True}
    async with client.post(CHAT, json=body) as answer:
        whole = await answer.json()
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["total_tokens"] == 512
