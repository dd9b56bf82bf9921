"""OpenAI as a chat provider, against its emulator: both APIs, and which one is taken."""

import asyncio
import traceback
from contextlib import aclosing
from typing import Any

import pytest

from engine.api import (
    Answered,
    Citation,
    ContextTooLong,
    EngineError,
    Message,
    ModelNotFound,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
    Reasoning,
    ReasoningPart,
    StatusChanged,
    TextPart,
    ToolCall,
    Usage,
    WebSearch,
)
from engine.testing import batches_of, deltas_of
from plugins.chat.providers.openai import OpenAI, OpenAIResponses
from plugins.vendors.openai_compatible import OpenAICompatible
from plugins.vendors.settings import OpenAISettings
from tests.emulators import reply
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Fault, Hold, Say, ToolUse
from tests.plugins.vendors.kit import OpenHttp, ask, finish_of, only, reasoning_of, text_of, usage_of, user

KEY = "sk-test-0123456789"


def settings_for(vendor: OpenAIEmulator, **fields: Any) -> OpenAISettings:
    return OpenAISettings.model_validate({"base_url": vendor.base_url, "api_key": KEY, **fields})


@pytest.fixture
def responses(vendor: OpenAIEmulator, http: OpenHttp) -> OpenAIResponses:
    return OpenAIResponses(settings_for(vendor), http)


async def test_an_answer_streams_with_its_model_reasoning_finish_and_usage(
    responses: OpenAIResponses, vendor: OpenAIEmulator
) -> None:
    usage = reply.Usage(20, 9, cached=5, reasoning=3)
    vendor.script.append(Say("It is sunny.", reasoning="Hm, let me see.", signature="sealed", usage=usage))

    deltas = await deltas_of(responses, ask(reasoning=Reasoning(effort="low")))

    assert text_of(deltas) == "It is sunny."
    assert reasoning_of(deltas) == "Hm, let me see."
    (kept,) = only(ReasoningPart, deltas)
    assert (kept.provider, kept.signature) == ("openai", "sealed")
    assert only(Answered, deltas) == [Answered("test-model")]
    assert finish_of(deltas) == "stop"
    assert usage_of(deltas) == Usage(input_tokens=20, output_tokens=9, cached_tokens=5, reasoning_tokens=3)


async def test_a_tool_loop_sends_the_thinking_back(responses: OpenAIResponses, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Say(reasoning="Hm.", signature="sealed", tool_calls=[ToolUse("call_1", "f", {"a": 1})]))

    first = await deltas_of(responses, ask())
    calls = tuple(only(ToolCall, first))
    step = Message(role="assistant", parts=tuple(only(ReasoningPart, first)), tool_calls=calls)
    answer = Message(role="tool", tool_call_id="call_1", parts=(TextPart("42"),))
    second = await deltas_of(responses, ask(messages=(user("hello"), step, answer)))

    assert finish_of(first) == "tool_calls"
    assert calls == (ToolCall(call_id="call_1", name="f", arguments='{"a": 1}'),)
    assert text_of(second) == "hello"
    kinds = [item.get("type", item.get("role")) for item in vendor.requests[1].body["input"]]
    assert kinds == ["user", "reasoning", "function_call", "function_call_output"]
    assert vendor.requests[1].body["input"][1]["encrypted_content"] == "sealed"


async def test_a_search_is_told_with_its_sources(responses: OpenAIResponses, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Say("Sun.", citations=[reply.Citation("https://a", "A", start=0, end=3)]))
    deltas = await deltas_of(responses, ask(tools=(WebSearch(),)))
    assert only(Citation, deltas) == [Citation(url="https://a", title="A", start=0, end=3)]
    assert [status.stage for status in only(StatusChanged, deltas)] == ["web_search"]


@pytest.mark.parametrize("finish", ["length", "content_filter"])
async def test_an_answer_cut_short_says_why(responses: OpenAIResponses, vendor: OpenAIEmulator, finish: Any) -> None:
    vendor.script.append(Say("half", finish=finish))
    assert finish_of(await deltas_of(responses, ask())) == finish


async def test_a_refusal_is_text(responses: OpenAIResponses, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Say(refusal="I will not."))
    assert text_of(await deltas_of(responses, ask())) == "I will not."


