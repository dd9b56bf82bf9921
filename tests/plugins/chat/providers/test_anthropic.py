"""Anthropic as a chat provider, against its emulator."""

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from engine.api import (
    Answered,
    Citation,
    ContextTooLong,
    EngineError,
    Extra,
    ImagePart,
    InvalidRequest,
    Message,
    ModelNotFound,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
    Reasoning,
    ReasoningPart,
    ResponseFormat,
    StatusChanged,
    TextPart,
    ToolCall,
    Usage,
    WebSearch,
)
from engine.testing import batches_of, deltas_of
from plugins.chat.providers.anthropic import Anthropic
from plugins.chat.providers.anthropic_pauses import MOST_REQUESTS
from plugins.vendors.settings import AnthropicSettings
from tests.emulators import reply
from tests.emulators.anthropic import AnthropicEmulator
from tests.emulators.reply import Fault, Hold, Say, ToolUse
from tests.plugins.vendors.kit import OpenHttp, ask, finish_of, only, reasoning_of, text_of, usage_of, user

KEY = "sk-ant-test-0123456789"


@pytest.fixture
async def claude() -> AsyncIterator[AnthropicEmulator]:
    async with AnthropicEmulator() as emulator:
        yield emulator


@pytest.fixture
def provider(claude: AnthropicEmulator, http: OpenHttp) -> Anthropic:
    return Anthropic(AnthropicSettings.model_validate({"base_url": claude.base_url, "api_key": KEY}), http)


async def test_an_answer_streams_with_its_model_reasoning_finish_and_usage(
    provider: Anthropic, claude: AnthropicEmulator
) -> None:
    usage = reply.Usage(20, 9, cached=5, cache_write=2, reasoning=3)
    claude.script.append(Say("It is sunny.", reasoning="Hm, let me see.", signature="sealed", usage=usage))

    deltas = await deltas_of(provider, ask(model="claude-sonnet-5", reasoning=Reasoning(effort="low")))

    assert text_of(deltas) == "It is sunny."
    assert reasoning_of(deltas) == "Hm, let me see."
    assert only(ReasoningPart, deltas) == [
        ReasoningPart(provider="anthropic", text="Hm, let me see.", signature="sealed")
    ]
    assert only(Answered, deltas) == [Answered("claude-sonnet-5")]
    assert only(Extra, deltas)[0].fields["id"] == "msg_1"
    assert finish_of(deltas) == "stop"
    assert usage_of(deltas) == Usage(
        input_tokens=20, output_tokens=9, cached_tokens=5, reasoning_tokens=3, written_tokens=2
    )


async def test_the_key_and_the_version_go_in_headers(provider: Anthropic, claude: AnthropicEmulator) -> None:
    await deltas_of(provider, ask())
    (request,) = claude.requests
    assert request.path == "/v1/messages"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in request.headers


async def test_the_text_of_one_read_is_one_delta(provider: Anthropic, claude: AnthropicEmulator) -> None:
    claude.script.append(Say("one two three four", join=True))
    batches = [batch async for batch in batches_of(provider, ask())]
    assert [text_of(batch) for batch in batches] == ["one two three four"]


async def test_a_tool_loop_sends_thinking_and_results_back(provider: Anthropic, claude: AnthropicEmulator) -> None:
    calls = [ToolUse("toolu_1", "f", {"a": 1}), ToolUse("toolu_2", "g", {})]
    claude.script.append(Say("Wait.", reasoning="Hm.", signature="sealed", tool_calls=calls))
    asked: dict[str, Any] = {"model": "claude-sonnet-4-5", "reasoning": Reasoning(effort="low")}

    first = await deltas_of(provider, ask(**asked))
    step = Message(
        role="assistant",
        parts=(*only(ReasoningPart, first), TextPart(text_of(first))),
        tool_calls=tuple(only(ToolCall, first)),
    )
    answers = [Message(role="tool", tool_call_id=f"toolu_{n}", parts=(TextPart("42"),)) for n in (1, 2)]
    second = await deltas_of(provider, ask(messages=(user("hello"), step, *answers, user("Go on.")), **asked))

    assert finish_of(first) == "tool_calls"
    assert step.tool_calls == (
        ToolCall(call_id="toolu_1", name="f", arguments='{"a": 1}'),
        ToolCall(call_id="toolu_2", name="g", arguments="{}"),
    )
    assert text_of(second) == "Go on."
    _, assistant, results = claude.requests[1].body["messages"]
    assert [block["type"] for block in assistant["content"]] == ["thinking", "text", "tool_use", "tool_use"]
    assert assistant["content"][0] == {"type": "thinking", "thinking": "Hm.", "signature": "sealed"}
    assert [block["type"] for block in results["content"]] == ["tool_result", "tool_result", "text"]


