"""Every body that the dialects answer, and every body that goes to a vendor, is one of the vendor's own description."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.emulators.anthropic import AnthropicEmulator
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Fault, Say, ToolUse, Usage
from tests.official import complaints
from tests.server import CHAT, behind, engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESPONSES, COMPLETIONS, CLAUDE = "openai/gpt-test", "lab/gpt-test", "anthropic/claude-test"
IMAGE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SCHEMA = {"name": "place", "schema": {**PARAMETERS, "additionalProperties": False}, "strict": True}
SAID = Say(
    "It is mild.",
    reasoning="I look it up.",
    tool_calls=[ToolUse("call_1", "weather", '{"city":"Oslo"}')],
    usage=Usage(30, 12, 8, 4),
)

CHAT_BODIES: dict[str, dict[str, Any]] = {
    "text": {
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}],
        "top_p": 1,
    },
    "picture": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": IMAGE}},
                ],
            }
        ]
    },
    "tools": {
        "messages": [
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_0",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Bergen"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_0", "content": "rain"},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}],
        "tool_choice": "auto",
        "max_completion_tokens": 200,
    },
    "schema": {
        "messages": [{"role": "user", "content": "Where?"}],
        "response_format": {"type": "json_schema", "json_schema": SCHEMA},
    },
}

RESPONSE_BODIES: dict[str, dict[str, Any]] = {
    "text": {"input": "Hi", "instructions": "Be short.", "metadata": {"a": "b"}},
    "tools": {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
            {"type": "function_call", "call_id": "call_0", "name": "weather", "arguments": '{"city":"Bergen"}'},
            {"type": "function_call_output", "call_id": "call_0", "output": "rain"},
        ],
        "tools": [{"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": None}],
        "reasoning": {"effort": "low"},
    },
    "schema": {"input": "Where?", "text": {"format": {"type": "json_schema", **SCHEMA}}},
}

MESSAGE_BODIES: dict[str, dict[str, Any]] = {
    "text": {"messages": [{"role": "user", "content": "Hi"}], "system": "Be short.", "max_tokens": 100},
    "tools": {
        "messages": [
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": [
                    {
                        "type": "tool_use",
                        "id": "toolu_0",
                        "name": "weather",
                        "input": {"city": "Bergen"},
                        "caller": {"type": "direct"},
                    }
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_0", "content": "rain"}]},
        ],
        "tools": [{"name": "weather", "input_schema": PARAMETERS}],
        "max_tokens": 100,
    },
}


class Doors:
    """A server with emulated vendors behind it, and plain HTTP in front."""

    def __init__(
        self, http: aiohttp.ClientSession, url: str, openai: OpenAIEmulator, anthropic: AnthropicEmulator
    ) -> None:
        self._http = http
        self._url = url
        self.openai = openai
        self.anthropic = anthropic

    async def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        async with self._http.post(f"{self._url}{path}", json=body) as answer:
            return answer.status, await answer.json()

    async def get(self, path: str, method: str = "GET") -> Any:
        async with self._http.request(method, f"{self._url}{path}") as answer:
            assert answer.status == 200
            return await answer.json()

    async def events(self, path: str, body: dict[str, Any]) -> list[Any]:
        async with self._http.post(f"{self._url}{path}", json={**body, "stream": True}) as answer:
            assert answer.status == 200
            text = await answer.text()
        lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
        return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Doors]:
    async with OpenAIEmulator() as openai, AnthropicEmulator() as anthropic, aiohttp.ClientSession() as http:
        settings = {
            **CHAT,
            "vendors.openai.api": "responses",
            "vendors.compatible.servers": {"lab": {"base_url": openai.base_url, "api_key": "sk-lab"}},
            "vendors.anthropic.base_url": anthropic.base_url,
            "vendors.anthropic.api_key": "sk-ant-test",
        }
        async with engine_inside(tmp_path_factory.mktemp("server"), settings, behind(openai)) as engine:
            yield Doors(http, f"http://127.0.0.1:{engine.port}", openai, anthropic)


@pytest.fixture
def doors(shared: Doors) -> Doors:
    for vendor in (shared.openai, shared.anthropic):
        vendor.script.clear()
        vendor.script.append(SAID)
        vendor.requests.clear()
    return shared


@pytest.mark.parametrize("model", [RESPONSES, COMPLETIONS, CLAUDE])
@pytest.mark.parametrize("kind", CHAT_BODIES)
async def test_chat_completions(doors: Doors, kind: str, model: str) -> None:
    status, whole = await doors.post("/v1/chat/completions", {"model": model, **CHAT_BODIES[kind]})
    assert status == 200, whole
    assert complaints("openai", "CreateChatCompletionResponse", whole) == []
    for vendor in (doors.openai, doors.anthropic):
        vendor.script.append(SAID)
    chunks = await doors.events(
        "/v1/chat/completions",
        {"model": model, "stream_options": {"include_usage": True}, **CHAT_BODIES[kind]},
    )
    assert len(chunks) > 3
    assert [
        told for chunk in chunks for told in complaints("openai", "CreateChatCompletionStreamResponse", chunk)
    ] == []


@pytest.mark.parametrize("model", [RESPONSES, COMPLETIONS, CLAUDE])
@pytest.mark.parametrize("kind", RESPONSE_BODIES)
async def test_responses(doors: Doors, kind: str, model: str) -> None:
    status, whole = await doors.post("/v1/responses", {"model": model, **RESPONSE_BODIES[kind]})
    assert status == 200, whole
    assert complaints("openai", "Response", whole) == []
    assert complaints("openai", "Response", await doors.get(f"/v1/responses/{whole['id']}")) == []
    assert complaints("openai", "ResponseItemList", await doors.get(f"/v1/responses/{whole['id']}/input_items")) == []
    for vendor in (doors.openai, doors.anthropic):
        vendor.script.append(SAID)
    events = await doors.events("/v1/responses", {"model": model, **RESPONSE_BODIES[kind]})
    assert events[-1]["type"] == "response.completed"
    assert [told for event in events for told in complaints("openai", "ResponseStreamEvent", event)] == []


@pytest.mark.parametrize("model", [RESPONSES, COMPLETIONS, CLAUDE])
@pytest.mark.parametrize("kind", MESSAGE_BODIES)
async def test_messages(doors: Doors, kind: str, model: str) -> None:
    status, whole = await doors.post("/v1/messages", {"model": model, **MESSAGE_BODIES[kind]})
    assert status == 200, whole
    assert complaints("anthropic", "Message", as_described(whole)) == []
    for vendor in (doors.openai, doors.anthropic):
        vendor.script.append(SAID)
    events = await doors.events("/v1/messages", {"model": model, **MESSAGE_BODIES[kind]})
    assert events[-1]["type"] == "message_stop"
    meant = [event for event in events if event["type"] != "ping"]
    assert [
        told for event in meant for told in complaints("anthropic", "MessageStreamEvent", as_described(event))
    ] == []


def as_described(body: Any) -> Any:
    """The body with a null for the citations of a text that has none, which Anthropic describes and does not send."""
    if isinstance(body, list):
        return [as_described(each) for each in body]
    if not isinstance(body, dict):
        return body
    described = {name: as_described(value) for name, value in body.items()}
    return {"citations": None, **described} if body.get("type") == "text" else described


async def test_models_and_embeddings(doors: Doors) -> None:
    listed = await doors.get("/v1/models")
    assert complaints("openai", "ListModelsResponse", listed) == []
    doors.openai.script.clear()
    body = {"model": "openai/text-embedding-3-small", "input": ["a", "b"], "dimensions": 8}
    _, made = await doors.post("/v1/embeddings", body)
    assert complaints("openai", "CreateEmbeddingResponse", made) == []
    (sent,) = doors.openai.requests
    assert complaints("openai", "CreateEmbeddingRequest", sent.body) == []


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", {"messages": []}, 400),
        ("/v1/chat/completions", {"model": "no/such", "messages": [{"role": "user", "content": "Hi"}]}, 404),
        ("/v1/responses", {"input": 7}, 400),
        ("/v1/embeddings", {"model": "openai/any", "input": []}, 400),
    ],
)
async def test_errors_of_openai(doors: Doors, path: str, body: dict[str, Any], status: int) -> None:
    told, problem = await doors.post(path, body)
    assert (told, complaints("openai", "ErrorResponse", problem)) == (status, [])


async def test_errors_of_anthropic(doors: Doors) -> None:
    wrong: list[dict[str, Any]] = [{"messages": []}, {"model": "no/such", **MESSAGE_BODIES["text"]}]
    for body in wrong:
        status, problem = await doors.post("/v1/messages", body)
        assert status in (400, 404)
        assert complaints("anthropic", "ErrorResponse", problem) == []
    doors.anthropic.script.clear()
    doors.anthropic.script.append(Fault.because("rate_limit", retry_after=60))
    status, problem = await doors.post("/v1/messages", {"model": CLAUDE, **MESSAGE_BODIES["text"]})
    assert (status, complaints("anthropic", "ErrorResponse", problem)) == (429, [])


@pytest.mark.parametrize("kind", CHAT_BODIES)
async def test_what_goes_to_a_vendor(doors: Doors, kind: str) -> None:
    for model in (RESPONSES, COMPLETIONS, CLAUDE):
        await doors.post("/v1/chat/completions", {"model": model, **CHAT_BODIES[kind]})
    responses, completions = doors.openai.requests
    assert complaints("openai", "CreateResponse", responses.body) == []
    assert complaints("openai", "CreateChatCompletionRequest", completions.body) == []
    (messages,) = doors.anthropic.requests
    assert complaints("anthropic", "CreateMessageParams", messages.body) == []
