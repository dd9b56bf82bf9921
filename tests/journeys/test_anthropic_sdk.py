"""The unmodified `anthropic` client against a whole server, with each vendor behind it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pytest
import pytest_asyncio
from anthropic.types import Message, MessageParam, ToolParam

from tests.emulators.anthropic import AnthropicEmulator
from tests.emulators.base import Emulator
from tests.emulators.google import GoogleEmulator
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Citation, Fault, Hold, Say, ToolUse, Usage
from tests.server import CHAT, engine_inside, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO: list[MessageParam] = [{"role": "user", "content": "Hello there"}]
WEATHER: ToolParam = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
PIXEL = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")
).decode()
MODELS = {"openai": "openai/gpt-5-mini", "anthropic": "claude-sonnet-5", "google": "google/gemini-2.5-flash"}


class Behind:
    """The three vendors, emulated, behind one server, and the official client in front of it."""

    def __init__(self, client: anthropic.AsyncAnthropic, vendors: dict[str, Emulator]) -> None:
        self.client = client
        self.vendors = vendors

    @property
    def claude(self) -> Emulator:
        return self.vendors["anthropic"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    async with AnthropicEmulator() as claude, GoogleEmulator() as google, OpenAIEmulator() as openai:
        environ = {
            "ANTHROPIC_API_KEY": "sk-ant-test-0123456789",
            "ANTHROPIC_BASE_URL": claude.base_url,
            "OPENAI_API_KEY": "sk-test-0123456789",
            "OPENAI_BASE_URL": openai.base_url,
            "GEMINI_API_KEY": "test-0123456789",
        }
        settings = {**CHAT, "vendors.google.base_url": google.base_url}
        async with (
            engine_inside(tmp_path_factory.mktemp("server"), settings, environ) as engine,
            anthropic.AsyncAnthropic(
                api_key="any", base_url=f"http://127.0.0.1:{engine.port}", max_retries=0
            ) as client,
        ):
            yield Behind(client, {"anthropic": claude, "google": google, "openai": openai})


@pytest.fixture
def behind(shared: Behind) -> Iterator[Behind]:
    for vendor in shared.vendors.values():
        vendor.script.clear()
        vendor.requests.clear()
        vendor.closed_by_client.clear()
    yield shared


async def ask(behind: Behind, vendor: str, **fields: Any) -> list[Message]:
    """The same request whole and as a stream."""
    asked = {"model": MODELS[vendor], "max_tokens": 2000, "messages": HELLO, **fields}
    whole = await behind.client.messages.create(**asked)
    async with behind.client.messages.stream(**asked) as stream:
        return [whole, await stream.get_final_message()]


def blocks(message: Message) -> list[dict[str, Any]]:
    return message.to_dict()["content"]  # type: ignore[return-value]


@pytest.mark.parametrize("vendor", MODELS)
async def test_any_vendor_answers_with_text_and_usage(behind: Behind, vendor: str) -> None:
    behind.vendors[vendor].script += [Say("It is sunny.", usage=Usage(20, 9, cached=5))] * 2
    for message in await ask(behind, vendor):
        assert [block["text"] for block in blocks(message)] == ["It is sunny."]
        assert message.stop_reason == "end_turn"
        assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (15, 5)
        assert message.usage.output_tokens == 9


@pytest.mark.parametrize("vendor", MODELS)
async def test_any_vendor_runs_a_tool_loop_with_a_picture(behind: Behind, vendor: str) -> None:
    emulator = behind.vendors[vendor]
    calls = [ToolUse("call_1", "weather", {"city": "Oslo"}), ToolUse("call_2", "weather", {"city": "Bern"})]
    emulator.script += [Say("", tool_calls=calls), Say("Cold in both.")]
    picture: MessageParam = {
        "role": "user",
        "content": [
            {"type": "text", "text": "Which is warmer?"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        ],
    }
    asked: dict[str, Any] = {"model": MODELS[vendor], "max_tokens": 2000, "tools": [WEATHER]}
    first = await behind.client.messages.create(**asked, messages=[picture])
    assert first.stop_reason == "tool_use"
    used = [block for block in first.content if block.type == "tool_use"]
    assert [use.input for use in used] == [{"city": "Oslo"}, {"city": "Bern"}]
    results: MessageParam = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "3 °C"} for use in used],
    }
    said: MessageParam = {"role": "assistant", "content": first.content}
    second = await behind.client.messages.create(**asked, messages=[picture, said, results])
    assert blocks(second)[0]["text"] == "Cold in both."
    assert len(emulator.requests) == 2


async def test_what_only_anthropic_understands_reaches_it_untouched(behind: Behind) -> None:
    behind.claude.script.append(Say("Hi"))
    system: list[Any] = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    await behind.client.messages.create(
        model="claude-sonnet-5",
        max_tokens=50,
        messages=HELLO,
        system=system,
        extra_headers={"anthropic-beta": "one-2026-01-01,two-2026-02-02"},
        service_tier="standard_only",
    )
    (request,) = behind.claude.requests
    assert request.body["system"] == system
    assert request.body["messages"] == HELLO
    assert (request.body["max_tokens"], request.body["service_tier"]) == (50, "standard_only")
    assert request.headers["anthropic-beta"] == "one-2026-01-01,two-2026-02-02"


async def test_searches_of_anthropics_own_come_back_as_it_sent_them(behind: Behind) -> None:
    source = Citation("https://a", "A", quote="sun")
    behind.claude.script += [Say("Sun today.", reasoning="Hm.", citations=[source], signature="sealed")] * 2
    tools: list[Any] = [{"type": "web_search_20250305", "name": "web_search"}]
    for message in await ask(behind, "anthropic", tools=tools):
        thought, search, found, text = blocks(message)
        assert (thought["type"], thought["thinking"], thought["signature"]) == ("thinking", "Hm.", "sealed")
        assert (search["type"], search["input"]) == ("server_tool_use", {"query": "A"})
        assert (found["type"], found["content"][0]["url"]) == ("web_search_tool_result", "https://a")
        assert text["citations"][0]["encrypted_index"] == "aW5kZXg="
        assert message.usage.server_tool_use is not None and message.usage.server_tool_use.web_search_requests == 1


async def test_a_pause_of_anthropics_is_the_clients_to_go_on_from(behind: Behind) -> None:
    behind.claude.script.append(Say("Sun today. ", paused=True))
    tools: list[Any] = [{"type": "web_search_20250305", "name": "web_search"}]
    message = await behind.client.messages.create(model="claude-sonnet-5", max_tokens=50, messages=HELLO, tools=tools)
    assert message.stop_reason == "pause_turn"
    assert len(behind.claude.requests) == 1


async def test_thoughts_of_another_vendor_are_sealed_for_it(behind: Behind) -> None:
    openai = behind.vendors["google"]
    openai.script += [
        Say("", reasoning="Hm.", signature="c2VhbGVk", tool_calls=[ToolUse("c", "weather")]),
        Say("Mild."),
    ]
    asked: dict[str, Any] = {"model": MODELS["google"], "max_tokens": 2000, "tools": [WEATHER]}
    first = await behind.client.messages.create(**asked, messages=HELLO)
    use = next(block for block in first.content if block.type == "tool_use")
    result: MessageParam = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "3 °C"}],
    }
    said: MessageParam = {"role": "assistant", "content": first.content}
    await behind.client.messages.create(**asked, messages=[*HELLO, said, result])
    assert "c2VhbGVk" in str(openai.requests[1].body)
    assert "betterai." not in str(openai.requests[1].body)


async def test_tokens_are_counted_by_anthropic_for_its_models(behind: Behind) -> None:
    counted = await behind.client.messages.count_tokens(model="claude-sonnet-5", messages=HELLO)
    assert counted.input_tokens == 2
    (request,) = behind.claude.requests
    assert request.path == "/v1/messages/count_tokens"
    estimated = await behind.client.messages.count_tokens(model=MODELS["openai"], messages=HELLO)
    assert estimated.input_tokens > 0


async def test_a_bare_name_that_nobody_knows_goes_to_anthropic(behind: Behind) -> None:
    behind.claude.script.append(Say("Hi"))
    message = await behind.client.messages.create(model="claude-of-tomorrow", max_tokens=50, messages=HELLO)
    assert message.model == "anthropic/claude-of-tomorrow"
    assert behind.claude.requests[0].body["model"] == "claude-of-tomorrow"


@pytest.mark.parametrize("vendor", MODELS)
async def test_the_vendors_failures_raise_the_exceptions_that_fit(behind: Behind, vendor: str) -> None:
    faults: list[tuple[Fault, type[anthropic.APIStatusError]]] = [
        (Fault.because("rate_limit"), anthropic.RateLimitError),
        (Fault.because("server"), anthropic.InternalServerError),
        (Fault.because("invalid_key"), anthropic.InternalServerError),
        (Fault.because("context_too_long"), anthropic.BadRequestError),
    ]
    for fault, raised in faults:
        behind.vendors[vendor].script.append(fault)
        with pytest.raises(raised):
            await behind.client.messages.create(model=MODELS[vendor], max_tokens=50, messages=HELLO)


async def test_hanging_up_closes_the_connection_to_the_vendor(behind: Behind) -> None:
    hold = Hold()
    behind.claude.script.append(Say(pieces=["first ", hold, "second"]))
    stream = await behind.client.messages.create(model="claude-sonnet-5", max_tokens=50, messages=HELLO, stream=True)
    await hold.reached()
    await stream.close()
    await behind.claude.hung_up()


async def test_the_synchronous_client_is_served_with_a_key_of_the_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = {**CHAT, "auth.mode": "keys", "auth.secret": "a secret of thirty-two characters"}
    async with AnthropicEmulator() as emulator:
        environ = {"ANTHROPIC_API_KEY": "sk-ant-test-0123456789", "ANTHROPIC_BASE_URL": emulator.base_url}
        with serving(tmp_path_factory.mktemp("keys"), settings, environ) as server:
            asked: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 50, "messages": HELLO}
            with (
                anthropic.Anthropic(api_key="bai_wrong", base_url=server.url, max_retries=0) as wrong,
                pytest.raises(anthropic.AuthenticationError),
            ):
                wrong.messages.create(**asked)
            key = next(word for word in server.run("keys", "create", "sdk").split() if word.startswith("bai_"))
            with anthropic.Anthropic(api_key=key, base_url=server.url, max_retries=0) as client:
                message = await asyncio.to_thread(lambda: client.messages.create(**asked))
            assert blocks(message)[0]["text"] == "Hello there"


@pytest.mark.parametrize("vendor", MODELS)
async def test_a_stream_begins_with_the_tokens_of_its_input(behind: Behind, vendor: str) -> None:
    behind.vendors[vendor].script.append(Say("Sun.", usage=Usage(25, 9)))
    asked: dict[str, Any] = {"model": MODELS[vendor], "max_tokens": 50, "messages": HELLO}
    events = [event async for event in await behind.client.messages.create(**asked, stream=True)]
    assert events[0].type == "message_start"
    begun = events[0].message.usage.input_tokens
    assert begun == 25 if vendor == "anthropic" else 0 < begun < 25


@pytest.mark.parametrize("vendor", ["openai", "google"])
async def test_a_wish_for_the_likeliest_tokens_reaches_the_vendors_that_take_it(behind: Behind, vendor: str) -> None:
    behind.vendors[vendor].script.append(Say("Hi"))
    raw = await behind.client.messages.with_raw_response.create(
        model=MODELS[vendor], max_tokens=50, messages=HELLO, extra_body={"top_k": 5}
    )
    (request,) = behind.vendors[vendor].requests
    assert request.body.get("generationConfig", {}).get("topK") == (5 if vendor == "google" else None)
    assert "top_k" not in request.body
    assert ("top_k" in raw.headers.get("x-betterai-ignored", "")) is (vendor == "openai")


@pytest.mark.parametrize("vendor", MODELS)
async def test_a_stream_has_begun_when_the_vendors_answer_has(behind: Behind, vendor: str) -> None:
    nothing_yet = Hold()
    behind.vendors[vendor].script.append(Say(pieces=[nothing_yet, "Hi"]))
    async with asyncio.timeout(10):
        stream = await behind.client.messages.create(
            model=MODELS[vendor], max_tokens=2_000, messages=HELLO, stream=True
        )
    nothing_yet.release()
    events = [event async for event in stream]
    assert events[0].type == "message_start" and events[-1].type == "message_stop"


@pytest.mark.parametrize("vendor", MODELS)
async def test_an_error_that_comes_first_in_the_vendors_stream_is_a_status(behind: Behind, vendor: str) -> None:
    behind.vendors[vendor].script += [Fault.error_event(), Fault.error_event(), Fault.error_event()]
    with pytest.raises(anthropic.APIStatusError) as raised:
        await behind.client.messages.create(model=MODELS[vendor], max_tokens=100, messages=HELLO, stream=True)
    assert raised.value.status_code == 502
