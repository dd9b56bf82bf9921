"""What a call counts against a budget when its vendor does not tell what it used."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from msgspec import structs

from engine.api import (
    Cost,
    EngineError,
    InvalidRequest,
    ModelInfo,
    Price,
    ProviderError,
    ProviderRateLimited,
    ProviderUnavailable,
    Usage,
)
from engine.api.chat import Answered, ChatRequest
from engine.api.events import StatusChanged
from engine.api.providers import Target
from engine.providers import ResiliencePolicy
from engine.providers.call import CONNECTING
from engine.providers.reserving import UNDELIVERED, most
from engine.testing import RecordingWriter, ScriptedProvider, answer, ask
from tests.engine.providers.conftest import play, registry

PRICE = Price(input=Decimal(1), output=Decimal(4), reasoning=Decimal(5))
THINKS = ModelInfo(id="m", provider="scripted", price=PRICE, capabilities=frozenset({"reasoning"}))
PLAIN = structs.replace(THINKS, capabilities=frozenset())
ASKED = structs.replace(ask("qxzjkvwpfghb" * 100), max_output_tokens=50_000)


class Purse:
    """A budget that is never used up; `spent` is what it was told last."""

    aside = spent = (0, Decimal(0))

    def applies(self, stream: str) -> bool:
        return True

    def room(self, stream: str) -> tuple[int | None, Decimal | None]:
        return 10**9, Decimal(10**6)

    async def reserve(self, stream: str, tokens: int, cost: Decimal) -> None:
        self.aside = tokens, cost

    def settle(self, stream: str, usage: Usage, cost: Cost | None) -> None:
        self.used(stream, usage, cost)

    def used(self, stream: str, usage: Usage, cost: Cost | None) -> None:
        self.spent = usage.input_tokens + usage.output_tokens, Decimal(cost.amount if cost is not None else 0)

    async def buy(self, stream: str, cost: Decimal) -> None:
        raise AssertionError("nothing is bought")

    def bought(self, stream: str, price: Decimal, usage: Usage, cost: Cost | None) -> None:
        raise AssertionError("nothing is bought")


async def counted(
    writer: RecordingWriter, *script: Any, info: ModelInfo = THINKS, request: ChatRequest = ASKED, **policy: Any
) -> Purse:
    """What counts for a call that follows the script, and is cancelled where that waits."""
    provider, purse = ScriptedProvider(*script), Purse()
    providers = registry(provider, entries=(info,), policy=ResiliencePolicy(retries=0, **policy))
    providers.ledgers.purse = purse
    task = asyncio.create_task(play(providers.chat("m"), writer, request))
    if policy:
        await asyncio.wait({task})
    else:
        reached = asyncio.create_task(provider.reached.wait())
        await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        task.cancel()
        await asyncio.wait({task})
    if not task.cancelled() and (error := task.exception()) is not None:
        assert isinstance(error, EngineError)
    return purse


def bound(info: ModelInfo = THINKS) -> tuple[int, Decimal]:
    return most(ASKED, Target(ScriptedProvider(), "m", info))


@pytest.mark.parametrize(
    "script",
    [
        (asyncio.Event(),),
        (Answered("m"), asyncio.Event()),
        ("Hello", asyncio.Event()),
        ("Hello", ProviderUnavailable("cut off")),
        answer("Hello"),
        (Answered("m"), ProviderError("it broke")),
        (Answered("m"),),
    ],
)
async def test_a_call_without_usage_counts_all_that_was_put_aside(writer: RecordingWriter, script: Any) -> None:
    purse = await counted(writer, *script)
    assert purse.spent == purse.aside == bound()
    assert writer.usage is not None and writer.usage.estimated


@pytest.mark.parametrize("script", [(asyncio.Event(),), ("Hello", asyncio.Event())])
async def test_a_deadline_counts_like_a_cut(writer: RecordingWriter, script: Any) -> None:
    purse = await counted(writer, *script, first_event=0.01, idle=0.01)
    assert purse.spent == bound()


@pytest.mark.parametrize(
    "script",
    [
        (ProviderRateLimited("slow down"),),
        (Answered("m"), ProviderRateLimited("slow down")),
        (InvalidRequest("no"),),
        (ProviderUnavailable("not reached"),),
        (StatusChanged(stage=CONNECTING), asyncio.Event()),
    ],
)
async def test_what_was_refused_or_never_got_there_counts_nothing(writer: RecordingWriter, script: Any) -> None:
    purse = await counted(writer, *script)
    assert purse.spent == (0, Decimal(0))


async def test_input_that_was_told_before_the_cut_replaces_its_bound(writer: RecordingWriter) -> None:
    purse = await counted(writer, Usage(input_tokens=300, output_tokens=1), "Hello", asyncio.Event())
    assert purse.spent == (50_300, (300 * PRICE.input + PRICE.output + 49_999 * Decimal(5)).scaleb(-6))


async def test_usage_that_was_told_at_the_end_is_what_counts(writer: RecordingWriter) -> None:
    used = Usage(input_tokens=300, output_tokens=40)
    purse = await counted(writer, Usage(input_tokens=300, output_tokens=1), "Hello", used, *answer())
    assert purse.spent[0] == 340
    assert writer.usage == used


async def test_a_model_that_hides_nothing_counts_what_was_shown_and_what_is_under_way(writer: RecordingWriter) -> None:
    sent = bound(PLAIN)[0] - 50_000
    purse = await counted(writer, "Hello", asyncio.Event(), info=PLAIN)
    assert sent + 5 + UNDELIVERED <= purse.spent[0] < sent + 5 + 10 * UNDELIVERED
    for asked in ({"reasoning_effort": "high"}, {"modalities": ["audio"]}):
        hiding = structs.replace(ASKED, provider_options=asked)
        purse = await counted(RecordingWriter(), "Hello", asyncio.Event(), info=PLAIN, request=hiding)
        assert purse.spent == purse.aside
