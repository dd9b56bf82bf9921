"""Google as a chat provider, against its emulator."""

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
from plugins.chat.providers.google import Google
from plugins.vendors.settings import GoogleSettings
from tests.emulators import reply
from tests.emulators.google import GoogleEmulator
from tests.emulators.reply import Fault, Hold, Say, ToolUse
from tests.plugins.vendors.kit import OpenHttp, ask, finish_of, only, reasoning_of, text_of, usage_of, user

KEY = "AIza-test-0123456789"


@pytest.fixture
async def gemini() -> AsyncIterator[GoogleEmulator]:
    async with GoogleEmulator() as emulator:
        yield emulator


@pytest.fixture
def provider(gemini: GoogleEmulator, http: OpenHttp) -> Google:
    return Google(GoogleSettings.model_validate({"base_url": gemini.base_url, "api_key": KEY}), http)


async def test_an_answer_streams_with_its_model_reasoning_finish_and_usage(
    provider: Google, gemini: GoogleEmulator
) -> None:
    usage = reply.Usage(20, 9, cached=5, reasoning=3)
    gemini.script.append(Say("It is sunny.", reasoning="Hm, let me see.", usage=usage))

    deltas = await deltas_of(provider, ask(model="gemini-3-flash", reasoning=Reasoning(effort="low")))

    assert text_of(deltas) == "It is sunny."
    assert reasoning_of(deltas) == "Hm, let me see."
    assert only(Answered, deltas) == [Answered("gemini-3-flash")]
    assert only(Extra, deltas) == [Extra({"id": "response-1"})]
    assert finish_of(deltas) == "stop"
    assert usage_of(deltas) == Usage(input_tokens=20, output_tokens=9, cached_tokens=5, reasoning_tokens=3)


async def test_the_key_goes_in_a_header_and_the_model_in_the_path(provider: Google, gemini: GoogleEmulator) -> None:
    await deltas_of(provider, ask(model="gemini-3-flash"))
    (request,) = gemini.requests
    assert request.path == "/v1beta/models/gemini-3-flash:streamGenerateContent"
    assert request.query == {"alt": "sse"}
    assert request.headers["x-goog-api-key"] == KEY


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("models/gemini-3-flash", "/v1beta/models/gemini-3-flash:"),
        ("../../admin?x=", "/v1beta/models/../../admin?x=:"),
        ("a#b/c", "/v1beta/models/a#b/c:"),
        ("\ud800", "/v1beta/models/?:"),
    ],
)
async def test_a_models_name_never_leaves_its_step_of_the_path(
    provider: Google, gemini: GoogleEmulator, model: str, path: str
) -> None:
    await deltas_of(provider, ask(model=model))
    assert gemini.requests[0].path == f"{path}streamGenerateContent"
    assert gemini.requests[0].query == {"alt": "sse"}


async def test_the_text_of_one_read_is_one_delta(provider: Google, gemini: GoogleEmulator) -> None:
    gemini.script.append(Say("one two three four", join=True))
    batches = [batch async for batch in batches_of(provider, ask())]
    assert [text_of(batch) for batch in batches if text_of(batch)] == ["one two three four"]


async def test_a_tool_loop_sends_the_signatures_back(provider: Google, gemini: GoogleEmulator) -> None:
    calls = [ToolUse("call_1", "f", {"a": 1}), ToolUse("call_2", "g", {})]
    gemini.script.append(Say("Wait.", signature="c2VhbGVk", tool_calls=calls))

    first = await deltas_of(provider, ask(model="gemini-3-flash"))
    step = Message(role="assistant", parts=(TextPart(text_of(first)),), tool_calls=tuple(only(ToolCall, first)))
    answers = [Message(role="tool", tool_call_id=f"call_{n}", parts=(TextPart("42"),)) for n in (1, 2)]
    second = await deltas_of(
        provider, ask(model="gemini-3-flash", messages=(user("hello"), step, *answers, user("Go on.")))
    )

    assert finish_of(first) == "tool_calls"
    assert [(call.call_id, call.name, call.arguments) for call in step.tool_calls] == [
        ("call_1", "f", '{"a":1}'),
        ("call_2", "g", "{}"),
    ]
    assert text_of(second) == "Go on."
    _, model, results = gemini.requests[1].body["contents"]
    assert model["parts"][1] == {
        "functionCall": {"id": "call_1", "name": "f", "args": {"a": 1}},
        "thoughtSignature": "c2VhbGVk",
    }
    assert [part["functionResponse"] for part in results["parts"][:2]] == [
        {"id": "call_1", "name": "f", "response": {"output": "42"}},
        {"id": "call_2", "name": "g", "response": {"output": "42"}},
    ]


