"""Messages over HTTP, asked by Anthropic's official client, with a scripted model of no vendor behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from engine.api import (
    ChatRequest,
    Citation,
    Finish,
    ImagePart,
    ProviderRateLimited,
    ProviderUnavailable,
    ReasoningDelta,
    ReasoningPart,
    TextPart,
    ToolCall,
    Usage,
)
from engine.testing import FailingProvider, ScriptedProvider, answer
from tests.plugins.openai_api.conftest import Serving

HELLO: list[MessageParam] = [{"role": "user", "content": "Hello"}]
USAGE = Usage(input_tokens=5, output_tokens=2, cached_tokens=3)
WEATHER: ToolParam = {
    "name": "weather",
    "description": "Tells the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
ASK: dict[str, Any] = {"model": "scripted/m", "max_tokens": 100, "messages": HELLO}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="


@asynccontextmanager
async def claude(
    serving: Serving, provider: ScriptedProvider | FailingProvider
) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with serving(provider) as client:
        address = str(client.base_url).removesuffix("/v1/")
        async with anthropic.AsyncAnthropic(api_key="any", base_url=address, max_retries=0) as theirs:
            yield theirs


async def asked(serving: Serving, **fields: Any) -> ChatRequest:
    """What the provider is asked for a request with these fields."""
    provider = ScriptedProvider(*answer("Hi"))
    async with claude(serving, provider) as client:
        await client.messages.create(**{**ASK, **fields})
    return provider.requests[0]


async def test_a_whole_answer_is_read_by_the_official_client(serving: Serving) -> None:
    provider = ScriptedProvider(ReasoningDelta("Hmm."), *answer("Hel", "lo", usage=USAGE))
    async with claude(serving, provider) as client:
        made = await client.messages.create(**ASK)
    assert [block.type for block in made.content] == ["thinking", "text"]
    assert made.content[1].type == "text" and made.content[1].text == "Hello"
    assert (made.stop_reason, made.model, made.role) == ("end_turn", "scripted/m", "assistant")
    assert (made.usage.input_tokens, made.usage.cache_read_input_tokens, made.usage.output_tokens) == (2, 3, 2)


async def test_a_stream_is_read_by_the_official_client(serving: Serving) -> None:
    kept = ReasoningPart(provider="scripted", text="Hmm.", signature="sig", id="r1")
    call = ToolCall(call_id="c1", name="weather", arguments='{"city":"Bern"}')
    script = (ReasoningDelta("Hmm."), kept, *answer("Hel", "lo", usage=USAGE)[:-1], call, Finish("tool_calls"))
    async with (
        claude(serving, ScriptedProvider(*script)) as client,
        client.messages.stream(**ASK, tools=[WEATHER]) as stream,
    ):
        kinds = [event.type async for event in stream]
        made = await stream.get_final_message()
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert [block.type for block in made.content] == ["thinking", "text", "tool_use"]
    thought, text, use = made.content
    assert thought.type == "thinking" and thought.thinking == "Hmm." and thought.signature
    assert text.type == "text" and text.text == "Hello"
    assert use.type == "tool_use" and (use.id, use.input) == ("c1", {"city": "Bern"})
    assert made.stop_reason == "tool_use"
    assert (made.usage.input_tokens, made.usage.output_tokens) == (2, 2)


async def test_text_is_sent_on_while_the_model_still_answers(serving: Serving) -> None:
    gate = asyncio.Event()
    heard = ""
    async with (
        claude(serving, ScriptedProvider("Hel", gate, *answer("lo"))) as client,
        client.messages.stream(**ASK) as stream,
    ):
        async for text in stream.text_stream:
            heard += text
            if heard == "Hel":
                gate.set()
    assert heard == "Hello"


async def test_a_tool_loop_sends_calls_results_and_sealed_thoughts_back(serving: Serving) -> None:
    kept = ReasoningPart(provider="scripted", text="Hmm.", signature="sig", id="r1")
    call = ToolCall(call_id="c1", name="weather", arguments='{"city":"Bern"}', signature="sig2")
    provider = ScriptedProvider(ReasoningDelta("Hmm."), kept, call, Finish("tool_calls"))
    async with claude(serving, provider) as client:
        first = await client.messages.create(**ASK, tools=[WEATHER])
        provider.script = answer("It is 18 °C.")
        result: MessageParam = {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": "18 °C"},
                {"type": "text", "text": "And?"},
            ],
        }
        said: MessageParam = {"role": "assistant", "content": first.content}
        second = await client.messages.create(**{**ASK, "messages": [*HELLO, said, result]}, tools=[WEATHER])
    assert second.content[0].type == "text" and second.content[0].text == "It is 18 °C."
    _, assistant, tool, more = provider.requests[1].messages
    assert assistant.parts == (kept,)
    assert assistant.tool_calls == (call,)
    assert (tool.role, tool.tool_call_id, tool.text) == ("tool", "c1", "18 °C")
    assert (more.role, more.text) == ("user", "And?")


async def test_everything_a_request_can_say_reaches_the_model(serving: Serving) -> None:
    request = await asked(
        serving,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "See:"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                ],
            }
        ],
        tools=[WEATHER],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        thinking={"type": "enabled", "budget_tokens": 1024},
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
        stop_sequences=["END"],
        metadata={"user_id": "u1"},
        extra_body={"temperature": 0.5},
    )
    assert request.instructions == "Be brief."
    assert request.messages[0].parts == (TextPart("See:"), ImagePart(data=PIXEL, media_type="image/png"))
    assert [tool.name for tool in request.tools] == ["weather"]  # type: ignore[union-attr]
    assert request.tool_choice is not None and request.tool_choice.mode == "required"
    assert request.parallel_tool_calls is False
    assert request.reasoning is not None and request.reasoning.budget == 1024
    assert request.response_format is not None and request.response_format.schema == {"type": "object"}
    assert (request.stop, request.user, request.temperature, request.max_output_tokens) == (("END",), "u1", 0.5, 100)
    assert request.native == {}


async def test_sources_are_citations_of_the_text(serving: Serving) -> None:
    cited = Citation(url="https://a", title="A", text="sun", start=0, end=2)
    async with claude(serving, ScriptedProvider("Hi", cited, Finish("stop"))) as client:
        made = await client.messages.create(**ASK)
        async with client.messages.stream(**ASK) as stream:
            streamed = await stream.get_final_message()
    for message in (made, streamed):
        (block,) = message.to_dict()["content"]  # type: ignore[misc]
        assert [source["url"] for source in block["citations"]] == ["https://a"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"extra_body": {"container": "c"}}, "container"),
        ({"extra_body": {"mcp_servers": [{"type": "url", "url": "https://a", "name": "a"}]}}, "mcp_servers"),
        (
            {
                "tools": [{"type": "bash_20250124", "name": "bash"}],
                "tool_choice": {"type": "tool", "name": "bash"},
            },
            "tools.0.type",
        ),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}], "tool_choice": {"type": "any"}}, "tools.0.type"),
        ({"messages": [{"role": "user", "content": [{"type": "search_result", "x": 1}]}]}, "messages.0.content.0.type"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}
                ]
            },
            "messages.0.content.0.source",
        ),
    ],
)
async def test_what_only_anthropic_has_is_refused_by_name(serving: Serving, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        await asked(serving, **fields)
    assert isinstance(caught.value.body, dict)
    error = caught.value.body["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "unsupported_parameter", field)
    assert error["message"].startswith(field)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0"),
        ({"tool_choice": {"type": "tool"}, "tools": [WEATHER]}, "tool_choice.name"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "x"}]},
                    {
                        "role": "user",
                        "content": [
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "!"}}
                        ],
                    },
                ]
            },
            "messages.1.content",
        ),
    ],
)
async def test_a_field_that_is_wrong_is_named_as_the_client_spelt_it(
    serving: Serving, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        await asked(serving, **fields)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["param"].startswith(field)


@pytest.mark.parametrize(
    ("error", "raised", "kind"),
    [
        (ProviderRateLimited("slow down", retry_after=7), anthropic.RateLimitError, "rate_limit_error"),
        (ProviderUnavailable("gone"), anthropic.InternalServerError, "api_error"),
    ],
)
async def test_a_failure_raises_the_exception_that_fits(
    serving: Serving, error: Exception, raised: type[anthropic.APIStatusError], kind: str
) -> None:
    for stream in (False, True):
        provider = FailingProvider(error)  # type: ignore[arg-type]
        async with claude(serving, provider) as client:
            with pytest.raises(raised) as caught:
                await client.messages.create(**{**ASK, "model": f"{provider.name}/m"}, stream=stream)
        assert isinstance(caught.value.body, dict)
        assert caught.value.body["error"]["type"] == kind
        assert caught.value.request_id == caught.value.response.headers["x-request-id"]


async def test_an_unknown_model_is_not_found(serving: Serving) -> None:
    async with claude(serving, ScriptedProvider(*answer("Hi"))) as client:
        with pytest.raises(anthropic.NotFoundError, match="nowhere"):
            await client.messages.create(**{**ASK, "model": "nowhere/m"})


async def test_a_failure_in_mid_stream_is_an_error_event(serving: Serving) -> None:
    async with claude(serving, ScriptedProvider("Hel", ProviderUnavailable("gone"))) as client:
        with pytest.raises(anthropic.APIStatusError, match="gone"):
            async with client.messages.stream(**ASK) as stream:
                async for _ in stream:
                    pass


async def test_hanging_up_stops_the_model(serving: Serving) -> None:
    provider = ScriptedProvider("Hel", asyncio.Event())
    async with claude(serving, provider) as client:
        async with client.messages.stream(**ASK) as stream:
            async for text in stream.text_stream:
                assert text == "Hel"
                break
        await asyncio.wait_for(provider.closed.wait(), 5)


async def test_an_answer_names_its_stream_and_its_request(serving: Serving) -> None:
    async with claude(serving, ScriptedProvider(*answer("Hi"))) as client:
        raw = await client.messages.with_raw_response.create(**ASK)
    assert (await raw.parse()).id == f"msg_{raw.headers['x-stream-id']}"
    assert raw.headers["request-id"] == raw.headers["x-request-id"]


async def test_tokens_of_a_model_whose_vendor_does_not_count_are_estimated(serving: Serving) -> None:
    async with claude(serving, ScriptedProvider(*answer("Hi"))) as client:
        few = await client.messages.with_raw_response.count_tokens(model="scripted/m", messages=HELLO)
        many = await client.messages.count_tokens(
            model="scripted/m", messages=[{"role": "user", "content": "word " * 1000}], system="Be brief."
        )
    assert few.headers["x-betterai-estimated"] == "true"
    assert 1 <= (await few.parse()).input_tokens < 50 < 1200 < many.input_tokens < 1500


async def test_models_are_listed_as_anthropics_client_reads_them(serving: Serving) -> None:
    async with claude(serving, ScriptedProvider(*answer("Hi"))) as client:
        listed = await client.models.list(limit=5)
        assert all(model.display_name for model in listed.data)
        one = await client.models.retrieve("scripted/any/model")
        assert (one.id, one.display_name, one.created_at.year) == ("scripted/any/model", "scripted/any/model", 1970)
        with pytest.raises(anthropic.NotFoundError) as raised:
            await client.models.retrieve("nobody/model")
        assert raised.value.body["type"] == "error"  # type: ignore[index]
        with pytest.raises(anthropic.BadRequestError, match="after_id"):
            await client.models.list(after_id="nothing")
