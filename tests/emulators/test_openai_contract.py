"""The official OpenAI SDK reads what the OpenAI emulator sends."""

import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from tests.emulators.base import Emulator
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Citation, Fault, Hold, Say, ToolUse, Usage

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
FULL = Say(
    "It is sunny.",
    reasoning="Let me look.",
    tool_calls=[ToolUse("call_1", "weather", {"city": "Oslo"}), ToolUse("call_2", "time", {"zone": "CET"})],
    citations=[Citation("https://example.org/a", "Weather", start=6, end=11)],
    usage=Usage(input=20, output=9, cached=5, reasoning=3),
)


def strict_json(model: Any) -> Any:
    """Validate what the SDK built leniently: its own parser would accept missing fields."""
    TypeAdapter(type(model)).validate_python(model.model_dump(by_alias=True, warnings=False))
    return model


async def chat_chunks(client: openai.AsyncOpenAI, **options: Any) -> list[ChatCompletionChunk]:
    stream = await client.chat.completions.create(model="gpt-5.2", messages=HELLO, stream=True, **options)
    return [strict_json(chunk) async for chunk in stream]


def text_of(chunks: list[ChatCompletionChunk], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


async def test_an_empty_script_echoes_the_last_user_text_in_words(openai_client: openai.AsyncOpenAI) -> None:
    chunks = await chat_chunks(openai_client)

    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "Hello ", "there", None]


async def test_a_streamed_chat_carries_tools_reasoning_citations_and_usage(
    openai_vendor: OpenAIEmulator, openai_client: openai.AsyncOpenAI
) -> None:
    openai_vendor.script.append(FULL)

    chunks = await chat_chunks(openai_client, stream_options={"include_usage": True})

    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    calls: dict[int, str] = {}
    for call in (call for delta in deltas for call in delta.tool_calls or ()):
        assert call.function is not None
        calls[call.index] = calls.get(call.index, "") + (call.function.arguments or "")
    extras = [delta.model_extra or {} for delta in deltas]
    assert text_of(chunks) == "It is sunny."
    assert "".join(extra.get("reasoning_content", "") for extra in extras) == "Let me look."
    assert [json.loads(arguments) for arguments in calls.values()] == [{"city": "Oslo"}, {"zone": "CET"}]
    cited = next(extra["annotations"] for extra in extras if "annotations" in extra)
    assert cited[0]["url_citation"]["end_index"] == 11
    assert chunks[-2].choices[0].finish_reason == "tool_calls"
    usage = chunks[-1].usage
    assert usage is not None and usage.prompt_tokens_details and usage.completion_tokens_details
    assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens) == (20, 5)
    assert (usage.completion_tokens, usage.completion_tokens_details.reasoning_tokens) == (9, 3)


async def test_a_whole_chat_says_the_same(openai_vendor: OpenAIEmulator, openai_client: openai.AsyncOpenAI) -> None:
    openai_vendor.script.append(FULL)

    answer: ChatCompletion = strict_json(await openai_client.chat.completions.create(model="gpt-5.2", messages=HELLO))

    message = answer.choices[0].message
    assert message.content == "It is sunny."
    assert message.tool_calls and [call.id for call in message.tool_calls] == ["call_1", "call_2"]
    assert message.annotations and message.annotations[0].url_citation.url == "https://example.org/a"
    assert answer.usage and answer.usage.total_tokens == 29


async def test_choices_logprobs_and_refusals_are_told(
    openai_vendor: OpenAIEmulator, openai_client: openai.AsyncOpenAI
) -> None:
    openai_vendor.script.extend([Say("One", alternatives=[Say("Two")]), Say(refusal="No.")])

    chunks = await chat_chunks(openai_client, n=2, logprobs=True)
    refused = await chat_chunks(openai_client)

    assert (text_of(chunks, 0), text_of(chunks, 1)) == ("One", "Two")
    logprobs = chunks[1].choices[0].logprobs
    assert logprobs and logprobs.content and logprobs.content[0].token == "One"
    assert "No." in [chunk.choices[0].delta.refusal for chunk in refused]
    assert refused[-1].choices[0].finish_reason == "content_filter"