async def test_a_picture_is_sent_as_it_is(provider: Google, gemini: GoogleEmulator) -> None:
    picture = ImagePart(data="AAAA", media_type="image/jpeg")
    deltas = await deltas_of(provider, ask(messages=(user("What is it?", picture),)))
    assert text_of(deltas) == "What is it?"
    part = gemini.requests[0].body["contents"][0]["parts"][1]
    assert part == {"inlineData": {"mimeType": "image/jpeg", "data": "AAAA"}}


async def test_structured_output_is_the_vendors_own(provider: Google, gemini: GoogleEmulator) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    gemini.script.append(Say('{"a": 1}'))
    deltas = await deltas_of(provider, ask(response_format=ResponseFormat(kind="json_schema", schema=schema)))
    assert text_of(deltas) == '{"a": 1}'
    config = gemini.requests[0].body["generationConfig"]
    assert config == {"responseMimeType": "application/json", "responseJsonSchema": schema}


async def test_sources_are_cited_at_their_place_in_characters(provider: Google, gemini: GoogleEmulator) -> None:
    citation = reply.Citation("https://a", "A", start=10, end=15)
    gemini.script.append(Say("Søndag is sunny.", citations=[citation]))
    deltas = await deltas_of(provider, ask(tools=(WebSearch(),)))
    assert only(Citation, deltas) == [Citation(url="https://a", title="A", start=10, end=15)]
    assert gemini.requests[0].body["tools"] == [{"googleSearch": {}}]


@pytest.mark.parametrize("finish", ["length", "content_filter"])
async def test_an_answer_cut_short_says_why(provider: Google, gemini: GoogleEmulator, finish: Any) -> None:
    gemini.script.append(Say("half", finish=finish))
    assert finish_of(await deltas_of(provider, ask())) == finish


async def test_a_blocked_prompt_is_a_filtered_answer_that_says_so(provider: Google, gemini: GoogleEmulator) -> None:
    gemini.script.append(Say(refusal="No."))
    deltas = await deltas_of(provider, ask())
    assert finish_of(deltas) == "content_filter"
    assert only(StatusChanged, deltas) == [
        StatusChanged(stage="content_filter", detail="Google blocked the prompt: PROHIBITED_CONTENT.")
    ]


@pytest.mark.parametrize(
    ("fault", "error", "retry_after"),
    [
        (Fault.because("invalid_key"), ProviderRefused, None),
        (Fault.because("permission"), ProviderRefused, None),
        (Fault.status(401), ProviderRefused, None),
        (Fault.because("model_not_found"), ModelNotFound, None),
        (Fault.because("not_found"), ProviderError, None),
        (Fault.because("context_too_long"), ContextTooLong, None),
        (Fault.because("bad_request"), InvalidRequest, None),
        (Fault.because("too_large"), InvalidRequest, None),
        (Fault.because("quota"), ProviderRateLimited, None),
        (Fault.status(429), ProviderRateLimited, None),
        (Fault.status(429, retry_after=7.5), ProviderRateLimited, 7.5),
        (Fault.status(500), ProviderUnavailable, None),
        (Fault.status(503), ProviderUnavailable, None),
        (Fault.status(502, body="<html>Bad gateway</html>"), ProviderUnavailable, None),
        (Fault.cut(), ProviderUnavailable, None),
        (Fault.cut(1), ProviderUnavailable, None),
        (Fault.malformed(0), ProviderError, None),
        (Fault.malformed(1), ProviderError, None),
        (Fault.error_event(1), ProviderUnavailable, None),
        (Fault.error_event(1, condition="overloaded"), ProviderUnavailable, None),
        (Fault.error_event(1, condition="rate_limit"), ProviderRateLimited, None),
        (Fault.error_event(1, condition="invalid_key"), ProviderRefused, None),
    ],
)
async def test_each_fault_is_one_error(
    provider: Google,
    gemini: GoogleEmulator,
    fault: Fault,
    error: type[EngineError],
    retry_after: float | None,
) -> None:
    gemini.script.append(fault)
    with pytest.raises(EngineError) as caught:
        await deltas_of(provider, ask())
    assert type(caught.value) is error
    assert caught.value.retry_after == retry_after
    assert KEY not in "".join(traceback.format_exception(caught.value))


