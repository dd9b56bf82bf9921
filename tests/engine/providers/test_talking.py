"""However a conversation by voice goes, its answers never cost more than its budget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.api import (
    BudgetExceeded,
    Cost,
    ModelInfo,
    Price,
    RealtimeAudio,
    RealtimeInput,
    RealtimeRequest,
    RealtimeText,
    RealtimeUpdate,
    Usage,
)
from engine.api.providers import Target
from engine.providers.estimating import most_of_text
from engine.providers.metering import Ledgers
from engine.providers.pricing import cost_of
from engine.providers.talking import HEARD_A_SECOND, Talking
from engine.testing import RecordingWriter, ScriptedProvider

PRICE = Price(input=Decimal(4), output=Decimal(24), audio_input=Decimal(32), audio_output=Decimal(64))
SECOND = bytes(48_000)


class OnePurse:
    """A budget of one turn, in dollars and tokens."""

    def __init__(self, tokens: int, dollars: Decimal) -> None:
        self.tokens, self.dollars = tokens, dollars
        self.used_tokens, self.used_dollars = 0, Decimal(0)

    def applies(self, stream: str) -> bool:
        return True

    def room(self, stream: str) -> tuple[int | None, Decimal | None]:
        return max(0, self.tokens - self.used_tokens), max(Decimal(0), self.dollars - self.used_dollars)

    async def reserve(self, stream: str, tokens: int, cost: Decimal) -> None:
        if self.used_tokens + tokens > self.tokens or self.used_dollars + cost > self.dollars:
            raise BudgetExceeded("this may use more than is left")

    def settle(self, stream: str, usage: Usage, cost: Cost | None) -> None: ...

    def used(self, stream: str, usage: Usage, cost: Cost | None) -> None:
        self.used_tokens = usage.input_tokens + usage.output_tokens
        self.used_dollars = Decimal(cost.amount) if cost is not None else Decimal(0)

    async def buy(self, stream: str, cost: Decimal) -> None: ...

    def bought(self, stream: str, price: Decimal, usage: Usage, cost: Cost | None) -> None: ...


TURNS = st.lists(
    st.tuples(st.integers(0, 120), st.text(max_size=200), st.floats(0, 1), st.booleans()), min_size=1, max_size=40
)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 60_000), st.integers(0, 3_000), TURNS)
def test_a_conversation_never_passes_its_budget(tokens: int, mills: int, turns: list[Any]) -> None:
    asyncio.run(converse(OnePurse(tokens, Decimal(mills) / 1000), turns))


async def converse(purse: OnePurse, turns: list[Any]) -> None:
    ledgers, stream = Ledgers(), RecordingWriter()
    ledgers.purse = purse
    target = Target(ScriptedProvider(), "m", ModelInfo(id="m", provider="scripted", price=PRICE))
    request = RealtimeRequest(model="m", instructions="Be brief.")
    talking = Talking(target, request, ledgers, stream)
    try:
        bound = (await talking.begin(request)).max_output_tokens
    except BudgetExceeded:
        return
    judging = asyncio.create_task(talking.judge())
    sound, words = 0, most_of_text("Be brief.")
    for seconds, text, share, spoken in turns:
        said: list[RealtimeInput] = [*(RealtimeAudio(SECOND) for _ in range(seconds)), RealtimeText(text)]
        async for item in talking.intake(each(said)):
            if isinstance(item, RealtimeUpdate):
                bound = item.request.max_output_tokens
            await asyncio.sleep(0)
        await settled()
        if talking.refused.done():
            break
        sound, words = sound + seconds * HEARD_A_SECOND, words + most_of_text(text)
        assert bound is not None
        output = round(bound * share)
        usage = Usage(
            input_tokens=sound + words,
            output_tokens=output,
            audio_input_tokens=sound,
            audio_output_tokens=output if spoken else 0,
        )
        ledgers.count(stream, usage, cost_of(usage, PRICE))
        talking.used(usage)
        sound += output
        await settled()
        if talking.refused.done():
            break
    judging.cancel()
    await asyncio.gather(judging, return_exceptions=True)
    assert purse.used_tokens <= purse.tokens
    assert purse.used_dollars <= purse.dollars


async def each(items: list[RealtimeInput]) -> AsyncIterator[RealtimeInput]:
    for item in items:
        yield item


async def settled() -> None:
    """Let the judge come to its end."""
    for _ in range(5):
        await asyncio.sleep(0)


def talk(purse: OnePurse, **asked: Any) -> tuple[Talking, RealtimeRequest]:
    ledgers, stream = Ledgers(), RecordingWriter()
    ledgers.purse = purse
    target = Target(ScriptedProvider(), "m", ModelInfo(id="m", provider="scripted", price=PRICE))
    request = RealtimeRequest(model="m", **asked)
    return Talking(target, request, ledgers, stream), request


async def test_an_answer_of_which_the_vendor_tells_nothing_counts_its_bound() -> None:
    talking, request = talk(OnePurse(10_000, Decimal(10)))
    bound = (await talking.begin(request)).max_output_tokens
    assert talking.unsaid() is None
    talking.answering()
    talking.said("Hello")
    used = talking.unsaid()
    assert used is not None and used.estimated
    assert used.output_tokens == used.audio_output_tokens == bound


async def test_a_clients_smaller_bound_stays_where_the_budget_shrinks() -> None:
    purse = OnePurse(9_000, Decimal(10))
    talking, request = talk(purse, max_output_tokens=100)
    assert (await talking.begin(request)).max_output_tokens == 100
    judging = asyncio.create_task(talking.judge())
    purse.used_tokens = 7_000
    talking.used(Usage(input_tokens=10, output_tokens=100))
    await settled()
    told = [item async for item in talking.intake(each([RealtimeText("Go on.")]))]
    judging.cancel()
    await asyncio.gather(judging, return_exceptions=True)
    assert talking.bound is not None and 100 < talking.bound < 1_000
    assert [item.request.max_output_tokens for item in told if isinstance(item, RealtimeUpdate)] == [100]
