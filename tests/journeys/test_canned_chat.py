"""A client is built and tested against scripted answers, without a vendor, a model or a cost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from engine.api.providers import ChatProvider
from engine.testing.conformance import ChatProviderContract
from plugins.chat.providers.canned import TRIGGERS, CannedChat
from tests.docs.pages import DOCS
from tests.journeys.client import connected
from tests.server import engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOOL = {
    "name": "weather",
    "description": "The weather of a town.",
    "parameters": {
        "type": "object",
        "properties": {"town": {"type": "string"}, "unit": {"enum": ["C", "F"]}, "days": {"type": "integer"}},
        "required": ["town", "unit"],
    },
}


class TestContract(ChatProviderContract):
    model = "echo"

    @pytest.fixture
    def provider(self) -> ChatProvider:
        return CannedChat()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    settings = {"plugins.enabled": ["chat", "openai_api"], "plugins.chat.canned": True, "models.default": "canned"}
    async with engine_inside(tmp_path_factory.mktemp("server"), settings, {}) as engine:
        yield f"http://127.0.0.1:{engine.port}"


async def events_of(url: str, text: str, **fields: Any) -> list[dict[str, Any]]:
    async with connected(url) as socket:
        heard = await socket.chat(text, **fields)
        await socket.end_of(heard.stream)
        return list(heard.events)


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in events if event["type"] == "text.delta")


async def test_an_answer_is_marked_comes_in_pieces_and_is_the_same_each_time(url: str) -> None:
    first, second = await events_of(url, "Hi there"), await events_of(url, "Hi there")
    assert text_of(first) == text_of(second)
    assert text_of(first).startswith("You said: Hi there. This answer is scripted")
    statuses = [event for event in first if event["type"] == "status"]
    assert (statuses[0]["stage"], "no model" in statuses[0]["detail"]) == ("canned", True)
    end = first[-1]
    assert (end["status"], end["model"], end["finish_reason"]) == ("completed", "canned/echo", "stop")


async def test_reasoning_comes_before_the_answer(url: str) -> None:
    kinds = [event["type"] for event in await events_of(url, "Think /reasoning please")]
    assert kinds.index("reasoning.delta") < kinds.index("text.delta")


async def test_the_tool_is_called_with_what_it_needs_and_its_result_is_told(url: str) -> None:
    async with connected(url) as socket:
        heard = await socket.chat("Ask /tool weather now", tools=[TOOL])
        await socket.until(lambda: "tool.call" in heard.kinds, "a call")
        (call,) = [event for event in heard.events if event["type"] == "tool.call"]
        assert (call["name"], call["arguments"]) == ("weather", '{"town": "canned", "unit": "C"}')
        await socket.ask("tool.result", stream=heard.stream, call_id=call["call_id"], output="18 degrees")
        end = await socket.end_of(heard.stream)
    assert end["status"] == "completed"
    assert "The tool answered: 18 degrees." in text_of(list(heard.events))


async def test_without_a_tool_the_answer_says_so(url: str) -> None:
    assert "no such tool" in text_of(await events_of(url, "/tool"))


@pytest.mark.parametrize(("trigger", "begun"), [("/error", False), ("/break", True)])
async def test_an_error_comes_where_it_is_asked_for_and_leaves_the_model_usable(
    url: str, trigger: str, begun: bool
) -> None:
    for _ in range(8):
        events = await events_of(url, f"Now {trigger}")
        assert (events[-1]["status"], events[-1]["error"]["code"]) == ("failed", "provider_refused")
        assert bool(text_of(events)) is begun
    assert (await events_of(url, "Hi"))[-1]["status"] == "completed"


async def test_a_long_answer_has_as_many_sentences_as_are_asked_for(url: str) -> None:
    text = text_of(await events_of(url, "/long 300"))
    numbers = [int(word) for word in text.split() if word.isdigit()]
    assert numbers == list(range(1, 301))


async def test_a_slow_answer_waits_before_each_sentence_and_can_be_cancelled(url: str) -> None:
    async with connected(url) as socket:
        heard = await socket.chat("/slow 30")
        await socket.ask("stream.cancel", stream=heard.stream)
        end = await socket.end_of(heard.stream)
    assert (end["status"], text_of(list(heard.events))) == ("cancelled", "")


async def test_the_openai_client_is_answered_and_a_bound_ends_the_answer(url: str) -> None:
    async with openai.AsyncOpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0) as client:
        answer = await client.chat.completions.create(
            model="canned", messages=[{"role": "user", "content": "Hi"}], max_tokens=2
        )
        listed = {model.id async for model in client.models.list()}
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("You said:", "length")
    assert "canned" in listed


@pytest.mark.parametrize("trigger", TRIGGERS)
async def test_each_trigger_is_documented(trigger: str) -> None:
    assert f"| `{trigger}` | {TRIGGERS[trigger]} |" in (DOCS / "protocol.md").read_text()
