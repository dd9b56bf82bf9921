"""The same conversation with every vendor: what a client sees does not depend on who answers."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from tests.emulators.anthropic import AnthropicEmulator
from tests.emulators.base import Emulator
from tests.emulators.google import GoogleEmulator
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Citation, Fault, Hold, Say, ToolUse, Usage
from tests.journeys.client import connected
from tests.server import CHAT, RunningServer, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The smallest PNG there is: one transparent pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Vendor(NamedTuple):
    """An emulated vendor, the server in front of it, and a model of its."""

    name: str
    emulator: Emulator
    server: RunningServer
    model: str


MODELS = {
    "chat_completions": "openai/gpt-5-mini",
    "responses": "openai/gpt-5-mini",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "google": "google/gemini-2.5-flash",
}


def emulated(name: str) -> Emulator:
    if name == "anthropic":
        return AnthropicEmulator()
    return GoogleEmulator() if name == "google" else OpenAIEmulator(reasoning_field="reasoning_content")


def settings(name: str, address: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings and variables that put the emulated vendor behind a server."""
    key = "sk-test-0123456789"
    match name:
        case "anthropic":
            return {}, {"ANTHROPIC_API_KEY": key, "ANTHROPIC_BASE_URL": address}
        case "google":
            return {"vendors.google.base_url": address}, {"GEMINI_API_KEY": key}
        case "responses":
            return {"vendors.openai.api": "responses"}, {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": address}
        case _:
            return {}, {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": address}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=sorted(MODELS))
async def emulator(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, Emulator]]:
    async with emulated(request.param) as running:
        yield request.param, running


@pytest.fixture(scope="module")
def in_front(
    emulator: tuple[str, Emulator], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningServer, str]]:
    name, running = emulator
    more, environ = settings(name, running.base_url)
    with serving(tmp_path_factory.mktemp(name), {**CHAT, **more}, environ) as server:
        yield server, MODELS[name]


@pytest.fixture
def vendor(emulator: tuple[str, Emulator], in_front: tuple[RunningServer, str]) -> Vendor:
    name, running = emulator
    running.script.clear()
    running.requests.clear()
    running.closed_by_client.clear()
    return Vendor(name, running, *in_front)


async def test_text_streams_with_its_usage_and_the_model_that_answered(vendor: Vendor) -> None:
    vendor.emulator.script.append(Say("Hello you", pieces=["Hello ", "you"], usage=Usage(input=12, output=5, cached=4)))
    async with connected(vendor.server.url) as socket:
        heard = await socket.chat("Hi", model=vendor.model)
        end = await socket.end_of(heard.stream)
    assert (heard.text, end["status"], end["finish_reason"]) == ("Hello you", "completed", "stop")
    usage = end["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["cached_tokens"]) == (12, 5, 4)
    assert not usage["estimated"] and end["model"] == vendor.model


async def test_a_tool_of_the_client_is_called_and_its_result_goes_back_to_the_model(vendor: Vendor) -> None:
    vendor.emulator.script.append(Say("", tool_calls=[ToolUse("call_1", "weather", {"city": "Oslo"})]))
    vendor.emulator.script.append(Say("It is 18 degrees."))
    async with connected(vendor.server.url) as socket:
        heard = await socket.chat("How warm is it in Oslo?", model=vendor.model, tools=[WEATHER])
        await socket.until(lambda: "tool.call" in heard.kinds, "the call")
        call = next(event for event in heard.events if event["type"] == "tool.call")
        assert (call["name"], json.loads(call["arguments"]), call["client"]) == ("weather", {"city": "Oslo"}, True)
        result = {"stream": heard.stream, "call_id": call["call_id"], "output": {"celsius": 18}}
        assert (await socket.ask("tool.result", **result))["type"] == "accepted"
        assert (await socket.ask("tool.result", **result))["type"] in ("accepted", "rejected")
        end = await socket.end_of(heard.stream)
    assert (heard.text, end["status"], end["finish_reason"]) == ("It is 18 degrees.", "completed", "stop")
    assert len(vendor.emulator.requests) == 2
    assert '\\"celsius\\":18' in json.dumps(vendor.emulator.requests[1].body) or "celsius" in json.dumps(
        vendor.emulator.requests[1].body
    )


async def test_parallel_calls_are_all_answered_before_the_model_goes_on(vendor: Vendor) -> None:
    calls = [ToolUse("call_a", "weather", {"city": "Oslo"}), ToolUse("call_b", "weather", {"city": "Rome"})]
    vendor.emulator.script.append(Say("", tool_calls=calls))
    vendor.emulator.script.append(Say("Oslo 18, Rome 29."))
    async with connected(vendor.server.url) as socket:
        heard = await socket.chat("Compare", model=vendor.model, tools=[WEATHER])
        asked = [await _call(socket, heard, place) for place in (0, 1)]
        for call, output in zip(asked, ("18", "29"), strict=True):
            await socket.ask("tool.result", stream=heard.stream, call_id=call["call_id"], output=output)
        await socket.end_of(heard.stream)
    assert heard.text == "Oslo 18, Rome 29."


async def _call(socket: Any, heard: Any, place: int) -> dict[str, Any]:
    def calls() -> list[dict[str, Any]]:
        return [event for event in heard.events if event["type"] == "tool.call"]

    await socket.until(lambda: len(calls()) > place, f"call {place}")
    return calls()[place]


async def test_reasoning_is_shown_apart_from_the_answer(vendor: Vendor) -> None:
    vendor.emulator.script.append(Say("42", reasoning="Let me think", usage=Usage(input=3, output=9, reasoning=6)))
    async with connected(vendor.server.url) as socket:
        heard = await socket.chat("What is it?", model=vendor.model, reasoning="low")
        end = await socket.end_of(heard.stream)
    thought = "".join(event["text"] for event in heard.events if event["type"] == "reasoning.delta")
    assert (thought, heard.text, end["status"]) == ("Let me think", "42", "completed")


async def test_an_image_reaches_the_vendor(vendor: Vendor) -> None:
    vendor.emulator.script.append(Say("A pixel."))
    picture = {"type": "image", "data": base64.b64encode(PNG).decode(), "media_type": "image/png"}
    async with connected(vendor.server.url) as socket:
        heard = await socket.chat([{"type": "text", "text": "What is this?"}, picture], model=vendor.model)
        end = await socket.end_of(heard.stream)
    assert (heard.text, end["status"]) == ("A pixel.", "completed")
    assert base64.b64encode(PNG).decode()[:40] in json.dumps(vendor.emulator.requests[0].body)


async def test_a_schema_reaches_the_vendor_and_its_json_comes_back(vendor: Vendor) -> None:
    vendor.emulator.script.append(Say('{"city":"Oslo"}'))
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "name": "place", "schema": schema}
    async with connected(vendor.server.url) as socket:
        heard = await socket.chat("Where?", model=vendor.model, response_format=wanted)
        end = await socket.end_of(heard.stream)
    assert (json.loads(heard.text), end["status"]) == ({"city": "Oslo"}, "completed")
    assert '"additionalProperties": false' in json.dumps(vendor.emulator.requests[0].body)