async def test_streamed_responses_are_numbered_and_valid(
    openai_vendor: OpenAIEmulator, openai_client: openai.AsyncOpenAI
) -> None:
    openai_vendor.script.append(FULL)
    event_type: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

    stream = await openai_client.responses.create(model="gpt-5.2", input="Hello", stream=True)
    events = [event async for event in stream]

    for event in events:
        event_type.validate_python(event.model_dump(by_alias=True, warnings=False))
    kinds = [event.type for event in events]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert kinds[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert kinds.index("response.content_part.added") < kinds.index("response.output_text.delta")
    assert kinds.index("response.output_text.annotation.added") < kinds.index("response.output_text.done")
    assert "".join(event.delta for event in events if event.type == "response.reasoning_summary_text.delta") == (
        "Let me look."
    )
    last = events[-1]
    assert last.type == "response.completed"
    assert [item.type for item in last.response.output] == [
        "reasoning",
        "web_search_call",
        "message",
        "function_call",
        "function_call",
    ]
    assert last.response.usage and last.response.usage.input_tokens_details.cached_tokens == 5


async def test_whole_responses_and_cut_short_ones_are_read(
    openai_vendor: OpenAIEmulator, openai_client: openai.AsyncOpenAI
) -> None:
    openai_vendor.script.extend([FULL, Say("It is", finish="length"), Say(refusal="No.")])

    whole = strict_json(await openai_client.responses.create(model="gpt-5.2", input="Hello"))
    short = strict_json(await openai_client.responses.create(model="gpt-5.2", input="Hello"))
    refused = strict_json(await openai_client.responses.create(model="gpt-5.2", input="Hello"))

    assert (whole.status, whole.output_text) == ("completed", "It is sunny.")
    assert (short.status, short.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert refused.output[0].content[0].refusal == "No."


@pytest.mark.parametrize(("condition", "kind"), [("server", "response.failed"), ("overloaded", "error")])
async def test_responses_report_a_failure_as_an_event_in_the_sequence(
    openai_vendor: OpenAIEmulator, openai_client: openai.AsyncOpenAI, condition: Any, kind: str
) -> None:
    openai_vendor.script.append(Fault.error_event(after=4, condition=condition))

    stream = await openai_client.responses.create(model="gpt-5.2", input="Hello", stream=True)
    events = [strict_json(event) async for event in stream]

    assert (events[-1].type, events[-1].sequence_number) == (kind, 4)


async def test_a_chat_stream_reports_a_failure_as_an_api_error(
    openai_vendor: OpenAIEmulator, openai_client: openai.AsyncOpenAI
) -> None:
    openai_vendor.script.append(Fault.error_event(after=2))

    with pytest.raises(openai.APIError, match="had an error"):
        await chat_chunks(openai_client)


async def test_models_and_embeddings_are_read(openai_client: openai.AsyncOpenAI) -> None:
    models = await openai_client.models.list()
    answer = strict_json(
        await openai_client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=8)
    )

    assert "gpt-5.2" in [strict_json(model).id for model in models.data]
    assert [len(entry.embedding) for entry in answer.data] == [8, 8]


@pytest.mark.parametrize(
    ("fault", "raised", "code"),
    [
        (Fault.because("invalid_key"), openai.AuthenticationError, "invalid_api_key"),
        (Fault.because("context_too_long"), openai.BadRequestError, "context_length_exceeded"),
        (Fault.because("model_not_found"), openai.NotFoundError, "model_not_found"),
        (Fault.because("quota"), openai.RateLimitError, "insufficient_quota"),
        (Fault.status(429, retry_after=7), openai.RateLimitError, "rate_limit_exceeded"),
        (Fault.status(500), openai.InternalServerError, None),
        (Fault.status(502, body="<h1>Bad gateway</h1>"), openai.InternalServerError, None),
    ],
)
async def test_each_error_status_is_the_sdks_own_exception(
    openai_vendor: OpenAIEmulator,
    openai_client: openai.AsyncOpenAI,
    fault: Fault,
    raised: type[openai.APIStatusError],
    code: str | None,
) -> None:
    openai_vendor.script.append(fault)

    with pytest.raises(raised) as failure:
        await chat_chunks(openai_client)

    assert failure.value.code == code
    assert failure.value.response.headers.get("retry-after") == ("7" if fault.retry_after else None)


@pytest.mark.parametrize("fault", [Fault.cut(), Fault.cut(after=2), Fault.refuse()])
async def test_a_cut_is_a_connection_error(
    openai_vendor: OpenAIEmulator, openai_client: openai.AsyncOpenAI, fault: Fault
) -> None:
    openai_vendor.script.append(fault)

    with pytest.raises(openai.APIConnectionError):
        await chat_chunks(openai_client)

    assert openai_vendor.closed_by_client == []


async def test_a_closed_port_is_a_connection_error_until_it_opens_again(
    openai_vendor: OpenAIEmulator, openai_client: openai.AsyncOpenAI
) -> None:
    async with openai_vendor.refusing():
        with pytest.raises(openai.APIConnectionError):
            await chat_chunks(openai_client)

    assert text_of(await chat_chunks(openai_client)) == "Hello there"


async def test_a_malformed_event_is_a_json_error_after_what_was_said(
    openai_vendor: OpenAIEmulator, openai_client: openai.AsyncOpenAI
) -> None:
    openai_vendor.script.append(Say(pieces=["Hel", Fault.malformed()]))
    stream = await openai_client.chat.completions.create(model="gpt-5.2", messages=HELLO, stream=True)
    seen = []

    with pytest.raises(json.JSONDecodeError):
        async for chunk in stream:
            seen.append(chunk)  # noqa: PERF401 a comprehension would lose what came before the error

    assert text_of(seen) == "Hel"


@pytest.mark.parametrize("fault", [Fault.silence(after=1), Say(pieces=["Hel", Hold()])])
async def test_a_client_that_leaves_is_noticed_in_silence_and_in_a_hold(
    openai_vendor: OpenAIEmulator, openai_client: openai.AsyncOpenAI, fault: Any
) -> None:
    openai_vendor.script.append(fault)
    stream = await openai_client.chat.completions.create(model="gpt-5.2", messages=HELLO, stream=True)
    await anext(aiter(stream))
    assert openai_vendor.open_streams == 1

    await stream.close()

    await openai_vendor.hung_up()
    assert openai_vendor.closed_by_client == openai_vendor.requests
    assert openai_vendor.open_streams == 0


@pytest.mark.parametrize("fault", [Fault.silence(), Say("Hello", start=Hold())])
async def test_a_client_that_gives_up_before_the_status_line_is_noticed(
    openai_vendor: OpenAIEmulator, openai_client: openai.AsyncOpenAI, fault: Any
) -> None:
    openai_vendor.script.append(fault)

    with pytest.raises(openai.APITimeoutError):
        await openai_client.with_options(timeout=0.1).chat.completions.create(model="gpt-5.2", messages=HELLO)

    await openai_vendor.hung_up()


async def test_a_released_hold_lets_the_answer_go_on(
    openai_vendor: OpenAIEmulator, openai_client: openai.AsyncOpenAI
) -> None:
    hold = Hold()
    openai_vendor.script.append(Say(pieces=["Hel", hold, "lo"]))
    stream = await openai_client.chat.completions.create(model="gpt-5.2", messages=HELLO, stream=True)
    await hold.reached()

    before = [await anext(aiter(stream)), await anext(aiter(stream))]
    hold.release()
    after = [chunk async for chunk in stream]

    assert (text_of(before), text_of(after)) == ("Hel", "lo")
    assert openai_vendor.closed_by_client == []


async def test_waiting_for_a_hang_up_that_never_comes_says_what_there_is(openai_vendor: Emulator) -> None:
    with pytest.raises(AssertionError, match="0 hang-ups"):
        await openai_vendor.hung_up(timeout=0.01)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"temprature": 1}, "temprature"),
        ({"temperature": "hot"}, "temperature"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "txt": "Hi"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "tool", "content": "4", "tool_call_id": "call_1"}]}, "must be a response"),
    ],
)
async def test_a_body_the_sdk_would_not_send_is_a_bad_request_that_names_the_place(
    openai_client: openai.AsyncOpenAI, change: dict[str, Any], named: str
) -> None:
    body = {"messages": HELLO, **change}

    with pytest.raises(openai.BadRequestError, match=named):
        await openai_client.chat.completions.create(model="gpt-5.2", messages=body.pop("messages"), extra_body=body)


