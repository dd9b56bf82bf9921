"""What a turn used, and what that costs."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from engine.api import Cost, FunctionTool, Message, ModelInfo, Price, ProviderRefused, ProviderUnavailable, Usage
from engine.api.chat import Answered, ChatRequest, FilePart, ResponseFormat, TextPart, WebSearch
from engine.api.providers import Target
from engine.providers import ResiliencePolicy, cost_of, tokens_of
from engine.providers.reserving import most
from engine.testing import FailingProvider, RecordingWriter, ScriptedProvider, answer, ask
from tests.engine.providers.conftest import play, registry

USAGE = Usage(input_tokens=1000, output_tokens=200, cached_tokens=600, reasoning_tokens=50)
PRICE = Price(input=Decimal("0.3"), output=Decimal("2.5"), cached_input=Decimal("0.03"))
PRICED = ModelInfo(id="priced", provider="scripted", price=PRICE)


def test_cost_is_exact_and_prices_cached_input_and_reasoning_apart() -> None:
    assert cost_of(USAGE, PRICE) == Decimal("0.000638")
    apart = Price(input=Decimal("0.3"), output=Decimal("2.5"), cached_input=Decimal("0.03"), reasoning=Decimal(5))
    assert cost_of(USAGE, apart) == Decimal("0.000763")
    assert cost_of(USAGE, Price(input=Decimal(1))) == Decimal("0.001")


def test_tokens_of_sound_have_their_own_price_fresh_and_cached() -> None:
    price = Price(
        input=Decimal(4),
        output=Decimal(16),
        cached_input=Decimal("0.4"),
        audio_input=Decimal(32),
        audio_output=Decimal(64),
    )
    heard = Usage(input_tokens=100, output_tokens=40, cached_tokens=20, audio_input_tokens=70, audio_output_tokens=30)
    # Without a word of the vendor's the 20 cached ones are words: 10 words and 70 of sound are fresh.
    assert cost_of(heard, price) == Decimal("0.004368")
    told = structs.replace(heard, audio_cached_tokens=15)
    assert cost_of(told, price) == Decimal("0.003948")
    dearer = structs.replace(price, audio_cached_input=Decimal("0.8"))
    assert cost_of(told, dearer) == cost_of(told, price) + Decimal("0.000006")
    assert cost_of(structs.replace(told, audio_cached_tokens=20, audio_input_tokens=10), price) >= 0
    assert (told + told).audio_cached_tokens == 30


async def test_the_vendors_usage_is_metered_with_its_cost(writer: RecordingWriter) -> None:
    provider = ScriptedProvider(*answer("hi", usage=USAGE))
    await play(registry(provider, entries=(PRICED,)).chat("priced"), writer)
    assert (writer.usage, writer.cost) == (USAGE, Cost(amount="0.000638"))


async def test_the_calls_of_one_turn_add_up(writer: RecordingWriter) -> None:
    chain = registry(ScriptedProvider(*answer("hi", usage=USAGE)), entries=(PRICED,)).chat("priced")
    for _ in range(2):
        await play(chain, writer)
    assert writer.usage == USAGE + USAGE
    assert writer.cost == Cost(amount="0.001276")


async def test_usage_that_counts_up_within_a_call_is_counted_once(writer: RecordingWriter) -> None:
    first = Usage(input_tokens=10, output_tokens=1)
    last = Usage(input_tokens=10, output_tokens=2)
    await play(registry(ScriptedProvider("a", first, "b", last, *answer())).chat("scripted/m"), writer)
    assert writer.usage == last


async def test_without_a_price_there_is_no_cost(writer: RecordingWriter) -> None:
    await play(registry(ScriptedProvider(*answer("hi", usage=USAGE))).chat("scripted/m"), writer)
    assert (writer.usage, writer.cost) == (USAGE, None)


async def test_a_silent_vendor_is_estimated_by_four_characters_a_token(writer: RecordingWriter) -> None:
    provider = ScriptedProvider(*answer("12345678", "9"))
    await play(registry(provider, entries=(PRICED,)).chat("priced"), writer, ask("12345"))
    assert writer.usage == Usage(input_tokens=2, output_tokens=3, estimated=True)
    assert writer.cost == Cost(amount="0.0000081")


async def test_cancelling_in_the_middle_meters_an_estimate(writer: RecordingWriter) -> None:
    provider = ScriptedProvider("12345678", asyncio.Event())
    task = asyncio.create_task(play(registry(provider).chat("scripted/m"), writer, ask("1234")))
    await provider.reached.wait()
    task.cancel()
    await asyncio.wait({task})
    assert writer.usage == Usage(input_tokens=1, output_tokens=2, estimated=True)
    assert writer.model == "scripted/m"


async def test_cancelling_before_the_first_delta_meters_the_input(writer: RecordingWriter) -> None:
    provider = ScriptedProvider(asyncio.Event())
    task = asyncio.create_task(play(registry(provider).chat("scripted/m"), writer, ask("1234")))
    await provider.reached.wait()
    task.cancel()
    await asyncio.wait({task})
    assert writer.usage == Usage(input_tokens=1, estimated=True)
    assert writer.model == "scripted/m"


async def test_a_cut_meters_what_was_said(writer: RecordingWriter) -> None:
    provider = ScriptedProvider("12345678", ProviderUnavailable("cut off"))
    with pytest.raises(ProviderUnavailable):
        await play(registry(provider).chat("scripted/m"), writer, ask("1234"))
    assert writer.usage == Usage(input_tokens=1, output_tokens=2, estimated=True)


async def test_a_cut_meters_what_was_said_though_the_vendor_told_how_it_began(writer: RecordingWriter) -> None:
    begun = Usage(input_tokens=10, output_tokens=1)
    provider = ScriptedProvider(begun, "12345678", "12345678", ProviderUnavailable("cut off"))
    with pytest.raises(ProviderUnavailable):
        await play(registry(provider).chat("scripted/m"), writer, ask("1234"))
    assert writer.usage == Usage(input_tokens=10, output_tokens=5, estimated=True)


@pytest.mark.parametrize(("begun", "tokens"), [(True, 1), (False, None)])
async def test_an_answer_that_breaks_off_before_its_first_word_costs_its_input(
    writer: RecordingWriter, begun: bool, tokens: int | None
) -> None:
    error = ProviderUnavailable("cut off")
    error.begun = begun
    provider = ScriptedProvider(Answered("m"), error)
    with pytest.raises(ProviderUnavailable):
        await play(registry(provider, policy=ResiliencePolicy(retries=0)).chat("scripted/m"), writer, ask("1234"))
    assert (writer.usage.input_tokens if writer.usage is not None else None) == tokens


async def test_a_call_that_was_refused_costs_nothing(writer: RecordingWriter) -> None:
    provider = FailingProvider(ProviderRefused("bad key"))
    with pytest.raises(ProviderRefused):
        await play(registry(provider, policy=ResiliencePolicy(retries=0)).chat("failing/m"), writer)
    assert (writer.usage, writer.model) == (None, None)


async def test_two_streams_on_one_chain_are_metered_apart() -> None:
    chain = registry(ScriptedProvider(*answer("hi", usage=USAGE))).chat("scripted/m")
    one, two = RecordingWriter("s_1"), RecordingWriter("s_2")
    await play(chain, one)
    await play(chain, two)
    assert one.usage == two.usage == USAGE


def test_tools_and_instructions_count_as_input() -> None:
    bare = ChatRequest(model="m", messages=(Message(role="user", parts=(TextPart("12345678"),)),))
    tool = FunctionTool(name="weather", description="Tells the weather", parameters={"type": "object"})
    assert tokens_of(bare) == 2
    full = ChatRequest(model="m", messages=bare.messages, instructions="1234", tools=(tool,))
    assert tokens_of(full) > 15


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": (Message(role="user", parts=(TextPart("Hi"),), name="ann " * 1000),)},
        {"messages": (Message(role="tool", parts=(TextPart("Hi"),), tool_call_id="call " * 800),)},
        {"messages": (Message(role="user", parts=(FilePart(data="", name="name " * 800),)),)},
        {"response_format": ResponseFormat(kind="json_schema", schema={"title": "word " * 800})},
        {"tools": (FunctionTool(name="look", parameters={"enum": ["word " * 800]}),)},
        {"provider_options": {"system": "word " * 800}},
    ],
)
def test_an_estimate_counts_all_names_and_texts(fields: dict[str, Any]) -> None:
    assert tokens_of(ChatRequest(model="m", **{"messages": (), **fields})) >= 900


@pytest.mark.parametrize("nonsense", [-5, 2**63, 10**400, 1e300, float("nan"), "many", True, None])
async def test_counts_that_cannot_be_true_are_estimated_and_the_turn_goes_on(
    writer: RecordingWriter, nonsense: Any
) -> None:
    told = Usage(input_tokens=nonsense, output_tokens=7, cached_tokens=nonsense, reasoning_tokens=99)
    provider = ScriptedProvider(*answer("Hello", usage=told))
    await play(registry(provider, entries=(PRICED,)).chat("priced"), writer)
    assert writer.usage is not None and writer.cost is not None
    assert writer.usage == Usage(input_tokens=tokens_of(ask()), output_tokens=7, reasoning_tokens=7, estimated=True)
    assert Decimal(writer.cost.amount) > 0


@pytest.mark.parametrize(
    ("told", "used"),
    [
        (Usage(), Usage(input_tokens=2, output_tokens=3, estimated=True)),
        (Usage(output_tokens=9), Usage(input_tokens=2, output_tokens=9, estimated=True)),
        (Usage(input_tokens=9), Usage(input_tokens=9, output_tokens=3, estimated=True)),
    ],
)
async def test_a_count_that_is_missing_is_estimated(writer: RecordingWriter, told: Usage, used: Usage) -> None:
    await play(registry(ScriptedProvider(*answer("123456789", usage=told))).chat("scripted/m"), writer, ask("12345"))
    assert writer.usage == used


async def test_an_answer_without_words_may_have_no_tokens(writer: RecordingWriter) -> None:
    told = Usage(input_tokens=9)
    await play(registry(ScriptedProvider(*answer(usage=told))).chat("scripted/m"), writer)
    assert writer.usage == told


def test_what_is_written_into_a_cache_and_what_is_searched_have_their_own_price() -> None:
    usage = Usage(input_tokens=1000, written_tokens=600, written_hour_tokens=200, cached_tokens=100, searches=3)
    price = Price(input=Decimal(4), search=Decimal("0.01"))
    assert cost_of(usage, price) == Decimal("0.03") + (400 * 4 + 400 * 5 + 200 * 8) / Decimal(1_000_000)
    told = Price(input=Decimal(4), cache_write=Decimal(6), cache_write_hour=Decimal(10))
    assert cost_of(usage, told) == (400 * 4 + 400 * 6 + 200 * 10) / Decimal(1_000_000)


@pytest.mark.parametrize(
    ("fields", "times"),
    [
        ({"messages": (Message(role="user", parts=(TextPart("Hi", cache={"type": "ephemeral"}),)),)}, "1.25"),
        ({"messages": (Message(role="user", parts=(TextPart("Hi", cache={"ttl": "1h"}),)),)}, "2"),
        ({"native": {"acme": {"system": [{"text": "Hi", "cache_control": {"ttl": "1h"}}]}}}, "2"),
        ({"provider_options": {"cache_control": {"type": "ephemeral"}}}, "1.25"),
        ({}, "1"),
    ],
)
def test_input_that_may_be_written_into_a_cache_is_put_aside_at_that_price(fields: dict[str, Any], times: str) -> None:
    info = ModelInfo(id="m", provider="scripted", price=Price(input=Decimal(4)))
    tokens, cost = most(ChatRequest(model="m", **{"messages": (), **fields}), Target(ScriptedProvider(), "m", info))
    assert cost == (tokens * 4 * Decimal(times)).scaleb(-6)


@pytest.mark.parametrize(
    ("fields", "searches"),
    [
        ({"tools": (WebSearch(options={"max_uses": 3}),)}, 3),
        ({"tools": (WebSearch(),)}, 10),
        ({"native": {"acme": {"tools": [{"type": "web_search_20260318", "max_uses": 2}]}}}, 2),
        ({"native": {"acme": {"web_search_options": {}}}}, 10),
        ({"provider_options": {"tools": [{"google_search": {}}]}}, 10),
        ({"provider_options": {"tools": [{"urlContext": {}}, {"functionDeclarations": []}]}}, 10),
        ({"provider_options": {"tools": [{"type": "file_search", "vector_store_ids": ["a"]}]}}, 10),
        ({"native": {"acme": {"tools": [{"type": "bash_20250124", "name": "bash"}]}}}, 0),
        ({"tools": (FunctionTool(name="web_search"),)}, 0),
    ],
)
def test_searches_that_a_vendor_may_run_are_put_aside(fields: dict[str, Any], searches: int) -> None:
    info = ModelInfo(id="m", provider="scripted", price=Price(search=Decimal("0.01")))
    tokens, cost = most(ChatRequest(model="m", messages=(), **fields), Target(ScriptedProvider(), "m", info))
    assert cost == searches * Decimal("0.01")
    assert tokens >= searches * 10_000


def test_an_answer_that_is_foretold_and_one_of_sound_are_put_aside_at_the_price_of_output() -> None:
    info = ModelInfo(id="m", provider="scripted", price=Price(output=Decimal(3), audio_output=Decimal(9)))
    target = Target(ScriptedProvider(), "m", info)
    plain = ChatRequest(model="m", messages=(), max_output_tokens=100)
    assert most(plain, target)[1] == Decimal("0.0009")
    told = structs.replace(plain, provider_options={"prediction": {"type": "content", "content": "word " * 1000}}, n=2)
    assert most(told, target)[1] >= Decimal("0.0018") + 2 * 2000 * Decimal("0.000009")