async def test_who_is_billed_is_said_in_headers(vendor: OpenAIEmulator, http: OpenHttp) -> None:
    settings = settings_for(vendor, organization="org-1", project="proj-1")
    await deltas_of(OpenAIResponses(settings, http), ask())
    await deltas_of(OpenAI(settings, http), ask())
    assert [request.path for request in vendor.requests] == ["/v1/responses", "/v1/chat/completions"]
    for request in vendor.requests:
        assert request.headers["openai-organization"] == "org-1"
        assert request.headers["openai-project"] == "proj-1"
        assert request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("fault", "error", "retry_after"),
    [
        (Fault.status(401), ProviderRefused, None),
        (Fault.because("model_not_found"), ModelNotFound, None),
        (Fault.because("context_too_long"), ContextTooLong, None),
        (Fault.status(429), ProviderRateLimited, None),
        (Fault.status(429, retry_after=7), ProviderRateLimited, 7.0),
        (Fault.status(500), ProviderUnavailable, None),
        (Fault.cut(), ProviderUnavailable, None),
        (Fault.cut(4), ProviderUnavailable, None),
        (Fault.malformed(4), ProviderError, None),
        (Fault.error_event(4), ProviderUnavailable, None),
    ],
)
async def test_each_fault_is_one_error(
    responses: OpenAIResponses,
    vendor: OpenAIEmulator,
    fault: Fault,
    error: type[EngineError],
    retry_after: float | None,
) -> None:
    vendor.script.append(fault)
    with pytest.raises(EngineError) as caught:
        await deltas_of(responses, ask())
    assert type(caught.value) is error
    assert caught.value.retry_after == retry_after
    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_a_wrong_key_says_where_the_key_is_set(http: OpenHttp) -> None:
    async with OpenAIEmulator(key="sk-another-0123456789") as vendor:
        with pytest.raises(ProviderRefused, match=r"Check OPENAI_API_KEY or \[vendors.openai\] api_key"):
            await deltas_of(OpenAIResponses(settings_for(vendor), http), ask())


async def test_text_before_a_cut_is_kept(responses: OpenAIResponses, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Say(pieces=["half ", "an ", Fault.cut(), "answer"], join=True))
    said = ""
    with pytest.raises(ProviderUnavailable):
        async for batch in batches_of(responses, ask()):
            said += text_of(batch)
    assert said == "half an "


@pytest.mark.parametrize("after", [0, 5])
async def test_cancelling_the_task_hangs_up_on_a_silent_vendor(
    responses: OpenAIResponses, vendor: OpenAIEmulator, after: int
) -> None:
    vendor.script.append(Fault.silence(after))
    task = asyncio.create_task(deltas_of(responses, ask()))
    await vendor.streaming()
    task.cancel()
    await vendor.hung_up()
    assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_leaving_in_mid_answer_hangs_up(responses: OpenAIResponses, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Say(pieces=["first", Hold(), "second"]))
    async with aclosing(batches_of(responses, ask())) as answer:
        async for batch in answer:
            if text_of(batch) == "first":
                break
    await vendor.hung_up()


@pytest.mark.parametrize(
    ("settings", "fields", "api"),
    [
        ({}, {}, OpenAIResponses),
        ({}, {"n": 2}, OpenAICompatible),
        ({}, {"stop": ("END",)}, OpenAICompatible),
        ({}, {"seed": 1}, OpenAICompatible),
        ({}, {"logprobs": 1}, OpenAICompatible),
        ({}, {"provider_options": {"presence_penalty": 1}}, OpenAICompatible),
        ({}, {"provider_options": {"service_tier": "flex"}}, OpenAIResponses),
        ({"api": "chat_completions"}, {}, OpenAICompatible),
        ({"api": "responses"}, {"n": 2}, OpenAIResponses),
        ({"base_url": "http://127.0.0.1:1/v1"}, {}, OpenAICompatible),
        ({"base_url": "http://127.0.0.1:1/v1", "api": "responses"}, {}, OpenAIResponses),
    ],
)
def test_the_api_follows_address_settings_and_request(
    settings: dict[str, Any], fields: dict[str, Any], api: type, http: OpenHttp
) -> None:
    provider = OpenAI(OpenAISettings.model_validate(settings), http)
    assert type(provider.api_for(ask(**fields))) is api
    assert provider.own_address is ("base_url" not in settings)


def test_openai_without_a_key_says_what_is_missing(http: OpenHttp) -> None:
    assert OpenAI(OpenAISettings.model_validate({}), http).unavailable == (
        "OpenAI needs an API key: set OPENAI_API_KEY or [vendors.openai] api_key."
    )


async def test_a_server_behind_another_address_needs_no_key(http: OpenHttp) -> None:
    async with OpenAIEmulator(require_key=False) as vendor:
        provider = OpenAI(OpenAISettings.model_validate({"base_url": vendor.base_url}), http)
        assert provider.unavailable is None
        deltas = await deltas_of(provider, ask("hi", max_output_tokens=5))
    assert text_of(deltas) == "hi"
    assert vendor.requests[0].body["max_tokens"] == 5
