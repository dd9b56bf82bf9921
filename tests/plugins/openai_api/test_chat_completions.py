"""Chat Completions over HTTP, asked by the official client."""

from __future__ import annotations

import asyncio

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from engine.api import (
    Finish,
    ImagePart,
    ProviderRateLimited,
    ProviderUnavailable,
    ReasoningDelta,
    TextDelta,
    TextPart,
    ToolCall,
    Usage,
)
from engine.testing import FailingProvider, ScriptedProvider, answer
from tests.plugins.openai_api.conftest import Serving

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello"}]
USAGE = Usage(input_tokens=5, output_tokens=2)
LOGPROB = {"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": []}
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


async def test_a_whole_answer_is_read_by_the_official_client(serving: Serving) -> None:
    async with serving(ScriptedProvider(*answer("Hel", "lo", usage=USAGE))) as client:
        made = await client.chat.completions.create(model="scripted/m", messages=HELLO)
    assert made.choices[0].message.content == "Hello"
    assert (made.choices[0].finish_reason, made.model) == ("stop", "scripted/m")
    assert made.usage is not None and made.usage.total_tokens == 7


async def test_a_stream_is_read_by_the_official_client(serving: Serving) -> None:
    async with serving(ScriptedProvider(ReasoningDelta("Hmm"), *answer("Hel", "lo", usage=USAGE))) as client:
        stream = await client.chat.completions.create(
            model="scripted/m", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    assert "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices) == "Hello"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 7


async def test_an_answer_names_its_stream_and_its_request(serving: Serving) -> None:
    async with serving(ScriptedProvider(*answer("Hi"))) as client:
        raw = await client.chat.completions.with_raw_response.create(model="scripted/m", messages=HELLO)
    assert raw.parse().id == f"chatcmpl-{raw.headers['x-stream-id']}"
    assert raw.request_id == raw.headers["x-request-id"]


async def test_text_is_sent_on_while_the_model_still_answers(serving: Serving) -> None:
    gate = asyncio.Event()
    async with serving(ScriptedProvider("Hel", gate, *answer("lo"))) as client:
        stream = await client.chat.completions.create(model="scripted/m", messages=HELLO, stream=True)
        heard = ""
        async for chunk in stream:
            heard += chunk.choices[0].delta.content or ""
            if heard == "Hel":
                gate.set()
    assert heard == "Hello"


async def test_calls_of_tools_end_the_turn_and_their_results_go_to_the_model(serving: Serving) -> None:
    call = ToolCall(call_id="c1", name="weather", arguments='{"city":"Bern"}')
    provider = ScriptedProvider(call, Finish("tool_calls"))
    async with serving(provider) as client:
        first = await client.chat.completions.create(model="scripted/m", messages=HELLO, tools=[WEATHER])
        message = first.choices[0].message
        assert first.choices[0].finish_reason == "tool_calls" and message.tool_calls is not None
        provider.script = answer("18 °C")
        second = await client.chat.completions.create(
            model="scripted/m",
            messages=[
                *HELLO,
                message.to_dict(),  # type: ignore[list-item]
                {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "18"},
            ],
            tools=[WEATHER],
        )
    assert second.choices[0].message.content == "18 °C"
    sent = provider.requests[1].messages
    assert [each.role for each in sent] == ["user", "assistant", "tool"]
    assert sent[1].tool_calls == (call,) and sent[2].tool_call_id == "c1"


async def test_a_streamed_call_is_whole_when_its_pieces_are_put_together(serving: Serving) -> None:
    calls = [ToolCall(call_id=f"c{at}", name="weather", arguments='{"city":"Bern"}') for at in (1, 2)]
    async with (
        serving(ScriptedProvider(*calls, Finish("tool_calls"))) as client,
        client.chat.completions.stream(model="scripted/m", messages=HELLO, tools=[WEATHER]) as stream,
    ):
        final = await stream.get_final_completion()
    made = final.choices[0].message.tool_calls
    assert made is not None
    assert [(call.id, call.function.arguments) for call in made] == [(f"c{at}", '{"city":"Bern"}') for at in (1, 2)]


async def test_several_answers_keep_their_log_probabilities_apart(serving: Serving) -> None:
    provider = ScriptedProvider(
        TextDelta("Hi", 0, [LOGPROB]), TextDelta("Hi", 1, [LOGPROB, LOGPROB]), Finish("stop"), Finish("stop", 1)
    )
    async with serving(provider) as client:
        made = await client.chat.completions.create(model="scripted/m", messages=HELLO, n=2, logprobs=True)
    found = [choice.logprobs.content for choice in made.choices if choice.logprobs]
    assert [len(content or ()) for content in found] == [1, 2]
    assert provider.requests[0].n == 2 and provider.requests[0].logprobs == 0


async def test_pictures_and_unknown_fields_reach_the_provider(serving: Serving) -> None:
    provider = ScriptedProvider(*answer("A cat"))
    picture = "https://a.example/cat.png"
    async with serving(provider) as client:
        await client.chat.completions.create(
            model="scripted/m",
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What?"},
                        {"type": "image_url", "image_url": {"url": picture}},
                    ],
                }
            ],
            frequency_penalty=0.5,
            extra_body={"top_k": 40},
        )
    request = provider.requests[0]
    assert request.messages[0].parts == (TextPart("What?"), ImagePart(url=picture))
    assert request.provider_options == {"frequency_penalty": 0.5, "top_k": 40}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_word_is_an_http_error(serving: Serving, stream: bool) -> None:
    limited = FailingProvider(lambda: ProviderRateLimited("Slow down.", retry_after=7))
    async with serving(limited) as client:
        with pytest.raises(openai.RateLimitError, match=r"Slow down\.") as caught:
            await client.chat.completions.create(model="failing/m", messages=HELLO, stream=stream)
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.code == "rate_limit_exceeded"