async def test_a_tool_round_with_images_and_a_schema_is_accepted(openai_client: openai.AsyncOpenAI) -> None:
    function = {"name": "weather", "arguments": "{}"}
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "4"},
    ]
    schema: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
    tools: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]

    answer = await openai_client.chat.completions.create(
        model="gpt-5.2", messages=messages, response_format=schema, tools=tools, reasoning_effort="low"
    )

    assert answer.choices[0].message.content == "Look"


async def test_a_known_key_and_known_models_shut_out_all_others() -> None:
    async with (
        OpenAIEmulator(key="sk-right", models=["gpt-5.2"]) as vendor,
        openai.AsyncOpenAI(api_key="sk-wrong", base_url=vendor.base_url, max_retries=0) as wrong,
        openai.AsyncOpenAI(api_key="sk-right", base_url=vendor.base_url, max_retries=0) as right,
    ):
        with pytest.raises(openai.AuthenticationError):
            await wrong.models.list()
        with pytest.raises(openai.NotFoundError):
            await right.chat.completions.create(model="gpt-1", messages=HELLO)


async def test_an_imitators_reasoning_field_and_extra_fields_are_spoken() -> None:
    async with (
        OpenAIEmulator(reasoning_field="reasoning", extra_fields=("thinking",), require_key=False) as vendor,
        openai.AsyncOpenAI(api_key="none", base_url=vendor.base_url, max_retries=0) as client,
    ):
        vendor.script.append(Say("Yes", reasoning="Hm", join=True, extra={"provider": "someone"}))
        chunks = await chat_chunks(client, extra_body={"thinking": {"type": "enabled"}})

    assert [(chunk.choices[0].delta.model_extra or {}).get("reasoning") for chunk in chunks][1] == "Hm"
    assert chunks[0].model_extra == {"provider": "someone"}