async def test_a_picture_is_sent_as_it_is(provider: Anthropic, claude: AnthropicEmulator) -> None:
    picture = ImagePart(data="AAAA", media_type="image/jpeg")
    deltas = await deltas_of(provider, ask(messages=(user("What is it?", picture),)))
    assert text_of(deltas) == "What is it?"
    source = claude.requests[0].body["messages"][0]["content"][1]["source"]
    assert source == {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}


async def test_structured_output_is_the_vendors_own(provider: Anthropic, claude: AnthropicEmulator) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
    claude.script.append(Say('{"a": 1}'))
    deltas = await deltas_of(provider, ask(response_format=ResponseFormat(kind="json_schema", schema=schema)))
    assert text_of(deltas) == '{"a": 1}'
    assert claude.requests[0].body["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


async def test_a_search_is_told_with_the_places_that_its_sources_support(
    provider: Anthropic, claude: AnthropicEmulator
) -> None:
    claude.script.append(Say("Sun today.", citations=[reply.Citation("https://a", "A", quote="sun")]))
    deltas = await deltas_of(provider, ask(tools=(WebSearch(options={"max_uses": 2}),)))
    assert only(Citation, deltas) == [Citation(url="https://a", title="A", text="sun", start=0, end=10)]
    assert [status.stage for status in only(StatusChanged, deltas)] == ["web_search"]
    assert claude.requests[0].body["tools"][0]["max_uses"] == 2


async def test_an_answer_that_the_vendor_pauses_goes_on_from_what_was_said(
    provider: Anthropic, claude: AnthropicEmulator
) -> None:
    source = reply.Citation("https://a", "A", quote="sun")
    first = Say("Sun today. ", reasoning="Hm.", citations=[source], usage=reply.Usage(10, 4), paused=True)
    claude.script += [first, Say("Rain tomorrow.", citations=[source], usage=reply.Usage(30, 5))]

    deltas = await deltas_of(provider, ask(tools=(WebSearch(),)))

    assert text_of(deltas) == "Sun today. Rain tomorrow."
    assert finish_of(deltas) == "stop"
    assert [(place.start, place.end) for place in only(Citation, deltas)] == [(0, 11), (11, 25)]
    assert only(Usage, deltas)[-1] == Usage(input_tokens=40, output_tokens=9, searches=2)
    asked, again = (request.body["messages"] for request in claude.requests)
    assert again[:-1] == asked
    kinds = [block["type"] for block in again[-1]["content"]]
    assert kinds == ["thinking", "server_tool_use", "web_search_tool_result", "text"]
    thought, search, _, said = again[-1]["content"]
    assert (thought["thinking"], thought["signature"]) == ("Hm.", first.signature)
    assert search["input"] == {"query": "A"}
    assert (said["text"], said["citations"][0]["url"]) == ("Sun today. ", "https://a")


async def test_an_answer_that_is_paused_for_ever_ends_as_one_that_is_too_long(
    provider: Anthropic, claude: AnthropicEmulator
) -> None:
    claude.script += [Say("more ", paused=True)] * MOST_REQUESTS
    deltas = await deltas_of(provider, ask(tools=(WebSearch(),)))
    assert text_of(deltas) == "more " * MOST_REQUESTS
    assert finish_of(deltas) == "length"
    assert len(claude.requests) == MOST_REQUESTS


async def test_a_failure_after_a_pause_fails_the_answer(provider: Anthropic, claude: AnthropicEmulator) -> None:
    claude.script += [Say("Sun today. ", paused=True), Fault.because("overloaded")]
    with pytest.raises(ProviderUnavailable):
        await deltas_of(provider, ask(tools=(WebSearch(),)))


@pytest.mark.parametrize("finish", ["length", "content_filter"])
async def test_an_answer_cut_short_says_why(provider: Anthropic, claude: AnthropicEmulator, finish: Any) -> None:
    claude.script.append(Say("half", finish=finish))
    assert finish_of(await deltas_of(provider, ask())) == finish


@pytest.mark.parametrize(
    ("fault", "error", "retry_after"),
    [
        (Fault.because("invalid_key"), ProviderRefused, None),
        (Fault.because("permission"), ProviderRefused, None),
        (Fault.because("model_not_found"), ModelNotFound, None),
        (Fault.because("context_too_long"), ContextTooLong, None),
        (Fault.because("bad_request"), InvalidRequest, None),
        (Fault.because("too_large"), InvalidRequest, None),
        (Fault.because("quota"), ProviderRateLimited, None),
        (Fault.status(429), ProviderRateLimited, None),
        (Fault.status(429, retry_after=7), ProviderRateLimited, 7.0),
        (Fault.status(500), ProviderUnavailable, None),
        (Fault.status(529), ProviderUnavailable, None),
        (Fault.status(502, body="<html>Bad gateway</html>"), ProviderUnavailable, None),
        (Fault.cut(), ProviderUnavailable, None),
        (Fault.cut(4), ProviderUnavailable, None),
        (Fault.malformed(0), ProviderError, None),
        (Fault.malformed(4), ProviderError, None),
        (Fault.error_event(4), ProviderUnavailable, None),
        (Fault.error_event(4, condition="overloaded"), ProviderUnavailable, None),
        (Fault.error_event(4, condition="rate_limit"), ProviderRateLimited, None),
        (Fault.error_event(4, condition="context_too_long"), ContextTooLong, None),
    ],
)
async def test_each_fault_is_one_error(
    provider: Anthropic,
    claude: AnthropicEmulator,
    fault: Fault,
    error: type[EngineError],
    retry_after: float | None,
) -> None:
    claude.script.append(fault)
    with pytest.raises(EngineError) as caught:
        await deltas_of(provider, ask())
    assert type(caught.value) is error
    assert caught.value.retry_after == retry_after
    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_an_empty_account_is_nothing_to_wait_for(provider: Anthropic, claude: AnthropicEmulator) -> None:
    claude.script.append(Fault.because("quota"))
    with pytest.raises(ProviderRateLimited, match="credit balance is too low") as caught:
        await deltas_of(provider, ask())
    assert not caught.value.retryable


async def test_a_wrong_key_says_where_the_key_is_set(http: OpenHttp) -> None:
    async with AnthropicEmulator(key="sk-ant-another-0123456789") as claude:
        settings = AnthropicSettings.model_validate({"base_url": claude.base_url, "api_key": KEY})
        with pytest.raises(ProviderRefused, match=r"Check ANTHROPIC_API_KEY or \[vendors.anthropic\] api_key"):
            await deltas_of(Anthropic(settings, http), ask())


async def test_what_the_vendor_does_not_take_is_named_by_our_field(provider: Anthropic) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await deltas_of(provider, ask(provider_options={"metadata": {"name": "Anna"}}))
    assert caught.value.field == "user"


async def test_text_before_a_cut_is_kept(provider: Anthropic, claude: AnthropicEmulator) -> None:
    claude.script.append(Say(pieces=["half ", "an ", Fault.cut(), "answer"], join=True))
    said = ""
    with pytest.raises(ProviderUnavailable):
        async for batch in batches_of(provider, ask()):
            said += text_of(batch)
    assert said == "half an "


@pytest.mark.parametrize("after", [0, 5])
async def test_cancelling_the_task_hangs_up_on_a_silent_vendor(
    provider: Anthropic, claude: AnthropicEmulator, after: int
) -> None:
    claude.script.append(Fault.silence(after))
    task = asyncio.create_task(deltas_of(provider, ask()))
    await claude.streaming()
    task.cancel()
    await claude.hung_up()
    assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_leaving_in_mid_answer_hangs_up(provider: Anthropic, claude: AnthropicEmulator) -> None:
    claude.script.append(Say(pieces=["first", Hold(), "second"]))
    async with aclosing(batches_of(provider, ask())) as answer:
        async for batch in answer:
            if text_of(batch) == "first":
                break
    await claude.hung_up()


async def test_a_bound_on_the_output_is_always_sent_and_is_the_catalogues(
    claude: AnthropicEmulator, http: OpenHttp
) -> None:
    settings = AnthropicSettings.model_validate({"base_url": claude.base_url, "api_key": KEY})
    known = {"small": 4096}
    for model in ("small", "unknown"):
        await deltas_of(Anthropic(settings, http, max_output=known.get), ask(model=model))
    assert [request.body["max_tokens"] for request in claude.requests] == [4096, 8192]


def test_without_a_key_it_says_what_is_missing(http: OpenHttp) -> None:
    provider = Anthropic(AnthropicSettings.model_validate({}), http)
    assert provider.own_address
    assert provider.unavailable == ("Anthropic needs an API key: set ANTHROPIC_API_KEY or [vendors.anthropic] api_key.")


async def test_a_server_behind_another_address_needs_no_key(http: OpenHttp) -> None:
    async with AnthropicEmulator(require_key=False) as claude:
        provider = Anthropic(AnthropicSettings.model_validate({"base_url": claude.base_url}), http)
        assert provider.unavailable is None
        assert not provider.own_address
        assert text_of(await deltas_of(provider, ask("hi"))) == "hi"
    assert "x-api-key" not in claude.requests[0].headers