async def test_citations_are_events(vendor: Vendor) -> None:
    if vendor.name == "chat_completions":
        vendor.emulator.script.append(Say("It rains.", citations=[Citation("https://example.com/w", "Weather")]))
    else:
        cited = Citation("https://example.com/w", "Weather", quote="It rains.")
        vendor.emulator.script.append(Say("It rains.", citations=[cited]))
    async with connected(vendor.server.url) as socket:
        heard = await socket.chat("Weather?", model=vendor.model)
        await socket.end_of(heard.stream)
    cited_urls = [event["url"] for event in heard.events if event["type"] == "citation"]
    assert cited_urls == ["https://example.com/w"]


@pytest.mark.parametrize(
    ("fault", "code", "retryable"),
    [
        (Fault.because("invalid_key"), "provider_refused", False),
        (Fault.because("rate_limit", retry_after=7), "provider_rate_limited", True),
        (Fault.because("server"), "provider_unavailable", True),
        (Fault.because("overloaded"), "provider_unavailable", True),
        (Fault.because("context_too_long"), "context_too_long", False),
        (Fault.because("model_not_found"), "model_not_found", False),
        (Fault.cut(after=2), "provider_unavailable", True),
    ],
    ids=lambda value: str(getattr(value, "condition", None) or value) if isinstance(value, Fault) else str(value),
)
async def test_failures_have_one_code_whoever_failed(vendor: Vendor, fault: Fault, code: str, retryable: bool) -> None:
    vendor.emulator.script.append(fault)
    async with connected(vendor.server.url) as socket:
        heard = await socket.chat("Hi", model=vendor.model)
        end = await socket.end_of(heard.stream)
    assert (end["status"], end["reason"]) == ("failed", "provider_error")
    assert (end["error"]["code"], end["error"]["retryable"]) == (code, retryable)
    assert "sk-test" not in json.dumps(heard.events)


async def test_a_broken_event_is_an_error_and_no_text(vendor: Vendor) -> None:
    vendor.emulator.script.append(Fault.malformed(after=2))
    async with connected(vendor.server.url) as socket:
        heard = await socket.chat("Hi", model=vendor.model)
        end = await socket.end_of(heard.stream)
    assert (end["status"], end["reason"]) == ("failed", "provider_error")
    assert end["error"]["code"] in ("provider_error", "provider_unavailable")


async def test_a_cancel_closes_the_vendors_connection(vendor: Vendor) -> None:
    hold = Hold()
    vendor.emulator.script.append(Say("x", pieces=["Once upon ", hold, "a time"]))
    async with connected(vendor.server.url) as socket:
        heard = await socket.chat("A story", model=vendor.model)
        await socket.text_of(heard.stream, "Once upon ")
        await socket.ask("stream.cancel", stream=heard.stream)
        end = await socket.end_of(heard.stream)
        await vendor.emulator.hung_up(1, timeout=5)
    assert (end["status"], end["reason"], heard.text) == ("cancelled", "client_cancel", "Once upon ")
    assert end["usage"]["estimated"]
