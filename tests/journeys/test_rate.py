"""A rate that a principal uses up: told with every answer, and in the refusal."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest

from tests.emulators.openai import OpenAIEmulator
from tests.server import CHAT, MODEL, behind, engine_inside


async def test_each_answer_tells_what_is_left_and_the_refusal_when_to_come_back(tmp_path: Path) -> None:
    async with OpenAIEmulator() as vendor:
        settings = {**CHAT, "limits.requests_per_minute": 2}
        async with (
            engine_inside(tmp_path, settings, behind(vendor)) as engine,
            openai.AsyncOpenAI(api_key="any", base_url=f"http://127.0.0.1:{engine.port}/v1", max_retries=0) as client,
        ):
            told = []
            for _ in range(2):
                raw = await client.chat.completions.with_raw_response.create(
                    model=MODEL, messages=[{"role": "user", "content": "Hi"}]
                )
                told.append((raw.headers["x-ratelimit-limit-requests"], raw.headers["x-ratelimit-remaining-requests"]))
            assert told == [("2", "1"), ("2", "0")]
            with pytest.raises(openai.RateLimitError) as caught:
                await client.responses.create(model=MODEL, input="Hi")
    headers = caught.value.response.headers
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert 0 < float(headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 60
    assert 0 < int(headers["retry-after"]) <= 30


async def test_no_rate_has_no_headers(tmp_path: Path) -> None:
    async with OpenAIEmulator() as vendor, engine_inside(tmp_path, CHAT, behind(vendor)) as engine:
        address = f"http://127.0.0.1:{engine.port}/v1"
        async with openai.AsyncOpenAI(api_key="any", base_url=address, max_retries=0) as client:
            raw = await client.models.with_raw_response.list()
    assert not [name for name in raw.headers if name.startswith("x-ratelimit")]
