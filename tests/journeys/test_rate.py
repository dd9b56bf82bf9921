"""A rate that a principal or a key uses up: told with every answer, and in the refusal."""

from __future__ import annotations

from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from tests.caches import PrivateRedis, redis_server
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Hold, Say, Usage
from tests.journeys.client import connected
from tests.server import CHAT, MODEL, RunningServer, behind, engine_inside

__all__ = ("redis_server",)

HI: list[ChatCompletionUserMessageParam] = [{"role": "user", "content": "Hi"}]


def client_of(port: int, key: str = "any") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key=key, base_url=f"http://127.0.0.1:{port}/v1", max_retries=0)


async def test_each_answer_tells_what_is_left_and_the_refusal_when_to_come_back(tmp_path: Path) -> None:
    async with OpenAIEmulator() as vendor:
        settings = {**CHAT, "limits.requests_per_minute": 2}
        async with engine_inside(tmp_path, settings, behind(vendor)) as engine, client_of(engine.port) as client:
            told = []
            for _ in range(2):
                raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=HI)
                told.append((raw.headers["x-ratelimit-limit-requests"], raw.headers["x-ratelimit-remaining-requests"]))
            assert told == [("2", "1"), ("2", "0")]
            with pytest.raises(openai.RateLimitError) as caught:
                await client.responses.create(model=MODEL, input="Hi")
    headers = caught.value.response.headers
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert 0 < float(headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 120
    assert 0 < int(headers["retry-after"]) <= 121


async def test_a_minute_of_tokens_is_told_and_holds_turns_back_and_nothing_else(tmp_path: Path) -> None:
    async with OpenAIEmulator() as vendor:
        settings = {**CHAT, "limits.tokens_per_minute": 20}
        async with engine_inside(tmp_path, settings, behind(vendor)) as engine, client_of(engine.port) as client:
            vendor.script.append(Say(pieces=["Hello"], usage=Usage(30, 5)))
            raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=HI)
            assert raw.headers["x-ratelimit-limit-tokens"] == "20"
            with pytest.raises(openai.RateLimitError, match="20 tokens a minute") as caught:
                await client.chat.completions.create(model=MODEL, messages=HI)
            models = await client.models.with_raw_response.list()
    assert 0 < int(caught.value.response.headers["retry-after"]) <= 60
    assert models.headers["x-ratelimit-remaining-tokens"] == "0"


async def test_no_rate_has_no_headers(tmp_path: Path) -> None:
    async with (
        OpenAIEmulator() as vendor,
        engine_inside(tmp_path, CHAT, behind(vendor)) as engine,
        client_of(engine.port) as client,
    ):
        raw = await client.models.with_raw_response.list()
    assert not [name for name in raw.headers if name.startswith("x-ratelimit")]


async def test_a_key_has_limits_of_its_own_and_two_servers_count_them_together(
    tmp_path: Path, redis_server: PrivateRedis
) -> None:
    async with OpenAIEmulator() as vendor:
        settings = {
            **CHAT,
            "auth.mode": "keys",
            "limits.redis": redis_server.url,
            "auth.secret": "0123456789abcdef0123",
        }
        servers = [RunningServer(tmp_path / name, settings, behind(vendor)) for name in ("one", "two")]
        for server in servers:
            server.folder.mkdir()
        servers[0].run("db", "upgrade")
        made = servers[0].run("keys", "create", "narrow", "--requests-per-minute", "3", "--streams", "1")
        key = next(word for word in made.split() if word.startswith("bai_"))
        database = {"databases.default": f"sqlite+aiosqlite:///{servers[0].folder}/var/betterai.db"}
        assert "3 requests_per_minute, 1 streams" in " ".join(servers[0].run("keys", "list").split())
        one = servers[0]
        one.start()
        try:
            hold = Hold()
            vendor.script.append(Say(pieces=["mine", hold]))
            async with connected(one.url, headers={"Authorization": f"Bearer {key}"}) as socket:
                heard = await socket.chat("Say it")
                await socket.text_of(heard.stream, "mine")
                async with client_of(one.port, key) as client:
                    with pytest.raises(openai.RateLimitError, match="1 streams of key:"):
                        await client.chat.completions.create(model=MODEL, messages=HI)
                hold.release()
                await socket.end_of(heard.stream)
            one.stop()
            two = RunningServer(servers[1].folder, {**settings, **database}, behind(vendor))
            two.start()
            try:
                async with client_of(two.port, key) as client:
                    raw = await client.models.with_raw_response.list()
                    assert raw.headers["x-ratelimit-remaining-requests"] == "0"
                    with pytest.raises(openai.RateLimitError, match=r"key:.* may use 3 requests a minute"):
                        await client.models.list()
            finally:
                two.kill()
        finally:
            one.kill()
