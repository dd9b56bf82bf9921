"""The official Anthropic SDK reads what the Anthropic emulator sends."""

import json
from typing import Any

import aiohttp
import anthropic
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from tests.emulators.anthropic import AnthropicEmulator
from tests.emulators.reply import Citation, Fault, Hold, Say, ToolUse, Usage

HELLO: list[Any] = [{"role": "user", "content": "Hello there"}]
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
FULL = Say(
    "It is sunny.",
    reasoning="Let me look.",
    signature="c2ln",
    tool_calls=[ToolUse("toolu_1", "weather", {"city": "Oslo"}), ToolUse("toolu_2", "time", {"zone": "CET"})],
    citations=[Citation("https://example.org/a", "Weather", quote="sunny")],
    usage=Usage(input=20, output=9, cached=5, cache_write=2, reasoning=3),
)
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


async def raw_events(client: anthropic.AsyncAnthropic, **options: Any) -> list[Any]:
    stream = await client.messages.create(
        model="claude-sonnet-4-6", max_tokens=100, messages=HELLO, stream=True, **options
    )
    events = [event async for event in stream]
    for event in events:
        EVENT.validate_python(event.model_dump(by_alias=True, warnings=False))
    return events


async def whole(client: anthropic.AsyncAnthropic, **options: Any) -> Message:
    asked = {"model": "claude-sonnet-4-6", "max_tokens": 100, "messages": HELLO, **options}
    message: Message = await client.messages.create(**asked)
    return message


def check_content(message: Message) -> None:
    """Both ways to answer end in this message."""
    thinking, search, found, text, weather, time = message.content
    assert thinking.type == "thinking" and (thinking.thinking, thinking.signature) == ("Let me look.", "c2ln")
    assert search.type == "server_tool_use" and search.input == {"query": "Weather"}
    assert found.type == "web_search_tool_result" and found.tool_use_id == search.id
    assert text.type == "text" and text.text == "It is sunny."
    assert text.citations and text.citations[0].cited_text == "sunny"
    assert weather.type == "tool_use" and weather.input == {"city": "Oslo"}
    assert time.type == "tool_use" and (time.id, time.input) == ("toolu_2", {"zone": "CET"})
    assert message.stop_reason == "tool_use"
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (13, 5, 2)
    assert usage.output_tokens == 9


async def test_a_stream_folds_into_the_message_the_sdk_would_have_got_whole(
    anthropic_vendor: AnthropicEmulator, anthropic_client: anthropic.AsyncAnthropic
) -> None:
    anthropic_vendor.script.append(FULL)

    async with anthropic_client.messages.stream(model="claude-sonnet-4-6", max_tokens=100, messages=HELLO) as stream:
        check_content(await stream.get_final_message())


async def test_a_whole_message_says_the_same(
    anthropic_vendor: AnthropicEmulator, anthropic_client: anthropic.AsyncAnthropic
) -> None:
    anthropic_vendor.script.append(FULL)

    message = await whole(anthropic_client)

    TypeAdapter(Message).validate_python(message.model_dump(by_alias=True, warnings=False))
    check_content(message)


async def test_events_come_in_the_vendors_order(anthropic_client: anthropic.AsyncAnthropic) -> None:
    events = await raw_events(anthropic_client)

    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


async def test_length_and_refusal_are_stop_reasons(
    anthropic_vendor: AnthropicEmulator, anthropic_client: anthropic.AsyncAnthropic
) -> None:
    anthropic_vendor.script.extend([Say("It is", finish="length"), Say(refusal="No.")])

    assert (await whole(anthropic_client)).stop_reason == "max_tokens"
    refused = await whole(anthropic_client)
    assert refused.stop_reason == "refusal"
    assert refused.stop_details and refused.stop_details.explanation == "No."


async def test_tokens_are_counted_and_models_listed(anthropic_client: anthropic.AsyncAnthropic) -> None:
    counted = await anthropic_client.messages.count_tokens(model="claude-sonnet-4-6", messages=HELLO)
    models = [model.id async for model in anthropic_client.models.list()]

    assert counted.input_tokens == 2
    assert "claude-sonnet-4-6" in models


