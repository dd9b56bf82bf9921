"""The Responses of the unmodified `openai` client against a whole server, with each vendor behind it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from tests.emulators.anthropic import AnthropicEmulator
from tests.emulators.base import Emulator
from tests.emulators.google import GoogleEmulator
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.reply import Citation, Fault, Hold, Say, ToolUse, Usage
from tests.journeys.client import connected
from tests.server import CHAT, engine_inside

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODELS = {
    "openai": "openai/gpt-5-mini",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "google": "google/gemini-2.5-flash",
}
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
PIXEL = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")
).decode()
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


class Behind:
    """The vendors, emulated, behind one server, and the official client in front of it."""

    def __init__(self, url: str, client: openai.AsyncOpenAI, vendors: dict[str, Emulator]) -> None:
        self.url = url
        self.client = client
        self.vendors = vendors

    @property
    def vendor(self) -> Emulator:
        return self.vendors["openai"]


def environment(vendors: dict[str, Emulator]) -> dict[str, str]:
    return {
        "ANTHROPIC_API_KEY": "sk-ant-test-0123456789",
        "ANTHROPIC_BASE_URL": vendors["anthropic"].base_url,
        "OPENAI_API_KEY": "sk-test-0123456789",
        "OPENAI_BASE_URL": vendors["openai"].base_url,
        "GEMINI_API_KEY": "test-0123456789",
        "BETTERAI__VENDORS__GOOGLE__BASE_URL": vendors["google"].base_url,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    async with AnthropicEmulator() as claude, GoogleEmulator() as google, OpenAIEmulator() as vendor:
        vendors: dict[str, Emulator] = {"anthropic": claude, "google": google, "openai": vendor}
        settings = {**CHAT, "vendors.openai.api": "responses", "models.default": MODELS["openai"]}
        async with engine_inside(tmp_path_factory.mktemp("server"), settings, environment(vendors)) as engine:
            url = f"http://127.0.0.1:{engine.port}"
            async with openai.AsyncOpenAI(api_key="any", base_url=f"{url}/v1", max_retries=0) as client:
                yield Behind(url, client, vendors)


@pytest.fixture
def behind(shared: Behind) -> Iterator[Behind]:
    for vendor in shared.vendors.values():
        vendor.script.clear()
        vendor.requests.clear()
        vendor.closed_by_client.clear()
    yield shared


def strict(response: Response) -> Response:
    """Validate what the client built leniently: its own parser would accept missing fields."""
    Response.model_validate(response.to_dict(), strict=False)
    return response


async def both_ways(client: openai.AsyncOpenAI, **asked: Any) -> list[Response]:
    """The same request whole, and as a stream of which every event is one that the client knows."""
    whole = await client.responses.create(**asked)
    events = [event async for event in await client.responses.create(**asked, stream=True)]
    for number, event in enumerate(events):
        EVENT.validate_python(event.to_dict())
        assert event.sequence_number == number
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    return [strict(whole), strict(events[-1].response)]


@pytest.mark.parametrize("vendor", MODELS)
async def test_any_vendor_answers_with_text_thought_and_usage(behind: Behind, vendor: str) -> None:
    behind.vendors[vendor].script += [Say("It is sunny.", reasoning="Hm.", usage=Usage(20, 9, cached=5))] * 2
    asked = {"model": MODELS[vendor], "input": "Hi", "instructions": "Be brief.", "reasoning": {"effort": "low"}}
    for response in await both_ways(behind.client, **asked):
        assert response.output_text == "It is sunny."
        assert response.status == "completed"
        assert [item.type for item in response.output] == ["reasoning", "message"]
        assert (response.model, response.instructions) == (MODELS[vendor], "Be brief.")
        assert response.usage is not None
        assert (response.usage.input_tokens, response.usage.output_tokens) == (20, 9)
        assert response.usage.input_tokens_details.cached_tokens == 5


@pytest.mark.parametrize("vendor", MODELS)
async def test_any_vendor_goes_on_from_a_stored_response_with_the_results_of_its_calls(
    behind: Behind, vendor: str
) -> None:
    emulator = behind.vendors[vendor]
    emulator.script += [Say("", tool_calls=[ToolUse("call_1", "weather", {"city": "Oslo"})]), Say("Cold.")]
    picture: Any = {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "How is it there?"},
            {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
        ],
    }
    first = await behind.client.responses.create(model=MODELS[vendor], input=[picture], tools=[WEATHER])
    (call,) = [item for item in first.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Oslo"})
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "3 °C"}
    second = await behind.client.responses.create(
        model=MODELS[vendor], input=[result], tools=[WEATHER], previous_response_id=first.id
    )
    assert second.output_text == "Cold."
    assert second.previous_response_id == first.id
    told = str(emulator.requests[1].body)
    assert "How is it there?" in told and "3 °C" in told


async def test_answers_that_are_not_stored_go_on_from_a_stored_one_at_the_same_time(behind: Behind) -> None:
    behind.vendor.script += [Say("Blue."), Say("Sky."), Say("Sea.")]
    first = await behind.client.responses.create(input="My favourite colour is blue.")
    asked = [
        behind.client.responses.create(input=f"Why, {name}?", previous_response_id=first.id, store=False)
        for name in ("Ann", "Bob")
    ]
    answers = await asyncio.gather(*asked)
    assert {answer.output_text for answer in answers} == {"Sky.", "Sea."}
    assert all(answer.previous_response_id == first.id for answer in answers)
    for request in behind.vendor.requests[1:]:
        assert "My favourite colour is blue." in str(request.body) and "Blue." in str(request.body)
    with pytest.raises(openai.NotFoundError):
        await behind.client.responses.retrieve(answers[0].id)
    behind.vendor.script.append(Say("Nobody."))
    await behind.client.responses.create(input="Who asked why?", previous_response_id=first.id)
    assert "Ann" not in str(behind.vendor.requests[-1].body)


async def test_a_client_that_keeps_its_own_history_sends_items_and_sealed_thoughts_back(behind: Behind) -> None:
    behind.vendor.script += [
        Say("", reasoning="Hm.", signature="c2VhbGVk", tool_calls=[ToolUse("call_1", "weather", {"city": "Oslo"})]),
        Say("Cold."),
    ]
    asked: dict[str, Any] = {
        "model": MODELS["openai"],
        "store": False,
        "tools": [WEATHER],
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "auto"},
    }
    user: Any = {"role": "user", "content": "How is Oslo?"}
    first = await behind.client.responses.create(**asked, input=[user])
    assert first.output[0].type == "reasoning" and first.output[0].encrypted_content
    items: list[Any] = [user, *(item.to_dict() for item in first.output)]
    items.append({"type": "function_call_output", "call_id": "call_1", "output": "3 °C"})
    second = await behind.client.responses.create(**asked, input=items)
    assert second.output_text == "Cold."
    sent = behind.vendor.requests[1].body["input"]
    assert [item.get("type") or item["role"] for item in sent] == [
        "user",
        "reasoning",
        "function_call",
        "function_call_output",
    ]
    assert sent[1]["encrypted_content"] == "c2VhbGVk"
    with pytest.raises(openai.NotFoundError):
        await behind.client.responses.retrieve(first.id)


async def test_a_structured_answer_is_parsed_by_the_client(behind: Behind) -> None:
    class Weather(BaseModel):
        city: str
        degrees: int

    behind.vendor.script.append(Say('{"city":"Oslo","degrees":3}'))
    response = await behind.client.responses.parse(model=MODELS["openai"], input="Oslo?", text_format=Weather)
    assert response.output_parsed == Weather(city="Oslo", degrees=3)
    assert behind.vendor.requests[0].body["text"]["format"]["name"] == "Weather"


async def test_sources_are_annotations_of_the_text(behind: Behind) -> None:
    cited = Citation("https://a", "A", start=0, end=3)
    behind.vendor.script += [Say("Sun today.", citations=[cited])] * 2
    for response in await both_ways(
        behind.client, model=MODELS["openai"], input="Weather?", tools=[{"type": "web_search"}]
    ):
        (message,) = [item for item in response.output if item.type == "message"]
        (annotation,) = message.content[0].annotations  # type: ignore[union-attr]
        assert annotation.to_dict() == {
            "type": "url_citation",
            "url": "https://a",
            "title": "A",
            "start_index": 0,
            "end_index": 3,
        }


async def test_a_response_is_got_listed_and_deleted(behind: Behind) -> None:
    behind.vendor.script.append(Say("Hello you"))
    made = await behind.client.responses.create(input="Hello", metadata={"a": "b"})
    got = strict(await behind.client.responses.retrieve(made.id))
    assert (got.output_text, got.status, got.metadata, got.model) == ("Hello you", "completed", {"a": "b"}, made.model)
    items = [item async for item in behind.client.responses.input_items.list(made.id)]
    assert items[0].to_dict()["content"] == [{"type": "input_text", "text": "Hello"}]
    stream = f"{behind.url}/api/v1/streams/{made.id.removeprefix('resp_')}"
    async with aiohttp.ClientSession() as http:
        async with http.get(stream) as answer:
            assert (await answer.json())["text"] == "Hello you"
        await behind.client.responses.delete(made.id)
        async with http.get(stream) as answer:
            left = await answer.json()
            assert (left.get("text"), left["status"]) == (None, "completed")
    for lost in (behind.client.responses.retrieve(made.id), behind.client.responses.delete(made.id)):
        with pytest.raises(openai.NotFoundError):
            await lost
    with pytest.raises(openai.BadRequestError) as caught:
        await behind.client.responses.create(input="And?", previous_response_id=made.id)
    assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")


async def test_input_items_come_in_pages(behind: Behind) -> None:
    behind.vendor.script.append(Say("Hello you"))
    asked: Any = [{"role": "user", "content": str(number)} for number in range(5)]
    made = await behind.client.responses.create(input=asked)
    oldest = behind.client.responses.input_items.list(made.id, limit=2, order="asc")
    assert [item.to_dict()["content"][0]["text"] async for item in oldest] == ["0", "1", "2", "3", "4"]  # type: ignore[index]
    newest = await behind.client.responses.input_items.list(made.id, limit=2)
    assert [item.to_dict()["content"][0]["text"] for item in newest.data] == ["4", "3"]  # type: ignore[index]


async def test_a_response_in_the_background_runs_on_without_a_client_and_is_polled(behind: Behind) -> None:
    hold = Hold()
    behind.vendor.script.append(Say(pieces=["first ", hold, "second"]))
    made = await behind.client.responses.create(input="Go", background=True)
    assert (made.status, made.background) == ("in_progress", True)
    await hold.reached()
    running = await behind.client.responses.retrieve(made.id)
    assert (running.status, running.output_text) == ("in_progress", "first ")
    hold.release()
    async with connected(behind.url) as socket:
        stream = made.id.removeprefix("resp_")
        await socket.ask("stream.resume", stream=stream)
        await socket.end_of(stream)
    done = strict(await behind.client.responses.retrieve(made.id))
    assert (done.status, done.output_text) == ("completed", "first second")


async def test_a_response_in_the_background_is_cancelled_at_the_vendor(behind: Behind) -> None:
    hold = Hold()
    behind.vendor.script.append(Say(pieces=["first ", hold, "second"]))
    made = await behind.client.responses.create(input="Go", background=True)
    await hold.reached()
    stopped = await behind.client.responses.cancel(made.id)
    assert (stopped.status, stopped.output_text) == ("cancelled", "first ")
    await behind.vendor.hung_up()


async def test_only_what_runs_in_the_background_is_cancelled(behind: Behind) -> None:
    behind.vendor.script.append(Say("Hello"))
    made = await behind.client.responses.create(input="Hi")
    with pytest.raises(openai.BadRequestError, match="background"):
        await behind.client.responses.cancel(made.id)


async def test_a_cut_stream_of_the_background_is_resumed_behind_the_last_number(behind: Behind) -> None:
    hold = Hold()
    behind.vendor.script.append(Say(pieces=["one ", "two ", hold, "three"]))
    heard = []
    stream = await behind.client.responses.create(input="Count", background=True, stream=True)
    async for event in stream:
        heard.append(event)
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    await hold.reached()
    id = heard[0].response.id  # type: ignore[union-attr]
    hold.release()
    last = heard[-1].sequence_number
    resumed = await behind.client.responses.retrieve(id, stream=True, starting_after=last)
    heard += [event async for event in resumed]
    assert [event.sequence_number for event in heard] == list(range(len(heard)))
    text = "".join(event.delta for event in heard if event.type == "response.output_text.delta")
    assert text == "one two three"
    assert heard[-1].type == "response.completed" and heard[-1].response.output_text == text
    again = await behind.client.responses.retrieve(id, stream=True)
    assert [event.to_dict() async for event in again] == [event.to_dict() for event in heard]


async def test_hanging_up_on_a_stream_stops_the_vendor(behind: Behind) -> None:
    hold = Hold()
    behind.vendor.script.append(Say(pieces=["first ", hold, "second"]))
    stream = await behind.client.responses.create(input="Go", stream=True)
    await hold.reached()
    await stream.close()
    await behind.vendor.hung_up()


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_an_answer_cut_short_is_incomplete(behind: Behind, finish: Any, reason: str) -> None:
    behind.vendor.script += [Say("half", finish=finish)] * 2
    for response in await both_ways(behind.client, input="Hi"):
        assert response.status == "incomplete"
        assert response.incomplete_details is not None and response.incomplete_details.reason == reason


async def test_a_failure_in_mid_stream_is_an_event_and_the_text_before_it_is_kept(behind: Behind) -> None:
    behind.vendor.script.append(Fault.cut(after=8, say=Say(pieces=["one ", "two ", "three ", "four"])))
    stream = await behind.client.responses.create(input="Hi", stream=True)
    events = [event async for event in stream]
    assert events[-1].type == "response.failed"
    failed = strict(events[-1].response)
    assert failed.status == "failed" and failed.error is not None
    assert "provider_unavailable" in failed.error.message
    assert failed.output_text.startswith("one ")
    assert (await behind.client.responses.retrieve(failed.id)).status == "failed"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_before_the_first_word_is_an_http_error(behind: Behind, stream: bool) -> None:
    for fault, raised in (
        (Fault.because("rate_limit"), openai.RateLimitError),
        (Fault.because("server"), openai.InternalServerError),
        (Fault.error_event(), openai.InternalServerError),
    ):
        behind.vendor.script.append(fault)
        with pytest.raises(raised):
            await behind.client.responses.create(input="Hi", stream=stream)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]},
            "input.0.content.0.file_id",
        ),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, "input.0.type"),
        ({"tools": [{"type": "code_interpreter"}], "tool_choice": "required"}, "tools.0.type"),
        ({"tools": [{"type": "code_interpreter"}], "tool_choice": {"type": "code_interpreter"}}, "tools.0.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"background": True, "store": False}, "store"),
        ({"previous_response_id": "nobody"}, "previous_response_id"),
        ({"model": MODELS["google"], "conversation": "conv_1"}, "conversation"),
        ({"model": MODELS["google"], "prompt": {"id": "p"}}, "prompt"),
        (
            {
                "input": [
                    {"role": "assistant", "content": "x"},
                    {"role": "user", "content": [{"type": "input_image", "image_url": "ftp://x"}]},
                ]
            },
            "input.1.content",
        ),
    ],
)
async def test_what_is_wrong_is_named_as_the_client_spelt_it(
    behind: Behind, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await behind.client.responses.create(**{"input": "Hi", **fields})
    assert caught.value.param == param
    assert behind.vendor.requests == []


async def test_fields_of_openais_own_reach_it_untouched(behind: Behind) -> None:
    behind.vendor.script.append(Say("Hi"))
    await behind.client.responses.create(
        input="Hi", service_tier="flex", prompt_cache_key="k", max_tool_calls=3, text={"verbosity": "low"}
    )
    body = behind.vendor.requests[0].body
    assert "reasoning" not in body and "truncation" not in body
    assert (body["service_tier"], body["prompt_cache_key"], body["max_tool_calls"]) == ("flex", "k", 3)
    assert body["text"] == {"verbosity": "low"}


async def test_words_that_only_openai_knows_reach_it_as_they_came(behind: Behind) -> None:
    behind.vendor.script.append(Say("Hi"))
    made = await behind.client.responses.create(
        input="Hi", reasoning={"effort": "xhigh", "summary": "detailed"}, truncation="auto"
    )
    body = behind.vendor.requests[0].body
    assert (body["reasoning"], body["truncation"]) == ({"effort": "xhigh", "summary": "detailed"}, "auto")
    assert made.truncation == "auto"


async def test_a_retry_under_the_same_key_answers_the_same_response(behind: Behind) -> None:
    behind.vendor.script.append(Say("Hello you"))
    headers = {"Idempotency-Key": "responses-1"}
    made, again = [await behind.client.responses.create(input="Hi", extra_headers=headers) for _ in range(2)]
    assert made.to_dict() == again.to_dict()
    assert len(behind.vendor.requests) == 1


async def test_a_retry_does_not_bring_a_deleted_response_back(behind: Behind) -> None:
    once = {"Idempotency-Key": "deleted-once"}
    made = await behind.client.responses.create(input="Hi", extra_headers=once)
    again = await behind.client.responses.create(input="Hi", extra_headers=once)
    assert (again.id, again.created_at) == (made.id, made.created_at)
    await behind.client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await behind.client.responses.create(input="Hi", extra_headers=once)
    with pytest.raises(openai.NotFoundError):
        await behind.client.responses.retrieve(made.id)


async def test_a_response_that_is_deleted_while_it_runs_stops(behind: Behind) -> None:
    hold = Hold()
    behind.vendor.script.append(Say(pieces=["first ", hold, "second"]))
    made = await behind.client.responses.create(input="Go", background=True)
    await hold.reached()
    await behind.client.responses.delete(made.id)
    await behind.vendor.hung_up()


async def test_what_a_response_says_of_its_tools_is_whole(behind: Behind) -> None:
    behind.vendor.script.append(Say("Hi"))
    made: Any = await behind.client.post(
        "/responses", body={"input": "Hi", "tools": [{"type": "function", "name": "f"}]}, cast_to=object
    )
    assert made["tools"] == [{"type": "function", "name": "f", "parameters": None, "strict": None}]
    assert "user" not in made


async def test_a_stored_response_survives_a_restart(tmp_path: Path) -> None:
    async with OpenAIEmulator() as vendor:
        environ = {"OPENAI_API_KEY": "sk-test-0123456789", "OPENAI_BASE_URL": vendor.base_url}
        vendor.script += [Say("I am Ada."), Say("You said hello.")]
        ids: list[str] = []
        for asked in ({"input": "Hello"}, {"input": "What did I say?"}):
            async with engine_inside(tmp_path, CHAT, environ) as engine:
                address = f"http://127.0.0.1:{engine.port}/v1"
                async with openai.AsyncOpenAI(api_key="any", base_url=address, max_retries=0) as client:
                    if ids:
                        assert (await client.responses.retrieve(ids[0])).output_text == "I am Ada."
                        with pytest.raises(openai.APIStatusError) as caught:
                            await client.responses.retrieve(ids[0], stream=True)
                        assert caught.value.code == "stream_expired"
                        asked = {**asked, "previous_response_id": ids[0]}
                    ids.append((await client.responses.create(**asked)).id)  # type: ignore[call-overload]
        told = [message["content"] for message in vendor.requests[1].body["messages"]]
        assert told == ["Hello", "I am Ada.", "What did I say?"]


@pytest.mark.parametrize("vendor", MODELS)
async def test_items_of_a_stored_response_are_sent_back_by_their_ids(behind: Behind, vendor: str) -> None:
    emulator = behind.vendors[vendor]
    call = ToolUse("call_1", "weather", {"city": "Oslo"})
    emulator.script += [Say("Let me look.", reasoning="Hm.", tool_calls=[call]), Say("Cold.")]
    user: Any = {"role": "user", "content": "How is Oslo?"}
    first = await behind.client.responses.create(model=MODELS[vendor], input=[user], tools=[WEATHER])
    assert {item.type for item in first.output} >= {"message", "function_call"}
    named: list[Any] = [{"type": "item_reference", "id": item.id} for item in first.output]
    result: Any = {"type": "function_call_output", "call_id": "call_1", "output": "3 °C"}
    second = await behind.client.responses.create(model=MODELS[vendor], input=[user, *named, result], tools=[WEATHER])
    assert second.output_text == "Cold."
    told = str(emulator.requests[1].body)
    assert "Let me look." in told and "call_1" in told and "Oslo" in told and "3 °C" in told
    listed = await behind.client.responses.input_items.list(second.id, order="asc")
    assert "item_reference" not in [item.type for item in listed.data]
    asked = await behind.client.responses.input_items.list(first.id)
    emulator.script.append(Say("Still cold."))
    again: Any = {"type": "item_reference", "id": asked.data[0].id}
    await behind.client.responses.create(model=MODELS[vendor], input=[again])
    assert "How is Oslo?" in str(emulator.requests[2].body)


async def test_an_item_of_nobodys_or_of_a_response_that_was_not_stored_is_not_found(behind: Behind) -> None:
    behind.vendor.script += [Say("Blue."), Say("Red.")]
    unstored = await behind.client.responses.create(input="Hi", store=False)
    deleted = await behind.client.responses.create(input="Hi")
    await behind.client.responses.delete(deleted.id)
    for id in ("msg_x", "rs_s_nobody_0", "", "fc_1", unstored.output[0].id, deleted.output[0].id):
        named: Any = {"type": "item_reference", "id": id}
        with pytest.raises(openai.NotFoundError, match=f"Item with id '{id}' not found") as caught:
            await behind.client.responses.create(input=[{"role": "user", "content": "Hi"}, named])
        assert (caught.value.code, caught.value.param) == ("response_item_not_found", "input.1.id")


async def test_items_of_a_response_that_is_only_remembered_are_found_by_their_kind(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("server")
    async with AnthropicEmulator() as claude, GoogleEmulator() as google, OpenAIEmulator() as vendor:
        environ = environment({"anthropic": claude, "google": google, "openai": vendor})
        settings = {**CHAT, "vendors.openai.api": "responses", "models.default": MODELS["openai"]}
        vendor.script += [Say("Blue."), Say("Sky.")]
        async with engine_inside(folder, settings, environ) as engine:
            url = f"http://127.0.0.1:{engine.port}/v1"
            async with openai.AsyncOpenAI(api_key="any", base_url=url, max_retries=0) as client:
                first = await client.responses.create(input="Colour?")
        async with engine_inside(folder, settings, environ) as engine:
            url = f"http://127.0.0.1:{engine.port}/v1"
            async with openai.AsyncOpenAI(api_key="any", base_url=url, max_retries=0) as client:
                named: Any = {"type": "item_reference", "id": first.output[0].id}
                await client.responses.create(input=[named, {"role": "user", "content": "Why?"}])
        assert "Blue." in str(vendor.requests[1].body)


async def test_a_stream_has_begun_when_the_vendors_answer_has(behind: Behind) -> None:
    for create in (
        behind.client.responses.create(input="Hi", stream=True),
        behind.client.chat.completions.create(
            model=MODELS["openai"], messages=[{"role": "user", "content": "Hi"}], stream=True
        ),
    ):
        nothing_yet = Hold()
        behind.vendor.script.append(Say(pieces=[nothing_yet, "Hi"]))
        async with asyncio.timeout(10):
            stream: Any = await create
        nothing_yet.release()
        assert len([event async for event in stream]) > 2
