"""Chat over Chat Completions, against an emulated vendor, good and bad."""

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from engine.api import (
    Answered,
    ChatProvider,
    Citation,
    ContextTooLong,
    EngineError,
    Extra,
    Finish,
    ImagePart,
    InvalidRequest,
    ModelNotFound,
    ModelUnavailable,
    ProviderError,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
    StatusChanged,
    TextDelta,
    ToolCall,
    Usage,
)
from engine.testing import batches_of, deltas_of
from plugins.vendors.dialect import Dialect
from plugins.vendors.openai_compatible import Endpoint, OpenAICompatible
from tests.emulators import reply
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Fault, Hold, Say, ToolUse
from tests.plugins.vendors.kit import OpenHttp, ask, finish_of, only, reasoning_of, text_of, usage_of, user

KEY = "sk-test-0123456789"


@pytest.fixture
def provider(vendor: OpenAIEmulator, http: OpenHttp) -> ChatProvider:
    return OpenAICompatible("acme", http, Endpoint(vendor.base_url, KEY), title="Acme", credential="ACME_KEY")


async def test_an_answer_streams_with_its_model_finish_and_usage(
    provider: ChatProvider, vendor: OpenAIEmulator
) -> None:
    vendor.script.append(
        Say("It is sunny.", reasoning="Hm, let me see.", usage=reply.Usage(20, 9, cached=5, reasoning=3))
    )

    deltas = await deltas_of(provider, ask())

    assert text_of(deltas) == "It is sunny."
    assert reasoning_of(deltas) == "Hm, let me see."
    assert only(Answered, deltas) == [Answered("test-model")]
    assert finish_of(deltas) == "stop"
    assert usage_of(deltas) == Usage(input_tokens=20, output_tokens=9, cached_tokens=5, reasoning_tokens=3)
    assert only(Extra, deltas) == [Extra({"id": "chatcmpl-1"})]
    assert vendor.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_piece_arrives_before_the_next_one_is_made(provider: ChatProvider, vendor: OpenAIEmulator) -> None:
    hold = Hold()
    vendor.script.append(Say(pieces=["first ", hold, "second"]))
    said = ""
    async for batch in batches_of(provider, ask()):
        said += text_of(batch)
        if said == "first ":
            hold.release()
    assert said == "first second"


async def test_pieces_of_one_read_come_as_one_delta(provider: ChatProvider, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Say(pieces=["a", "b", "c"], join=True))
    (batch,) = [batch async for batch in batches_of(provider, ask())]
    assert only(TextDelta, batch) == [TextDelta("abc")]


async def test_tools_citations_and_refusals_are_told(provider: ChatProvider, vendor: OpenAIEmulator) -> None:
    calls = [ToolUse("call_1", "weather", {"city": "Oslo"}), ToolUse("call_2", "time")]
    vendor.script.append(Say("Sun.", tool_calls=calls, citations=[reply.Citation("https://a", "A", start=0, end=3)]))
    vendor.script.append(Say(refusal="I will not."))

    deltas = await deltas_of(provider, ask())
    assert only(ToolCall, deltas) == [
        ToolCall(call_id="call_1", name="weather", arguments='{"city": "Oslo"}'),
        ToolCall(call_id="call_2", name="time", arguments="{}"),
    ]
    assert only(Citation, deltas) == [Citation(url="https://a", title="A", start=0, end=3)]
    assert finish_of(deltas) == "tool_calls"
    assert text_of(await deltas_of(provider, ask())) == "I will not."


async def test_several_choices_and_log_probabilities(provider: ChatProvider, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Say("one", alternatives=[Say("two")]))
    deltas = await deltas_of(provider, ask(n=2, logprobs=1))
    texts = only(TextDelta, deltas)
    assert [(text.text, text.choice) for text in texts if text.text] == [("one", 0), ("two", 1)]
    assert all(text.logprobs for text in texts if text.text)
    assert only(Finish, deltas) == [Finish("stop", 0), Finish("stop", 1)]


async def test_the_vendor_sees_images_and_its_own_headers(vendor: OpenAIEmulator, http: OpenHttp) -> None:
    provider = OpenAICompatible(
        "acme", http, Endpoint(vendor.base_url, KEY), dialect=Dialect(headers={"X-Title": "us"})
    )
    await deltas_of(provider, ask(messages=(user("Look", ImagePart(url="https://example.org/a.png")),)))
    assert vendor.requests[0].headers["x-title"] == "us"
    assert vendor.requests[0].body["messages"][0]["content"][1]["image_url"]["url"] == "https://example.org/a.png"