async def test_a_wrong_key_says_where_the_key_is_set(http: OpenHttp) -> None:
    async with GoogleEmulator(key="AIza-another-0123456789") as gemini:
        settings = GoogleSettings.model_validate({"base_url": gemini.base_url, "api_key": KEY})
        with pytest.raises(ProviderRefused, match=r"Check GEMINI_API_KEY or \[vendors.google\] api_key"):
            await deltas_of(Google(settings, http), ask())


async def test_text_before_a_cut_is_kept(provider: Google, gemini: GoogleEmulator) -> None:
    gemini.script.append(Say(pieces=["half ", "an ", Fault.cut(), "answer"], join=True))
    said = ""
    with pytest.raises(ProviderUnavailable):
        async for batch in batches_of(provider, ask()):
            said += text_of(batch)
    assert said == "half an "


@pytest.mark.parametrize("after", [0, 2])
async def test_cancelling_the_task_hangs_up_on_a_silent_vendor(
    provider: Google, gemini: GoogleEmulator, after: int
) -> None:
    gemini.script.append(Fault.silence(after, Say("one two three")))
    task = asyncio.create_task(deltas_of(provider, ask()))
    await gemini.streaming()
    task.cancel()
    await gemini.hung_up()
    assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_leaving_in_mid_answer_hangs_up(provider: Google, gemini: GoogleEmulator) -> None:
    gemini.script.append(Say(pieces=["first", Hold(), "second"]))
    async with aclosing(batches_of(provider, ask())) as answer:
        async for batch in answer:
            if text_of(batch) == "first":
                break
    await gemini.hung_up()


@pytest.mark.parametrize("tools", ["nonsense", [1], [{"googleSearch": {}}]])
async def test_tools_among_the_provider_options_are_the_vendors_to_judge(
    provider: Google, gemini: GoogleEmulator, tools: Any
) -> None:
    request = ask(provider_options={"tools": tools})
    if tools == [{"googleSearch": {}}]:
        gemini.script.append(Say("Søn.", citations=[reply.Citation("https://a", start=1, end=3)]))
        assert only(Citation, await deltas_of(provider, request))[0].end == 3
    else:
        with pytest.raises(InvalidRequest):
            await deltas_of(provider, request)


def test_without_a_key_it_says_what_is_missing(http: OpenHttp) -> None:
    provider = Google(GoogleSettings.model_validate({}), http)
    assert provider.own_address
    assert provider.unavailable == "Google needs an API key: set GEMINI_API_KEY or [vendors.google] api_key."


async def test_a_server_behind_another_address_needs_no_key(http: OpenHttp) -> None:
    async with GoogleEmulator(require_key=False) as gemini:
        provider = Google(GoogleSettings.model_validate({"base_url": gemini.base_url}), http)
        assert provider.unavailable is None
        assert not provider.own_address
        assert text_of(await deltas_of(provider, ask("hi"))) == "hi"
    assert "x-goog-api-key" not in gemini.requests[0].headers


async def test_a_signature_on_text_comes_back_with_the_text(provider: Google, gemini: GoogleEmulator) -> None:
    parts = (TextPart("Yes."), ReasoningPart(provider="google", signature="c2VhbGVk"))
    await deltas_of(provider, ask(messages=(user("x"), Message(role="assistant", parts=parts), user("y"))))
    assert gemini.requests[0].body["contents"][1]["parts"] == [{"text": "Yes.", "thoughtSignature": "c2VhbGVk"}]