@pytest.mark.parametrize(
    ("fault", "raised", "kind"),
    [
        (Fault.because("invalid_key"), anthropic.AuthenticationError, "authentication_error"),
        (Fault.because("permission"), anthropic.PermissionDeniedError, "permission_error"),
        (Fault.because("model_not_found"), anthropic.NotFoundError, "not_found_error"),
        (Fault.because("too_large"), anthropic.APIStatusError, "request_too_large"),
        (Fault.because("context_too_long"), anthropic.BadRequestError, "invalid_request_error"),
        (Fault.status(429, retry_after=7), anthropic.RateLimitError, "rate_limit_error"),
        (Fault.status(500), anthropic.InternalServerError, "api_error"),
        (Fault.status(529), anthropic.InternalServerError, "overloaded_error"),
    ],
)
async def test_each_error_status_is_the_sdks_own_exception(
    anthropic_vendor: AnthropicEmulator,
    anthropic_client: anthropic.AsyncAnthropic,
    fault: Fault,
    raised: type[anthropic.APIStatusError],
    kind: str,
) -> None:
    anthropic_vendor.script.append(fault)

    with pytest.raises(raised) as failure:
        await raw_events(anthropic_client)

    assert isinstance(failure.value.body, dict)
    assert failure.value.body["error"]["type"] == kind
    assert failure.value.response.headers.get("retry-after") == ("7" if fault.retry_after else None)


async def test_an_overload_in_mid_stream_is_an_error_event(
    anthropic_vendor: AnthropicEmulator, anthropic_client: anthropic.AsyncAnthropic
) -> None:
    anthropic_vendor.script.append(Fault.error_event(after=4, condition="overloaded"))

    with pytest.raises(anthropic.APIStatusError, match="overloaded_error"):
        await raw_events(anthropic_client)


async def test_a_cut_in_mid_stream_is_a_transport_error(
    anthropic_vendor: AnthropicEmulator, anthropic_client: anthropic.AsyncAnthropic
) -> None:
    anthropic_vendor.script.append(Fault.cut(after=4))

    with pytest.raises(Exception, match=r"incomplete chunked read|Connection error"):
        await raw_events(anthropic_client)


@pytest.mark.parametrize("after", [0, 3])
async def test_a_malformed_event_is_a_json_error(
    anthropic_vendor: AnthropicEmulator, anthropic_client: anthropic.AsyncAnthropic, after: int
) -> None:
    anthropic_vendor.script.append(Fault.malformed(after=after))

    with pytest.raises(json.JSONDecodeError):
        await raw_events(anthropic_client)


@pytest.mark.parametrize("reply", [Fault.silence(after=1), Say(pieces=["Hel", Hold()])])
async def test_a_client_that_leaves_is_noticed(
    anthropic_vendor: AnthropicEmulator, anthropic_client: anthropic.AsyncAnthropic, reply: Any
) -> None:
    anthropic_vendor.script.append(reply)
    stream = await anthropic_client.messages.create(
        model="claude-sonnet-4-6", max_tokens=100, messages=HELLO, stream=True
    )
    await anext(stream)

    await stream.close()

    await anthropic_vendor.hung_up()
    assert anthropic_vendor.open_streams == 0


@pytest.mark.parametrize(("absent", "status"), [("x-api-key", 401), ("anthropic-version", 400)])
async def test_a_missing_header_is_refused_in_the_vendors_shape(
    anthropic_vendor: AnthropicEmulator, absent: str, status: int
) -> None:
    headers = {"x-api-key": "k", "anthropic-version": "2023-06-01"}
    del headers[absent]

    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{anthropic_vendor.base_url}/v1/messages", json={}, headers=headers) as response,
    ):
        body = await response.json()

    assert response.status == status
    assert body["type"] == "error" and absent in body["error"]["message"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"temprature": 1}, "temprature"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "txt": "Hi"}]}]}, "messages.0.content"),
        ({"messages": [{"role": "assistant", "content": [CALL]}, *HELLO]}, "without `tool_result`"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "max_tokens"),
    ],
)
async def test_a_body_the_vendor_would_not_take_is_a_bad_request_that_names_the_place(
    anthropic_client: anthropic.AsyncAnthropic, change: dict[str, Any], named: str
) -> None:
    messages = change.get("messages", HELLO)
    extra = {name: value for name, value in change.items() if name != "messages"}

    with pytest.raises(anthropic.BadRequestError, match=named):
        await whole(anthropic_client, messages=messages, extra_body=extra)


async def test_a_tool_round_with_images_thinking_and_caching_is_accepted(
    anthropic_client: anthropic.AsyncAnthropic,
) -> None:
    image = {"type": "base64", "media_type": "image/png", "data": "AA=="}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image", "source": image}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm", "signature": "c2ln"}, CALL]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "4"}]},
    ]

    message = await whole(
        anthropic_client,
        max_tokens=4000,
        messages=messages,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        thinking={"type": "enabled", "budget_tokens": 1024},
        tools=[{"name": "weather", "input_schema": {"type": "object"}}],
    )

    assert message.stop_reason == "end_turn"