async def test_a_failure_in_mid_stream_raises_after_what_was_said(serving: Serving) -> None:
    heard = ""
    async with serving(ScriptedProvider("Hel", ProviderUnavailable("It cut off its answer."))) as client:
        stream = await client.chat.completions.create(model="scripted/m", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError, match="cut off"):
            async for chunk in stream:
                heard += chunk.choices[0].delta.content or ""
    assert heard == "Hel"


async def test_a_failure_in_the_middle_of_a_whole_answer_is_a_bad_gateway(serving: Serving) -> None:
    async with serving(ScriptedProvider("Hel", ProviderUnavailable("It cut off its answer."))) as client:
        with pytest.raises(openai.InternalServerError, match="cut off") as caught:
            await client.chat.completions.create(model="scripted/m", messages=HELLO)
    assert (caught.value.status_code, caught.value.code) == (502, "provider_unavailable")


@pytest.mark.parametrize("stream", [False, True])
async def test_hanging_up_closes_the_connection_to_the_model(serving: Serving, stream: bool) -> None:
    provider = ScriptedProvider("Hel", asyncio.Event())
    async with serving(provider) as client:
        asking = asyncio.create_task(_read(client, stream))
        await provider.reached.wait()
        asking.cancel()
        async with asyncio.timeout(5):
            await provider.closed.wait()
    assert provider.running == 0


async def _read(client: openai.AsyncOpenAI, stream: bool) -> None:
    made = await client.chat.completions.create(model="scripted/m", messages=HELLO, stream=stream)
    if isinstance(made, openai.AsyncStream):
        async for _ in made:
            pass


async def test_a_key_makes_a_second_request_the_first_one(serving: Serving) -> None:
    provider = ScriptedProvider(*answer("Hi"))
    async with serving(provider) as client:
        key = {"Idempotency-Key": "k1"}
        first, second = [
            await client.chat.completions.create(model="scripted/m", messages=HELLO, extra_headers=key)
            for _ in range(2)
        ]
        with pytest.raises(openai.ConflictError) as caught:
            await client.chat.completions.create(model="scripted/m", messages=HELLO, seed=1, extra_headers=key)
    assert first.id == second.id and len(provider.requests) == 1
    assert (caught.value.code, caught.value.param) == ("idempotency_conflict", "Idempotency-Key")


async def test_mistakes_are_bad_requests_that_name_the_parameter(serving: Serving) -> None:
    async with serving(ScriptedProvider(*answer("Hi"))) as client:
        with pytest.raises(openai.BadRequestError) as wrong:
            await client.chat.completions.create(model="scripted/m", messages=HELLO, temperature=9)
        with pytest.raises(openai.BadRequestError) as old:
            await client.chat.completions.create(
                model="scripted/m", messages=HELLO, functions=[{"name": "f", "parameters": {}}]
            )
        with pytest.raises(openai.BadRequestError) as inner:
            picture: ChatCompletionMessageParam = {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "ftp://a"}}],
            }
            await client.chat.completions.create(model="scripted/m", messages=[picture])
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(model="gpt-99", messages=HELLO)
    assert wrong.value.param == "temperature"
    assert (old.value.code, old.value.param) == ("unsupported_parameter", "functions")
    assert inner.value.param == "messages.0.content.0"
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models/a/b/c:Q4", 405),
        ("GET", "/v1/models/nobody/a/b/c:Q4", 404),
        ("GET", "/v1/messages", 405),
        ("POST", "/v1/messages/nothing", 404),
    ],
)
async def test_every_error_under_v1_has_the_shape_of_its_dialect(
    serving: Serving, method: str, path: str, status: int
) -> None:
    async with serving(ScriptedProvider(*answer("Hi"))) as client, httpx.AsyncClient(trust_env=False) as http:
        address = str(client.base_url).removesuffix("/v1/")
        response = await http.request(method, address + path)
    told = response.json()
    assert response.status_code == status and response.headers["content-type"].startswith("application/json")
    assert {"message", "type", "code", "param"} <= told["error"].keys() | {"param"}
    assert (told.get("type") == "error") is path.startswith("/v1/messages")


async def test_a_slash_at_the_end_is_no_other_address(serving: Serving) -> None:
    async with serving(ScriptedProvider(*answer("Hi"))) as client, httpx.AsyncClient(trust_env=False) as http:
        asked = {"model": "scripted/m", "messages": [{"role": "user", "content": "Hello"}]}
        made = await http.post(f"{client.base_url}chat/completions/", json=asked)
    assert made.json()["choices"][0]["message"]["content"] == "Hi"