@pytest.mark.parametrize(
    ("fault", "error", "retryable", "retry_after"),
    [
        (Fault.status(401), ProviderRefused, False, None),
        (Fault.because("permission"), ProviderRefused, False, None),
        (Fault.because("model_not_found"), ModelNotFound, False, None),
        (Fault.because("context_too_long"), ContextTooLong, False, None),
        (Fault.because("bad_request"), InvalidRequest, False, None),
        (Fault.status(402), ProviderRateLimited, False, None),
        (Fault.status(429), ProviderRateLimited, True, None),
        (Fault.status(429, retry_after=7), ProviderRateLimited, True, 7.0),
        (Fault.because("quota"), ProviderRateLimited, False, None),
        (Fault.status(500), ProviderUnavailable, True, None),
        (Fault.status(503, body="<html>Bad gateway</html>", retry_after=2), ProviderUnavailable, True, 2.0),
        (Fault.status(529), ProviderUnavailable, True, None),
        (Fault.cut(), ProviderUnavailable, True, None),
        (Fault.malformed(), ProviderError, False, None),
        (Fault.error_event(2), ProviderUnavailable, True, None),
        (Fault.error_event(2, condition="rate_limit"), ProviderRateLimited, True, None),
    ],
)
async def test_each_fault_is_one_error(
    provider: ChatProvider,
    vendor: OpenAIEmulator,
    fault: Fault,
    error: type[EngineError],
    retryable: bool,
    retry_after: float | None,
) -> None:
    vendor.script.append(fault)
    with pytest.raises(EngineError) as caught:
        await deltas_of(provider, ask())
    assert type(caught.value) is error
    assert (caught.value.retryable, caught.value.retry_after) == (retryable, retry_after)
    assert KEY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("fault", [Fault.cut(3), Fault.malformed(3)])
async def test_what_was_said_before_a_fault_is_kept(
    provider: ChatProvider, vendor: OpenAIEmulator, fault: Fault
) -> None:
    vendor.script.append(Say(pieces=["half ", "an ", fault, "answer"], join=True))
    said = ""
    with pytest.raises(ProviderError):
        async for batch in batches_of(provider, ask()):
            said += text_of(batch)
    assert said == "half an "


async def test_a_refused_connection_is_unavailable(provider: ChatProvider, vendor: OpenAIEmulator) -> None:
    async with vendor.refusing():
        with pytest.raises(ProviderUnavailable, match="Acme could not be reached"):
            await deltas_of(provider, ask())


async def test_the_pool_serves_again_after_a_failure(provider: ChatProvider, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Fault.cut(2))
    with pytest.raises(ProviderUnavailable):
        await deltas_of(provider, ask())
    assert text_of(await deltas_of(provider, ask("again"))) == "again"


@pytest.mark.parametrize("after", [0, 2])
async def test_cancelling_the_task_hangs_up_on_a_silent_vendor(
    provider: ChatProvider, vendor: OpenAIEmulator, after: int
) -> None:
    vendor.script.append(Fault.silence(after))
    task = asyncio.create_task(deltas_of(provider, ask()))
    await vendor.received()
    if after:
        await vendor.streaming()
    task.cancel()
    await vendor.hung_up()
    assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_leaving_in_mid_answer_hangs_up(provider: ChatProvider, vendor: OpenAIEmulator) -> None:
    vendor.script.append(Fault.silence(3))
    async with aclosing(batches_of(provider, ask())) as answer:
        await anext(answer)
    await vendor.hung_up()


async def test_an_address_that_must_be_waited_for_tells_so_first(vendor: OpenAIEmulator, http: OpenHttp) -> None:
    async def connect() -> AsyncIterator[StatusChanged | Endpoint]:
        yield StatusChanged(stage="loading", detail="half")
        yield StatusChanged(stage="loading", detail="nearly")
        yield Endpoint(vendor.base_url, KEY)

    deltas = await deltas_of(OpenAICompatible("local", http, connect), ask("hi"))
    assert [delta.detail for delta in only(StatusChanged, deltas)] == ["half", "nearly"]
    assert isinstance(deltas[0], StatusChanged)
    assert text_of(deltas) == "hi"


async def test_an_address_that_does_not_come_is_the_errors_matter(http: OpenHttp) -> None:
    async def connect() -> AsyncIterator[StatusChanged | Endpoint]:
        yield StatusChanged(stage="loading")
        raise ModelUnavailable("There is no model file.")

    with pytest.raises(ModelUnavailable, match="no model file"):
        await deltas_of(OpenAICompatible("local", http, connect), ask())


def test_a_key_is_shown_by_no_representation() -> None:
    assert KEY not in repr(Endpoint("http://x", KEY))
